"""Going on with a trial: by its parameters, by what the environment says, and back to a checkpoint."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from track import CustomStatus, Status, TrackClient, Trial
from track.recording.resume import definition, rank_in, resumes_in
from track_protocol.errors import BadArguments, UsageError

STOPPED: list[Status | CustomStatus] = [
    Status.CreatedGroup,
    Status.Interrupted,
    Status.Exception,
    Status.Broken,
    Status.Suspended,
    CustomStatus("lost", 204),
]


@pytest.fixture(params=["sqlite", "file"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}:{tmp_path / 'runs'}"


@pytest.fixture
def client(uri: str) -> Iterator[TrackClient]:
    with job(uri) as client:
        yield client


def job(uri: str, project: str = "p") -> TrackClient:
    """The client of a job that was started."""
    client = TrackClient(uri)
    client.set_version("v1")
    client.set_project(name=project)
    return client


def left_as(client: TrackClient, status: Status | CustomStatus, **arguments: Any) -> Trial:
    """A trial that an earlier job left in some status."""
    trial = client.new_trial(force=True, resume=False, arguments=arguments or {"lr": 0.1})
    trial.set_status(status)
    client.save()
    return trial.trial


def stored(client: TrackClient, trial: Trial) -> Trial:
    (found,) = client.protocol.get_trial(trial) or []
    return found


# -- by parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", STOPPED, ids=lambda status: status.name)
def test_a_stopped_trial_is_resumed(client: TrackClient, status: Status | CustomStatus) -> None:
    before = left_as(client, status)
    again = client.new_trial(force=True, resume=True, arguments={"lr": 0.1})
    assert again.trial.uid == before.uid
    assert stored(client, before).status is Status.Running


@pytest.mark.parametrize(
    "status", [Status.Completed, CustomStatus("pruned", 310)], ids=lambda each: each.name
)
def test_a_completed_trial_is_not_resumed(client: TrackClient, status: Status | CustomStatus) -> None:
    before = left_as(client, status)
    again = client.new_trial(force=True, resume=True, arguments={"lr": 0.1})
    assert (again.trial.hash, again.trial.revision) == (before.hash, 1)
    assert stored(client, before).status == status


def test_a_trial_that_may_be_running_is_not_resumed(
    client: TrackClient, caplog: pytest.LogCaptureFixture
) -> None:
    before = left_as(client, Status.Running)
    with caplog.at_level(logging.WARNING, "track"):
        again = client.new_trial(force=True, resume=True, arguments={"lr": 0.1})
    assert again.trial.revision == 1
    assert f"TRACK_TRIAL={before.uid}" in caplog.text


def test_the_newest_stopped_trial_is_resumed(client: TrackClient) -> None:
    revisions = [left_as(client, status) for status in (*STOPPED[1:4], Status.Completed)]
    taken = [client.new_trial(force=True, resume=True, arguments={"lr": 0.1}).trial for _ in range(4)]
    assert [trial.revision for trial in taken] == [2, 1, 0, 4]
    assert stored(client, revisions[3]).status is Status.Completed


def test_another_name_version_parameter_project_or_group_is_another_trial(
    client: TrackClient, uri: str
) -> None:
    before = left_as(client, Status.Interrupted)
    others = [
        client.new_trial(force=True, resume=True, arguments={"lr": 0.2}),
        client.new_trial(force=True, resume=True, arguments={"lr": 0.1}, name="other"),
    ]
    client.set_version("v2")
    others.append(client.new_trial(force=True, resume=True, arguments={"lr": 0.1}))
    client.set_version("v1")
    client.set_group(name="other")
    others.append(client.new_trial(force=True, resume=True, arguments={"lr": 0.1}))
    with job(uri, project="q") as elsewhere:
        others.append(elsewhere.new_trial(resume=True, arguments={"lr": 0.1}))
    assert before.uid not in [other.trial.uid for other in others]
    assert stored(client, before).status is Status.Interrupted


def test_without_a_group_a_trial_of_any_group_is_resumed(client: TrackClient, uri: str) -> None:
    client.set_group(name="g")
    before = left_as(client, Status.Interrupted)
    with job(uri) as again:
        assert again.new_trial(resume=True, arguments={"lr": 0.1}).trial.uid == before.uid


def test_parameters_may_be_logged_later(client: TrackClient) -> None:
    before = left_as(client, Status.Interrupted)
    again = client.new_trial(force=True, resume=True, tags={"team": "vision"})
    again.log_metadata(gpu="V100")
    client.log_arguments(lr=0.1)
    found = stored(client, before)
    assert (again.trial.uid, found.tags, found.metadata["gpu"]) == (before.uid, {"team": "vision"}, "V100")


def test_by_default_a_trial_gets_its_next_revision(client: TrackClient) -> None:
    left_as(client, Status.Interrupted)
    assert client.new_trial(force=True, arguments={"lr": 0.1}).trial.revision == 1


def test_a_resumed_trial_keeps_points_errors_and_runtimes(client: TrackClient) -> None:
    first = client.new_trial(resume=True, arguments={"lr": 0.1})
    first.log_metrics(step=0, loss=1.0)
    with pytest.raises(ValueError, match="no"), first:
        raise ValueError("no")
    with client.new_trial(force=True, resume=True, arguments={"lr": 0.1}) as again:
        again.log_metrics(step=1, loss=0.5)
    found = stored(client, first.trial)
    sessions = client.protocol.fetch_metrics(found, "runtime", "chrono").values
    assert (found.status, len(found.errors), found.metrics["loss"]) == (Status.Completed, 1, {0: 1.0, 1: 0.5})
    assert found.chronos["runtime"] == pytest.approx(sum(sessions))
    assert len(sessions) == 2


def test_of_two_jobs_that_start_at_once_each_has_a_trial_of_its_own(uri: str) -> None:
    with job(uri) as client:
        stopped = [left_as(client, Status.Interrupted) for _ in range(3)]
    together, taken = threading.Barrier(6), []

    def start() -> None:
        with job(uri) as client:
            together.wait(30)
            taken.append(client.new_trial(resume=True, arguments={"lr": 0.1}).trial.uid)

    jobs = [threading.Thread(target=start) for _ in range(6)]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join(60)
    assert len(set(taken)) == 6
    assert {trial.uid for trial in stopped} < set(taken)


def test_a_trial_that_was_just_made_by_a_job_is_not_resumed_by_another(client: TrackClient, uri: str) -> None:
    first = client.new_trial(resume=True, arguments={"lr": 0.1})
    with job(uri) as second:
        assert second.new_trial(resume=True, arguments={"lr": 0.1}).trial.uid != first.trial.uid
    found = stored(client, first.trial)
    assert (found.status, "heartbeat" in found.metadata) == (Status.Running, True)


def test_a_script_that_tracks_nothing_resumes_nothing() -> None:
    client = TrackClient("none")
    assert client.new_trial(resume=True, arguments={"lr": 0.1}).trial.revision == 0
    client.rewind(3)


# -- by the environment --------------------------------------------------------------------------


def test_the_environment_may_ask_to_resume(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACK_RESUME", "1")
    with job(uri) as client:
        before = left_as(client, Status.Interrupted)
        assert client.new_trial(force=True, arguments={"lr": 0.1}).trial.uid == before.uid
        assert client.new_trial(force=True, resume=False, arguments={"lr": 0.1}).trial.uid != before.uid


def test_a_trial_named_by_the_environment_takes_precedence(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with job(uri) as client:
        named, newest = [left_as(client, Status.Interrupted) for _ in range(2)]
    monkeypatch.setenv("TRACK_RESUME", "1")
    monkeypatch.setenv("TRACK_TRIAL", named.uid)
    with job(uri) as client:
        assert client.new_trial(arguments={"lr": 0.1}).trial.uid == named.uid
        assert client.new_trial(force=True, arguments={"lr": 0.1}).trial.uid == newest.uid


@pytest.mark.parametrize(("said", "resumes"), [("1", True), ("0", False), ("", False)])
def test_resuming_is_set_by_1_or_0(said: str, resumes: bool) -> None:
    assert resumes_in({"TRACK_RESUME": said}) is resumes
    assert resumes_in({}) is False


def test_anything_else_is_an_error() -> None:
    with pytest.raises(UsageError, match="TRACK_RESUME is 'yes': set it to 1"):
        resumes_in({"TRACK_RESUME": "yes"})


def test_an_invalid_rank_reads_as_none() -> None:
    assert [rank_in({"RANK": said}) for said in ("3", "", "x", "-1")] == [3, None, None, None]


def test_a_uid_is_a_hash_and_a_revision() -> None:
    assert definition("ab_c_3", None, 0).uid == "ab_c_3"
    assert definition(None, "abc", 2).uid == "abc_2"
    with pytest.raises(UsageError, match="its uid, or its hash"):
        definition(None, None, 0)


# -- back to a checkpoint ------------------------------------------------------------------------


def test_points_logged_again_after_a_checkpoint_are_stored_once(client: TrackClient) -> None:
    trial = client.new_trial(arguments={"lr": 0.1})
    for step in range(8):
        trial.log_metrics(step=step, loss=float(step))
    again = client.set_trial(uid=trial.trial.uid, force=True)
    again.rewind(4)
    for step in range(5, 10):
        again.log_metrics(step=step, loss=step / 2)
    found = stored(client, trial.trial)
    assert list(found.metrics["loss"].values()) == [0.0, 1.0, 2.0, 3.0, 4.0, 2.5, 3.0, 3.5, 4.0, 4.5]
    history = client.protocol.fetch_metrics(found, "loss", kind="superseded")
    assert (list(history.steps), list(history.values)) == ([5, 6, 7], [5.0, 6.0, 7.0])


def test_only_rank_0_rewinds(uri: str) -> None:
    with job(uri) as client:
        trial = client.new_trial(arguments={"lr": 0.1})
        trial.log_metrics(step=9, loss=0.5)
        client.save()
        with TrackClient(uri, rank=1) as other:
            other.set_trial(uid=trial.trial.uid).rewind(3)
            other.save()
            assert stored(client, trial.trial).metrics["loss"] == {9: 0.5}
        with TrackClient(uri, rank=0) as first:
            first.set_trial(uid=trial.trial.uid).rewind(3)
            first.save()
            assert "loss" not in stored(client, trial.trial).metrics


def test_a_client_rewinds_its_trial(client: TrackClient) -> None:
    client.new_trial(arguments={"lr": 0.1})
    client.log_metrics(step=5, loss=0.5)
    client.rewind(3)
    assert client.trial is not None
    (rewind,) = stored(client, client.trial).metadata["rewinds"]
    assert (rewind["step"], rewind["points"]) == (3, 1)


def test_going_back_to_no_number_is_an_error(client: TrackClient) -> None:
    with pytest.raises(BadArguments, match="step must be a number, not 'best'"):
        client.rewind("best")  # type: ignore[arg-type] # what a user may do
