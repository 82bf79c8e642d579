"""The Track storage of the real Oríon, which was written for an older Track, on stores of this one."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from running_server import serving
from track import TrackClient
from track_server.app import Settings

orion = pytest.importorskip(
    "orion.storage.track", reason="orion is not installed: pip install orion 'setuptools<81'; .ci/run does it"
)
pytestmark = [
    pytest.mark.timeout(300),  # importing Oríon takes seconds on a busy machine
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Oríon
]

EXPERIMENT = {
    "name": "digits",
    "version": 1,
    "space": {"/lr": "loguniform(1e-5, 1)"},
    "refers": {"root_id": None, "parent_id": None, "adapter": []},
    "metadata": {"user": "ann"},
    "max_trials": 5,
}


@pytest.fixture(params=["file", "server"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store, with the metric to optimise as Oríon wants it."""
    if request.param == "file":
        yield f"file:{tmp_path}/x.json?objective=loss"
        return
    with serving(Settings(backend=f"sqlite:{tmp_path}/s.db", home=tmp_path / "home")) as served:
        yield served.join("optimiser", objective="loss")


@pytest.fixture
def storage(uri: str) -> Iterator[Any]:
    """Oríon's storage, open."""
    opened = orion.Track(uri)
    yield opened
    opened.client.close()


@pytest.fixture
def experiment(storage: Any) -> Any:
    """What Oríon's storage asks of an experiment: its id."""
    return SimpleNamespace(id=storage.create_experiment(dict(EXPERIMENT))["_id"])


def suggested(lr: float) -> Any:
    """A trial as an algorithm of Oríon suggests it."""
    from orion.core.worker.trial import Trial

    return Trial(status="new", params=[{"name": "/lr", "type": "real", "value": lr}])


def test_an_experiment_is_found_as_it_was_created(storage: Any, experiment: Any) -> None:
    for query in ({}, {"name": "digits"}, {"_id": experiment.id}, {"version": 1, "metadata.user": "ann"}):
        assert storage.fetch_experiments(query) == [EXPERIMENT | {"_id": experiment.id}]
    assert storage.fetch_experiments({"name": "other"}) == []


def test_an_experiment_is_created_once(storage: Any, experiment: Any) -> None:
    from orion.core.io.database import DuplicateKeyError

    with pytest.raises(DuplicateKeyError):
        storage.create_experiment(EXPERIMENT | {"max_trials": 99})
    assert storage.fetch_experiments({})[0]["max_trials"] == 5


def test_an_experiment_is_updated(storage: Any, experiment: Any) -> None:
    storage.update_experiment(experiment, max_trials=9)
    assert storage.fetch_experiments({"_id": experiment.id})[0]["max_trials"] == 9


def test_a_registered_trial_is_reserved_once_and_completed(storage: Any, experiment: Any) -> None:
    registered = storage.register_trial(suggested(0.1))
    reserved = storage.reserve_trial(experiment)
    assert (reserved.id, reserved.status, reserved.params) == (registered.id, "reserved", {"/lr": 0.1})
    assert reserved.submit_time == registered.submit_time
    assert storage.reserve_trial(experiment) is None
    storage.update_heartbeat(reserved)
    assert storage.fetch_lost_trials(experiment) == []
    assert storage.get_trial(reserved).heartbeat >= reserved.submit_time
    storage.backend.log_trial_metrics(reserved.storage, step=1, loss=0.5)
    storage.backend.log_trial_metrics(reserved.storage, step=2, loss=0.25)
    assert storage.retrieve_result(reserved).objective.value == 0.25
    storage.set_trial_status(reserved, "completed")
    assert storage.count_completed_trials(experiment) == 1
    assert storage.fetch_noncompleted_trials(experiment) == []


def test_a_trial_is_registered_once(storage: Any, experiment: Any) -> None:
    from orion.core.io.database import DuplicateKeyError

    storage.register_trial(suggested(0.1))
    with pytest.raises(DuplicateKeyError):
        storage.register_trial(suggested(0.1))


def test_the_status_of_a_trial_changes_only_from_the_one_that_it_was_to_have(
    storage: Any, experiment: Any
) -> None:
    from orion.storage.base import FailedUpdate

    trial = storage.register_trial(suggested(0.1))
    with pytest.raises(FailedUpdate):
        storage.set_trial_status(trial, "completed", was="reserved")
    for status in ("reserved", "interrupted", "suspended", "broken", "new"):
        storage.set_trial_status(trial, status)
        assert [each.id for each in storage.fetch_trials_by_status(experiment, status)] == [trial.id]
    assert storage.count_broken_trials(experiment) == 0
    assert [each.id for each in storage.fetch_pending_trials(experiment)] == [trial.id]


def test_a_trial_without_a_sign_of_life_is_lost(storage: Any, experiment: Any) -> None:
    storage.register_trial(suggested(0.1))
    reserved = storage.reserve_trial(experiment)
    storage.update_trial(reserved, heartbeat=1.0)
    assert [each.id for each in storage.fetch_lost_trials(experiment)] == [reserved.id]


def test_several_trials_are_updated_at_once(storage: Any, experiment: Any) -> None:
    for lr in (0.1, 0.2, 0.3):
        storage.register_trial(suggested(lr))
    assert storage.update_trials(uid=experiment.id, where={"status": "new"}, status="suspended") == 3
    assert [each.status for each in storage.fetch_trials(uid=experiment.id)] == ["suspended"] * 3


def test_the_storage_goes_to_another_process(storage: Any, experiment: Any) -> None:
    trial = storage.register_trial(suggested(0.1))
    copy = pickle.loads(pickle.dumps(storage))  # noqa: S301 - made a line above
    assert [each.id for each in copy.fetch_trials(uid=experiment.id)] == [trial.id]
    copy.client.close()


def test_an_experiment_branches_when_its_space_changes(uri: str) -> None:
    from orion.core.io.experiment_builder import ExperimentBuilder

    def build(**space: str) -> Any:
        builder = ExperimentBuilder(storage={"type": "track", "uri": uri})
        found = builder.build("digits", space=space, branching={"enable": True})
        built.append(builder.storage)
        return found

    built: list[Any] = []
    lr = "uniform(0, 1)"
    parent, again = build(lr=lr), build(lr=lr)
    child = build(lr=lr, width="uniform(1, 9, default_value=3)")
    assert (again.id, parent.version, child.version) == (parent.id, 1, 2)
    assert child.refers["parent_id"] == parent.id
    assert child.node.parent.item.id == parent.id
    assert [each.item.id for each in again.node.children] == [child.id]
    for storage in built:
        storage.client.close()


def test_a_script_logs_into_the_trial_that_was_reserved_for_it(
    storage: Any, experiment: Any, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.register_trial(suggested(0.1))
    reserved = storage.reserve_trial(experiment)
    monkeypatch.setenv("ORION_PROJECT", "digits")
    monkeypatch.setenv("ORION_EXPERIMENT", experiment.id)
    monkeypatch.setenv("ORION_TRIAL_ID", reserved.id)
    client = TrackClient(uri)
    client.new_trial().log_metrics(step=1, loss=0.125)
    client.close()
    assert storage.retrieve_result(reserved).objective.value == 0.125
