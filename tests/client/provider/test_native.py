"""The provider `track`: runs are trials, in any store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from running_server import serving
from track import Status, TrackClient, Trial
from track.provider import RunConfig, TrackConfig, tracker_from_config
from track.provider.native import NativeTracker
from track_protocol.errors import ItemNotFound, UsageError
from track_server.app import Settings
from waiting import wait_until

PROPERTIES = RunConfig(
    name="baseline", description="longer warm-up", hparams={"lr": 0.1, "model": {"depth": 3}}
)


@pytest.fixture(params=["sqlite", "file", "socket"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param != "socket":
        yield f"{request.param}:{tmp_path / 'runs'}"
        return
    with serving(Settings(backend="ephemeral:", home=tmp_path / "home")) as served:
        yield served.join("ann")


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'runs.db'}"


def tracker(uri: str, state: dict[str, Any] | None = None, **settings: Any) -> NativeTracker:
    made = tracker_from_config({"provider": "track", "uri": uri, **settings})
    assert isinstance(made, NativeTracker)
    if state is not None:
        made.load_state_dict(state)
    return made


def only_trial(uri: str) -> Trial:
    with TrackClient(uri) as client:
        (trial,) = client.protocol.fetch_trials({})
        trial.metrics = {name: client.protocol.fetch_metrics(trial, name).by_step() for name in trial.metrics}
        return trial


def train(tracked: NativeTracker, steps: Iterable[int], properties: RunConfig = PROPERTIES) -> None:
    with tracked.open(properties) as run:
        for step in steps:
            run.set_step(step)
            run.scalar("loss", step / 8)


def interrupted(steps: range) -> Iterator[int]:
    """The first step, and then Ctrl-C."""
    yield steps[0]
    raise KeyboardInterrupt


def test_a_run_is_a_trial_with_its_name_description_and_hyperparameters(uri: str) -> None:
    train(tracker(uri, tags={"team": "vision"}), range(3))
    trial = only_trial(uri)
    assert (trial.name, trial.description, trial.parameters) == (
        PROPERTIES.name,
        PROPERTIES.description,
        PROPERTIES.hparams,
    )
    assert (trial.tags, trial.status) == ({"team": "vision"}, Status.Completed)
    assert trial.metrics["loss"] == {0: 0.0, 1: 0.125, 2: 0.25}


def test_a_run_is_in_the_project_and_group_of_its_configuration(sqlite: str) -> None:
    train(tracker(sqlite, project="paper", group="idea"), range(1))
    with TrackClient(sqlite) as client:
        (project,) = client.protocol.fetch_projects({})
        (group,) = client.protocol.fetch_groups({})
    trial = only_trial(sqlite)
    assert (project.name, group.name) == ("paper", "idea")
    assert (trial.project_id, trial.group_id) == (project.uid, group.uid)


def test_labels_distinguish_series_and_those_of_a_call_override_global_ones(uri: str) -> None:
    with tracker(uri).open(PROPERTIES) as run:
        run.scalar("loss", 1.0)
        run.set_context({"phase": "train", "split": "a"})
        run.scalar("loss", 2.0)
        run.scalar("loss", 3.0, {"phase": "val"})
        run.set_step(1)
        run.scalar("loss", 4.0)
        run.set_context({"fold": "1"})
        run.scalar("loss", 5.0)
    assert only_trial(uri).metrics == {
        "loss": {0: 1.0},
        'loss{phase="train",split="a"}': {0: 2.0, 1: 4.0},
        'loss{phase="val",split="a"}': {0: 3.0},
        'loss{fold="1"}': {1: 5.0},
    }


@pytest.mark.parametrize("name", ["step", "context", "aggregator", "self", "value"])
def test_a_metric_may_be_called_as_an_argument_is(sqlite: str, name: str) -> None:
    with tracker(sqlite).open(PROPERTIES) as run:
        run.scalar(name, 1.0, {"phase": "train"})
    assert only_trial(sqlite).metrics == {f'{name}{{phase="train"}}': {0: 1.0}}


def test_a_value_that_cannot_be_logged_is_counted_and_does_not_end_the_training(
    sqlite: str, caplog: pytest.LogCaptureFixture
) -> None:
    with tracker(sqlite).open(PROPERTIES) as run:
        run.scalar("loss", 1.0, {"no label": "a"})
        run.scalar("loss", object())  # type: ignore[arg-type] # what a caller without types may give
        run.scalar("loss", 2.0)
    trial = only_trial(sqlite)
    assert trial.metrics == {"loss": {0: 2.0}}
    assert trial.metadata["dropped_points"]["points"] == 2
    assert "no label" in caplog.text


def test_numpy_numbers_are_logged_as_numbers(sqlite: str) -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    with tracker(sqlite).open(PROPERTIES) as run:
        run.scalar("loss", numpy.float32(0.5))
        run.set_step(1)
        run.scalar("loss", numpy.array([0.25]))
    assert only_trial(sqlite).metrics == {"loss": {0: 0.5, 1: 0.25}}


def test_distributions_are_histograms_with_the_labels_of_the_run(uri: str) -> None:
    with tracker(uri).open(PROPERTIES) as run:
        run.set_step(4)
        run.set_context({"phase": "train"})
        run.bins("weights", [1.0, 2.0, 3.0, float("nan")], {"layer": "1"})
    with TrackClient(uri) as client:
        (trial,) = client.protocol.fetch_trials({})
        labels = {"phase": "train", "layer": "1"}
        found = client.protocol.fetch_media(trial, "histogram", "weights", context=labels)
    (histogram,) = found.values
    assert list(found.steps) == [4]
    assert (sum(histogram["counts"]), histogram["nan"], histogram["n"]) == (3, 1, 4)
    assert (histogram["min"], histogram["max"]) == (1.0, 3.0)


# -- how it ends ---------------------------------------------------------------------------------


def test_an_exception_ends_the_run_as_failed_and_propagates(uri: str) -> None:
    tracked = tracker(uri)
    with pytest.raises(ZeroDivisionError), tracked.open(PROPERTIES) as run:
        run.scalar("loss", 1 / 0)
    trial = only_trial(uri)
    assert trial.status is Status.Exception
    assert "ZeroDivisionError" in trial.errors[0]
    assert tracked.state_dict()["trial_uid"] == trial.uid


def test_the_store_is_released_when_the_run_ends(sqlite: str) -> None:
    tracked = tracker(sqlite)
    with pytest.raises(ZeroDivisionError), tracked.open(PROPERTIES):
        raise ZeroDivisionError
    train(tracked, range(1))


def test_a_store_that_cannot_be_opened_is_an_error_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"), tracker("nowhere:x").open(PROPERTIES):
        pytest.fail("the body runs without a run")


# -- going on ------------------------------------------------------------------------------------


def test_a_loaded_state_resumes_the_run(uri: str) -> None:
    before = tracker(uri)
    with pytest.raises(KeyboardInterrupt):
        train(before, interrupted(range(3)))
    assert only_trial(uri).status is Status.Interrupted
    train(tracker(uri, before.state_dict()), range(1, 3))
    trial = only_trial(uri)
    assert trial.metrics["loss"] == {0: 0.0, 1: 0.125, 2: 0.25}
    assert trial.status is Status.Completed


def test_a_resumed_run_is_running_and_accepts_further_hyperparameters(tmp_path: Path) -> None:
    with serving(Settings(backend="ephemeral:", home=tmp_path / "home")) as served:
        uri = served.join("ann")
        before = tracker(uri)
        train(before, range(2))
        more = RunConfig(name="again", hparams={"epochs": 9})
        with tracker(uri, before.state_dict()).open(more) as run:
            run.set_step(2)
            wait_until(lambda: only_trial(uri).status is Status.Running, "the trial runs again")
        trial = only_trial(uri)
    assert (trial.name, trial.parameters) == (PROPERTIES.name, {**PROPERTIES.hparams, "epochs": 9})


def test_the_state_has_the_same_keys_before_and_after_a_run(sqlite: str) -> None:
    tracked = tracker(sqlite)
    fresh = tracked.state_dict()
    train(tracked, range(5))
    trial = only_trial(sqlite)
    assert trial.id is not None
    assert fresh == {"trial_id": None, "trial_uid": None, "step": None}
    assert tracked.state_dict() == {"trial_id": trial.id.hex(), "trial_uid": trial.uid, "step": 4}


def test_points_behind_the_step_of_the_state_are_superseded(sqlite: str) -> None:
    first = tracker(sqlite)
    checkpoint: dict[str, Any] = {}
    with first.open(PROPERTIES) as run:
        for step in range(6):
            run.set_step(step)
            run.scalar("loss", 1.0)
            if step == 2:
                checkpoint = first.state_dict()
    with tracker(sqlite, checkpoint).open(PROPERTIES) as run:
        run.scalar("resumed", 0.0)
        run.set_step(3)
        run.scalar("loss", 2.0)
    trial = only_trial(sqlite)
    assert trial.metrics == {"loss": {0: 1.0, 1: 1.0, 2: 1.0, 3: 2.0}, "resumed": {2: 0.0}}
    with TrackClient(sqlite) as client:
        assert list(client.protocol.fetch_metrics(trial, "loss", kind="superseded").steps) == [3, 4, 5]


def test_a_configuration_may_keep_the_points_after_the_state(sqlite: str) -> None:
    first = tracker(sqlite)
    train(first, range(4))
    train(tracker(sqlite, {**first.state_dict(), "step": 1}, rewind=False), range(4, 5))
    assert list(only_trial(sqlite).metrics["loss"]) == [0, 1, 2, 3, 4]


def test_a_state_is_used_once_and_then_runs_are_new_ones(sqlite: str) -> None:
    first = tracker(sqlite)
    train(first, range(2))
    again = tracker(sqlite, first.state_dict())
    train(again, range(2, 3))
    train(again, range(1))
    with TrackClient(sqlite) as client:
        assert [trial.revision for trial in client.protocol.fetch_trials({})] == [0, 1]


def test_the_state_of_a_fresh_tracker_begins_a_new_run(sqlite: str) -> None:
    train(tracker(sqlite, tracker(sqlite).state_dict()), range(1))
    train(tracker(sqlite, {}), range(1))
    with TrackClient(sqlite) as client:
        assert len(client.protocol.fetch_trials({})) == 2


def test_a_state_whose_run_is_not_in_the_store_is_an_error(sqlite: str, tmp_path: Path) -> None:
    first = tracker(sqlite)
    train(first, range(1))
    other = f"sqlite:{tmp_path / 'other.db'}"
    uid = first.state_dict()["trial_uid"]
    with (
        pytest.raises(ItemNotFound, match=f"{uid}, which is not in .*other.db: it was deleted"),
        tracker(other, first.state_dict()).open(PROPERTIES),
    ):
        pytest.fail("the body runs without a run")


@pytest.mark.parametrize(
    "act",
    [lambda it: it.load_state_dict({}), lambda it: it.open(PROPERTIES).__enter__()],
    ids=["load", "open"],
)
def test_no_second_run_opens_while_one_is_open(sqlite: str, act: Callable[[NativeTracker], Any]) -> None:
    tracked = tracker(sqlite)
    with tracked.open(PROPERTIES) as run:
        with pytest.raises(UsageError, match="a run of this tracker is open"):
            act(tracked)
        run.scalar("loss", 1.0)
    assert only_trial(sqlite).metrics == {"loss": {0: 1.0}}


# -- ranks ---------------------------------------------------------------------------------------


def test_only_rank_0_logs_and_has_a_state(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    tracked = tracker(sqlite)
    train(tracked, range(3))
    assert tracked.state_dict() == {}
    with TrackClient(sqlite) as client:
        assert client.protocol.fetch_trials({}) == []


def test_a_rank_that_cannot_find_the_run_raises(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with (
        pytest.raises(UsageError, match="init_process_group"),
        tracker(sqlite, ranks="all").open(PROPERTIES),
    ):
        pytest.fail("the body runs without a run")


def test_without_a_process_group_ranks_find_the_run_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Settings(backend="ephemeral:", home=tmp_path / "home")) as served:
        uri = served.join("ann")
        first = tracker(uri, ranks="all")
        train(first, range(2))
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("TRACK_TRIAL", first.state_dict()["trial_uid"])
        with tracker(uri, ranks="all").open(PROPERTIES) as run:
            run.scalar("from rank 1", 1.0)
        assert only_trial(uri).metrics["from rank 1"] == {0: 1.0}


def test_the_token_of_a_uri_is_neither_in_the_repr_nor_in_messages(caplog: pytest.LogCaptureFixture) -> None:
    uri = "socket://ann:trk_secret@127.0.0.1:1?offline=never"
    config = TrackConfig(uri=uri)
    with caplog.at_level(logging.DEBUG), pytest.raises(Exception) as raised:  # noqa: PT011 - only its text counts
        tracker(uri + "&timeout=0.2", {"trial_id": "0" * 32}).open(PROPERTIES).__enter__()
    assert "trk_secret" not in repr(config) + str(raised.value) + caplog.text


def test_an_invalid_name_is_dropped_with_the_usual_warning(sqlite: str) -> None:
    with tracker(sqlite).open(PROPERTIES) as run:
        unchecked: Any = run
        unchecked.scalar(5, 1.0, {"phase": "train"})
        unchecked.scalar("loss", 2.0, {"phase": object()})
        run.scalar("loss", 3.0)
    assert list(only_trial(sqlite).metrics) == ["loss"]


def test_the_step_is_0_before_one_was_set(sqlite: str) -> None:
    with tracker(sqlite).open(PROPERTIES) as run:
        run.scalar("loss", 1.0)
    with TrackClient(sqlite) as client:
        (trial,) = client.protocol.fetch_trials()
        assert list(client.protocol.fetch_metrics(trial, "loss").steps) == [0]
