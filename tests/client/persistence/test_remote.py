"""The storage contract as a client sees it, over an engine in this process."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

from track.aggregators.aggregator import RingAggregator, StatAggregator, TimeSeriesAggregator, ValueAggregator
from track.persistence import get_protocol
from track.persistence.protocol import LATEST, Protocol
from track.persistence.series import PAGE
from track_protocol.errors import BadArguments, BadQuery, ItemNotFound
from track_protocol.model.entities import CustomStatus, Project, Status, Trial, TrialGroup
from user_metadata import given


@pytest.fixture
def protocol() -> Protocol:
    return get_protocol("ephemeral:")


@pytest.fixture
def trial(protocol: Protocol) -> Trial:
    made = protocol.new_trial(Trial(name="t", parameters={"lr": 0.1}))
    assert made is not None
    return made


def read(protocol: Protocol, trial: Trial) -> Trial:
    (found,) = protocol.get_trial(trial) or []
    return found


def test_a_trial_that_exists_gives_nothing_or_its_next_revision(protocol: Protocol, trial: Trial) -> None:
    again = Trial(name="t", parameters={"lr": 0.1})
    assert protocol.new_trial(again) is None
    made = protocol.new_trial(again, auto_increment=True)
    assert made is not None
    assert (made.revision, again.revision, again.id) == (1, 1, made.id)
    assert made.hash == trial.hash


def test_an_existing_project_or_group_is_returned_unchanged(protocol: Protocol) -> None:
    first = protocol.new_project(Project(name="p", description="first"))
    assert protocol.new_project(Project(name="p", description="second")).description == "first"
    assert protocol.get_project(Project(name="p")) == first
    assert protocol.get_project(Project(name="q")) is None
    group = protocol.new_trial_group(TrialGroup(name="g", project_id=first.uid))
    assert group is not None
    assert protocol.get_trial_group(TrialGroup(name="g", project_id=first.uid)) == group
    assert protocol.get_trial_group(TrialGroup(name="h", project_id=first.uid)) is None


def test_a_trial_known_only_by_its_definition_can_be_logged_to(protocol: Protocol, trial: Trial) -> None:
    definition = Trial(name="t", parameters={"lr": 0.1})
    protocol.log_trial_metrics(definition, 1, loss=0.5)
    protocol.add_trial_tags(Trial(name="t", parameters={"lr": 0.1}), a=1)
    found = read(protocol, trial)
    assert (found.metrics["loss"], found.tags) == ({1: 0.5}, {"a": 1})


def test_logging_to_a_missing_trial_is_an_error(protocol: Protocol) -> None:
    with pytest.raises(ItemNotFound, match="create it with new_trial first"):
        protocol.log_trial_metrics(Trial(name="nobody"), 1, loss=0.5)


def test_a_claim_updates_one_trial_and_returns_it(protocol: Protocol, trial: Trial) -> None:
    query = {"status": Status.CreatedGroup, "parameters.lr": {"$lte": 0.1}}
    claimed = protocol.fetch_and_update_trial(query, "set_trial_status", Status.Running)
    assert claimed is not None
    assert (claimed.uid, claimed.status) == (trial.uid, Status.Running)
    with pytest.raises(ItemNotFound, match="no trial matches"):
        protocol.fetch_and_update_trial(query, "set_trial_status", Status.Running)


@pytest.mark.parametrize(
    ("attr", "args", "kwargs", "field", "expected"),
    [
        ("set_trial_status", (CustomStatus("lost", 204),), {"error": "gone"}, "errors", ["gone"]),
        ("log_trial_arguments", (), {"seed": 1}, "parameters", {"lr": 0.1, "seed": 1}),
        ("log_trial_metadata", (), {"worker": 3}, "metadata", {"worker": 3}),
        ("add_trial_tags", (), {"best": True}, "tags", {"best": True}),
        ("log_trial_finish", (None, None, None), {}, "status", Status.Completed),
        ("log_trial_start", (), {}, "status", Status.Running),
        ("rewind_trial", (3,), {}, "metrics", {}),
    ],
)
def test_a_claim_may_use_any_call_that_updates_a_trial(
    protocol: Protocol, trial: Trial, attr: str, args: Any, kwargs: Any, field: str, expected: Any
) -> None:
    claimed = protocol.fetch_and_update_trial({}, attr, *args, **kwargs)
    found = getattr(claimed, field)
    assert (given(found) if isinstance(found, dict) else found) == expected


def test_a_claim_by_another_name_is_refused(protocol: Protocol, trial: Trial) -> None:
    with pytest.raises(
        BadArguments, match="'fetch_trials' does not update a trial; these do: add_trial_tags"
    ):
        protocol.fetch_and_update_trial({}, "fetch_trials")
    with pytest.raises(BadArguments, match="set_trial_status: missing a required argument: 'status'"):
        protocol.fetch_and_update_trial({}, "set_trial_status")
    with pytest.raises(BadQuery):
        protocol.fetch_and_update_trial({"nothing": 1}, "log_trial_start")


def test_a_groups_metadata_can_be_set_and_claimed(protocol: Protocol) -> None:
    group = protocol.new_trial_group(TrialGroup(name="g"))
    assert group is not None
    protocol.set_group_metadata(group, a=1)
    claimed = protocol.fetch_and_update_group({"name": "g"}, "set_group_metadata", b=2)
    assert claimed is not None
    assert claimed.metadata == {"a": 1, "b": 2}


def test_a_group_and_a_project_list_their_trials(protocol: Protocol, trial: Trial) -> None:
    project = protocol.new_project(Project(name="p"))
    group = protocol.new_trial_group(TrialGroup(name="g", project_id=project.uid))
    assert group is not None
    protocol.add_project_trial(project, trial)
    protocol.add_group_trial(group, trial)
    assert protocol.fetch_groups({})[0].trials == {trial.uid}
    assert protocol.fetch_trials({"project_id": project.uid}) == [trial]


@pytest.mark.parametrize(
    ("aggregator", "expected"),
    [
        (None, {0: 4.0, 1: 1.0, 2: 3.0}),
        (TimeSeriesAggregator.lazy(), {0: 4.0, 1: 1.0, 2: 3.0}),
        (ValueAggregator.lazy(), 3.0),
        (RingAggregator.lazy(2, "d"), [1.0, 3.0]),
        (ValueAggregator, 3.0),
    ],
)
def test_an_aggregator_defines_how_a_series_reads_back(
    protocol: Protocol, trial: Trial, aggregator: Any, expected: Any
) -> None:
    for step, value in enumerate([4.0, 1.0, 3.0]):
        protocol.log_trial_metrics(trial, step, aggregator, loss=value)
    found = read(protocol, trial)
    assert found.metrics["loss"] == expected
    assert list(protocol.fetch_metrics(found, "loss").values) == [4.0, 1.0, 3.0]


@pytest.mark.parametrize(("skip", "count", "least"), [(0, 3, 1.0), (2, 1, 3.0)])
def test_statistics_leave_out_what_they_skip(
    protocol: Protocol, trial: Trial, skip: int, count: int, least: float
) -> None:
    for value in (4.0, 1.0, 3.0):
        protocol.log_trial_metrics(trial, None, StatAggregator.lazy(skip), loss=value)
    report = read(protocol, trial).metrics["loss"]
    assert (report["count"], report["min"], report["unit"]) == (count, least, "s")


def test_the_later_point_of_a_step_counts(protocol: Protocol, trial: Trial) -> None:
    for step, value in ((0, 1.0), (1, 2.0), (0, 3.0)):
        protocol.log_trial_metrics(trial, step, loss=value)
    found = read(protocol, trial)
    assert found.metrics["loss"] == {0: 3.0, 1: 2.0}
    assert len(protocol.fetch_metrics(found, "loss")) == 3


def test_a_long_series_is_fetched_in_pages(protocol: Protocol, trial: Trial) -> None:
    write = protocol.metric_writer(trial)
    for step in range(PAGE + 10):
        write(step, {"loss": float(step)})
    series = protocol.fetch_metrics(trial, "loss")
    assert (len(series), list(series.steps[-2:])) == (PAGE + 10, [PAGE + 8, PAGE + 9])
    assert read(protocol, trial).metrics["loss"][PAGE + 9] == PAGE + 9.0


def test_names_and_summaries_of_series_need_no_points(protocol: Protocol, trial: Trial) -> None:
    protocol.log_trial_metrics(trial, 3, loss=0.5)
    metrics: Any = read(protocol, trial).metrics
    assert (list(metrics), metrics.summary("loss")["last_step"]) == (["loss"], 3)
    assert repr(metrics) == "<metrics loss>"
    with pytest.raises(KeyError):
        metrics["accuracy"]


def test_a_trial_in_another_process_has_its_points_with_it(protocol: Protocol, trial: Trial) -> None:
    protocol.log_trial_metrics(trial, 3, loss=0.5)
    assert pickle.loads(pickle.dumps(read(protocol, trial))).metrics == {"loss": {3: 0.5}}  # noqa: S301 - pickled right here


def test_a_missing_series_is_not_found(protocol: Protocol, trial: Trial) -> None:
    with pytest.raises(ItemNotFound):
        protocol.fetch_metrics(trial, "loss")


def test_timers_nest_and_belong_to_their_thread(protocol: Protocol, trial: Trial) -> None:
    def time_it() -> None:
        protocol.log_trial_chrono_start(trial, "step")
        protocol.log_trial_chrono_finish(trial, "step", None, None, None)

    protocol.log_trial_chrono_start(trial, "step")
    protocol.log_trial_chrono_start(trial, "step")
    thread = threading.Thread(target=time_it)
    thread.start()
    thread.join()
    protocol.log_trial_chrono_finish(trial, "step", None, None, None)
    protocol.log_trial_chrono_finish(trial, "step", None, None, None)
    assert read(protocol, trial).chronos["step"]["count"] == 3


def test_one_thread_may_stop_a_timer_of_another(protocol: Protocol, trial: Trial) -> None:
    # Fails when `Timers.stop` looks at the timers of its own thread only.
    thread = threading.Thread(target=protocol.log_trial_chrono_start, args=(trial, "runtime"))
    thread.start()
    thread.join()
    protocol.log_trial_chrono_finish(trial, "runtime", None, None, None)
    assert read(protocol, trial).chronos["runtime"]["count"] == 1


def test_a_timer_that_several_other_threads_started_is_ambiguous(
    protocol: Protocol, trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    both = threading.Barrier(3)

    def time_it() -> None:
        protocol.log_trial_chrono_start(trial, "step")
        both.wait(20.0)
        both.wait(20.0)
        protocol.log_trial_chrono_finish(trial, "step", None, None, None)

    threads = [threading.Thread(target=time_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    both.wait(20.0)
    protocol.log_trial_chrono_finish(trial, "step", None, None, None)
    both.wait(20.0)
    for thread in threads:
        thread.join()
    assert "without being started" in caplog.text
    assert read(protocol, trial).chronos["step"]["count"] == 2


def test_stopping_a_timer_that_never_started_only_warns(
    protocol: Protocol, trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    protocol.log_trial_chrono_finish(trial, "step", None, None, None)
    assert "without being started" in caplog.text


def test_a_protocol_reaches_another_process_by_its_uri(tmp_path: Path) -> None:
    protocol = get_protocol(f"sqlite:{tmp_path / 'runs.db'}")
    protocol.new_project(Project(name="p"))
    other = pickle.loads(pickle.dumps(protocol))  # noqa: S301 - pickled right here
    assert [project.name for project in other.fetch_projects({})] == ["p"]
    protocol.close()
    other.close()


def test_commit_refuses_unknown_options(protocol: Protocol) -> None:
    with pytest.raises(BadArguments, match="file_name_override only, not speed"):
        protocol.commit(speed=1)


def test_the_trial_may_be_given_by_its_documented_name(protocol: Any, trial: Trial) -> None:
    protocol.log_trial_arguments(trial=trial, a=1)
    protocol.log_trial_metadata(trial=trial, b=2)
    protocol.add_trial_tags(trial=trial, c=3)
    protocol.log_trial_metrics(trial=trial, step=0, loss=0.5)
    found = read(protocol, trial)
    assert (found.parameters["a"], found.metadata["b"], found.tags["c"]) == (1, 2, 3)
    assert found.metrics["loss"] == {0: 0.5}


@pytest.mark.parametrize("name", ["trial", "self", "method", "args", "kwargs"])
def test_values_may_have_any_name(protocol: Protocol, trial: Trial, name: str) -> None:
    protocol.log_trial_arguments(trial, **{name: 1})
    protocol.log_trial_metadata(trial, LATEST, **{name: 2})
    protocol.add_trial_tags(trial, **{name: 3})
    protocol.log_trial_metrics(trial, aggregator=ValueAggregator.lazy(), **{name: 4})
    found = read(protocol, trial)
    assert (found.parameters[name], found.metadata[name], found.tags[name]) == (1, 2, 3)
    assert found.metrics[name] == 4


def test_an_invalid_aggregator_drops_no_point(protocol: Protocol, trial: Trial) -> None:
    odd: list[Any] = [len, "mean"]
    for step, aggregator in enumerate(odd):
        protocol.log_trial_metrics(trial, step, aggregator, loss=1.0)
    assert read(protocol, trial).metrics["loss"] == {0: 1.0, 1: 1.0}
