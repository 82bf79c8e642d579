"""The documented interface, on every store that runs in this process."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from track import Status, TrackClient, TrialDoesNotExist
from track.logger import TrialLogger
from track.persistence.protocol import Protocol
from track.persistence.registry import register
from track.structure import get_current_project, get_current_trial
from track_protocol.errors import ItemNotFound, UsageError
from track_protocol.model.entities import Project, Trial, TrialGroup
from track_protocol.model.values import MAX_TEXT_BYTES

SHORT = """
import sys
from track import TrackClient

client = TrackClient(sys.argv[1])
client.set_project(name='test_client')

trial = client.new_trial()
trial.log_arguments(batch_size=256)

with trial:
    trial.log_metrics(step=1, epoch_loss=1)
    trial.log_metrics(accuracy=0.98)

client.save()
client.report()
"""

LONG = """
import sys
from track import TrackClient

epochs, dataset, loss = 2, [1, 2, 3], 0.0
client = TrackClient(sys.argv[1])

project = client.set_project(name='paper_78997')
group = client.set_group(name='idea_4573')

trial = client.new_trial(name='final_trial_2', description='almost graduating')
trial.log_arguments(batch_size=256, lr=0.01, momentum=0.99)
trial.log_metadata(gpu='V100')

with trial:
    for e in range(epochs):
        for batch in dataset:
            with trial.chrono('batch_time'):
                loss += 0.5
            trial.log_metrics(step=e, epoch_loss=loss)
        trial.log_metrics(accuracy=0.98)

client.report()
"""

STORES = ["file://client_test.json", "file:client_test.json", "sqlite:client_test.db", "ephemeral:"]
every_store = pytest.mark.parametrize("store", STORES)


def report_of(script: str, store: str, folder: Path) -> dict[str, Any]:
    """What a script prints."""
    (folder / "train.py").write_text(script)
    command = [sys.executable, "train.py", store]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture
def client() -> TrackClient:
    return TrackClient("ephemeral:")


def stored(client: TrackClient) -> Trial:
    assert client.trial is not None
    return (client.protocol.get_trial(client.trial) or [])[0]


@every_store
def test_the_short_example_reports_its_values(store: str, tmp_path: Path) -> None:
    report = report_of(SHORT, store, tmp_path)
    assert report["parameters"] == {"batch_size": 256}
    assert report["metrics"] == {"epoch_loss": {"1": 1}, "accuracy": [0.98]}
    assert report["status"] == {"value": 302, "name": "Completed"}
    assert type(report["chronos"]["runtime"]) is float


@every_store
def test_the_long_example_reports_in_the_documented_shape(store: str, tmp_path: Path) -> None:
    report = report_of(LONG, store, tmp_path)
    assert list(report) == [
        *("revision", "name", "description", "version", "tags", "parameters"),
        *("metadata", "metrics", "chronos", "errors", "status"),
    ]
    assert report["metadata"] == {"gpu": "V100"}
    assert report["metrics"] == {"epoch_loss": {"0": 1.5, "1": 3.0}, "accuracy": [0.98, 0.98]}
    assert set(report["chronos"]["batch_time"]) == {"avg", "min", "max", "sd", "count", "unit"}
    assert report["chronos"]["batch_time"]["count"] == 6


@pytest.mark.parametrize("store", STORES[1:3])
def test_the_same_script_again_makes_the_next_revision(store: str, tmp_path: Path) -> None:
    assert [report_of(SHORT, store, tmp_path)["revision"] for _ in range(3)] == [0, 1, 2]


def test_threads_that_log_first_begin_one_trial(client: TrackClient, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, together = client.new_trial, threading.Barrier(2)

    def begin(**options: Any) -> TrialLogger:
        with suppress(threading.BrokenBarrierError):
            together.wait(0.5)  # for the other one, who must not come
        return begun(**options)

    monkeypatch.setattr(client, "new_trial", begin)
    with ThreadPoolExecutor(2) as pool:
        logged = [pool.submit(client.log_metrics, step, loss=0.5) for step in range(2)]
        assert [each.result() for each in logged] == [None, None]
    assert stored(client).metrics["loss"].keys() == {0, 1}


def test_the_example_runs_without_a_store(tmp_path: Path) -> None:
    assert report_of(SHORT, "none", tmp_path)["parameters"] == {"batch_size": 256}


@pytest.mark.usefixtures("own_backends")
def test_a_custom_backend_works_in_a_client() -> None:
    class MyOwnBackend(Protocol):
        def new_project(self, project: Project) -> Project:
            return project

    register("byob", MyOwnBackend)
    client = TrackClient("byob://....")
    assert isinstance(client.protocol, MyOwnBackend)
    assert client.set_project(name="mine").name == "mine"
    with pytest.raises(NotImplementedError, match="MyOwnBackend does not implement get_trial"):
        client.set_trial(hash="0")


def test_a_trial_is_stored_when_its_arguments_are_known(client: TrackClient) -> None:
    trial = client.new_trial(name="late")
    trial.add_tags(owner="me")
    trial.log_metadata(gpu="V100")
    assert client.protocol.fetch_trials({}) == []
    trial.log_arguments(lr=0.1)
    (found,) = client.protocol.fetch_trials({"name": "late"})
    assert (found.parameters, found.tags, found.metadata) == ({"lr": 0.1}, {"owner": "me"}, {"gpu": "V100"})


def test_a_trial_without_arguments_is_stored_when_it_logs(client: TrackClient) -> None:
    client.new_trial().log_metrics(loss=1.0)
    assert stored(client).metrics == {"loss": [1.0]}


def test_a_trial_belongs_to_the_project_and_the_group(client: TrackClient) -> None:
    project = client.set_project(name="p")
    group = client.set_group(name="g")
    trial = client.new_trial(arguments={"lr": 0.1}).trial
    assert (trial.project_id, trial.group_id) == (project.uid, group.uid)
    assert client.protocol.fetch_projects({})[0].trials == {trial.uid}
    assert client.protocol.fetch_groups({})[0].trials == {trial.uid}
    assert (get_current_project(), get_current_trial()) == (project, trial)


def test_a_trial_outside_any_project_is_an_orphan(client: TrackClient) -> None:
    client.new_trial(arguments={"lr": 0.1})
    assert [project.name for project in client.protocol.fetch_projects({})] == ["orphan"]


def test_project_group_and_trial_change_only_with_force(client: TrackClient) -> None:
    client.set_project(name="p")
    client.set_group(name="g")
    client.new_trial(arguments={"lr": 1})
    assert client.set_project(name="p").name == "p"
    for change in (
        lambda force: client.set_group(name="h", force=force),
        lambda force: client.new_trial(force=force),
        lambda force: client.set_project(name="q", force=force),
    ):
        with pytest.raises(UsageError, match="force=True"):
            change(False)
        change(True)
    assert client.project is not None
    assert (client.project.name, client.group) == ("q", None)


def test_get_only_creates_nothing(client: TrackClient) -> None:
    with pytest.raises(ItemNotFound, match="no project is called 'p'"):
        client.set_project(name="p", get_only=True)
    assert client.protocol.fetch_projects({}) == []


def test_a_stored_trial_can_be_continued(client: TrackClient) -> None:
    first = client.new_trial(arguments={"lr": 0.1})
    first.log_metrics(step=0, loss=1.0)
    client.set_trial(uid=first.trial.uid, force=True).log_metrics(step=1, loss=0.5)
    client.set_trial(hash=first.trial.hash, revision=0, force=True).log_metrics(step=2, loss=0.2)
    assert stored(client).metrics["loss"] == {0: 1.0, 1: 0.5, 2: 0.2}


def test_a_trial_that_is_not_stored_cannot_be_continued(client: TrackClient) -> None:
    with pytest.raises(TrialDoesNotExist, match="abc_3"):
        client.set_trial(uid="abc_3")
    with pytest.raises(TrialDoesNotExist, match="no trial is called 'abc'"):
        client.set_trial(uid="abc")


def test_a_trial_is_continued_by_whatever_track_ls_shows_of_it(
    client: TrackClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client.new_trial(name="first", arguments={"lr": 0.1}).trial
    client.new_trial(force=True, name="second", arguments={"lr": 0.2})
    shown = f"{first.uid[:8]}_0"
    for name in (shown, first.uid[:8], "first"):
        assert client.set_trial(uid=name, force=True).trial == first
    monkeypatch.setenv("TRACK_TRIAL", shown)
    again = TrackClient(client.protocol)
    assert again.new_trial().trial == first
    client.new_trial(force=True, name="first", arguments={"lr": 0.3})
    with pytest.raises(UsageError, match="matches 2 trials"):
        client.set_trial(uid="first", force=True)


def test_the_environment_may_name_the_trial_to_resume(
    client: TrackClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client.new_trial(arguments={"lr": 0.1})
    monkeypatch.setenv("TRACK_TRIAL", first.trial.uid)
    restarted = TrackClient(client.protocol)
    assert restarted.new_trial(name="ignored", arguments={"lr": 0.1, "more": 1}).trial.uid == first.trial.uid
    assert stored(restarted).parameters == {"lr": 0.1, "more": 1}
    assert restarted.new_trial(force=True).trial.uid != first.trial.uid


def test_a_trial_of_the_environment_that_is_not_stored_is_an_error(
    client: TrackClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACK_TRIAL", "abc_3")
    with pytest.raises(TrialDoesNotExist, match=r"abc_3.*TRACK_TRIAL"):
        TrackClient(client.protocol).new_trial()


def test_a_resumed_trial_keeps_its_errors_and_adds_up_its_runtime(client: TrackClient) -> None:
    trial = client.new_trial(arguments={"lr": 0.1})
    with pytest.raises(ValueError, match="no"), trial:
        raise ValueError("no")
    first = stored(client).chronos["runtime"]
    again = client.set_trial(uid=trial.trial.uid, force=True)
    again.start()
    assert stored(client).status == Status.Running
    again.finish()
    after = stored(client)
    sessions = client.protocol.fetch_metrics(after, "runtime", "chrono").values
    assert (after.status, len(after.errors), len(sessions)) == (Status.Completed, 1, 2)
    assert after.chronos["runtime"] == pytest.approx(sum(sessions))
    assert after.chronos["runtime"] > first


@pytest.mark.parametrize(
    ("given", "environment", "rank"),
    [
        (3, {"RANK": "1"}, 3),
        (None, {"RANK": "1", "SLURM_PROCID": "2"}, 1),
        (None, {"RANK": "first"}, None),
        (None, {"SLURM_PROCID": "2"}, None),
        (None, {"SLURM_PROCID": "2", "TRACK_TRIAL": "x"}, 2),
    ],
)
def test_the_rank_is_given_or_found_in_the_environment(
    client: TrackClient,
    monkeypatch: pytest.MonkeyPatch,
    given: int | None,
    environment: dict[str, str],
    rank: int | None,
) -> None:
    trial = client.new_trial(arguments={"lr": 0.1}).trial
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    TrackClient(client.protocol, rank=given).set_trial(trial).start()
    assert stored(client).metadata.get("ranks") == (None if rank is None else [rank])


def test_whoever_makes_a_trial_has_its_status_whatever_its_rank(client: TrackClient) -> None:
    with TrackClient(client.protocol, rank=3).new_trial(arguments={"lr": 0.1}) as trial:
        pass
    (found,) = client.protocol.get_trial(trial.trial) or []
    assert (found.status, found.metadata["ranks"]) == (Status.Completed, [3])


def test_arguments_may_come_as_a_parser_a_namespace_or_a_mapping(
    client: TrackClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "0.5"])
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float)
    assert client.get_arguments(parser, seed=1) == argparse.Namespace(lr=0.5, seed=1)
    assert stored(client).parameters == {"lr": 0.5, "seed": 1}
    client.new_trial(force=True, arguments=argparse.Namespace(lr=0.7))
    assert stored(client).parameters == {"lr": 0.7}
    client.new_trial(force=True, arguments={"lr": 0.9})
    assert stored(client).parameters == {"lr": 0.9}


def test_an_argument_that_cannot_be_stored_becomes_text(
    client: TrackClient, caplog: pytest.LogCaptureFixture
) -> None:
    class Optimiser:
        def __str__(self) -> str:
            return "SGD"

    client.new_trial(arguments={"optimiser": Optimiser()})
    assert stored(client).parameters == {"optimiser": "SGD"}
    assert "its text is stored instead" in caplog.text


def test_later_arguments_do_not_change_the_hash(client: TrackClient) -> None:
    trial = client.new_trial(arguments={"lr": 0.1})
    before = trial.trial.hash
    trial.log_arguments(extra=1)
    assert (stored(client).hash, stored(client).parameters) == (before, {"lr": 0.1, "extra": 1})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no"), Status.Exception),
        (KeyboardInterrupt(), Status.Interrupted),
        (SystemExit(3), Status.Exception),
        (SystemExit("no such dataset"), Status.Exception),
        (SystemExit(""), Status.Exception),
        (SystemExit(143), Status.Interrupted),
        (SystemExit(130), Status.Interrupted),
        (SystemExit(0), Status.Completed),
        (SystemExit(), Status.Completed),
        (GeneratorExit(), Status.Completed),
        (asyncio.CancelledError(), Status.Interrupted),
    ],
)
def test_an_exception_is_stored_and_propagates(
    client: TrackClient, error: BaseException, status: Status
) -> None:
    trial = client.new_trial()
    with pytest.raises(type(error)), trial:
        raise error
    assert stored(client).status == status
    assert [type(error).__name__ in text for text in stored(client).errors] == (
        [] if status is Status.Completed else [True]
    )


@pytest.mark.parametrize(("given", "code"), [(3, 3), ("no such dataset", 1), (True, 1), (-1, -1)])
def test_the_exit_code_of_a_program_is_stored(client: TrackClient, given: Any, code: int) -> None:
    with pytest.raises(SystemExit), client.new_trial():
        sys.exit(given)
    (error,) = stored(client).errors
    assert error.endswith(f"SystemExit: {given}\nexited with code {code:d}\n")


def test_an_exception_group_is_stored_with_each_exception(client: TrackClient) -> None:
    group = ExceptionGroup("both", [ValueError("one"), ExceptionGroup("deep", [KeyError("two")])])
    with pytest.raises(ExceptionGroup), client.new_trial():
        raise group
    (error,) = stored(client).errors
    assert ["ValueError: one" in error, "KeyError: 'two'" in error] == [True, True]


def test_the_end_of_a_huge_traceback_is_stored(client: TrackClient) -> None:
    def fail(depth: int) -> None:
        try:
            raise ValueError(f"level {depth} " + "x" * 10_000)
        except ValueError:
            if depth < 30:
                fail(depth + 1)
            raise

    with pytest.raises(ValueError, match="level"), client.new_trial():
        fail(0)
    (error,) = stored(client).errors
    assert 60_000 < len(error.encode()) <= MAX_TEXT_BYTES
    assert "ValueError: level 30" in error


def test_a_block_that_an_exception_cuts_short_is_not_timed(client: TrackClient) -> None:
    trial = client.new_trial()
    with trial.chrono("step"):
        pass
    with pytest.raises(ValueError, match="no"), trial.chrono("step"):
        raise ValueError("no")
    assert stored(client).chronos["step"]["count"] == 1


def test_callbacks_run_round_a_timed_block(client: TrackClient) -> None:
    calls: list[str] = []
    with client.chrono(
        "step", start_callback=lambda: calls.append("start"), end_callback=lambda: calls.append("end")
    ):
        calls.append("block")
    assert calls == ["start", "block", "end"]


def test_the_version_is_a_hash_of_the_file_unless_set(client: TrackClient) -> None:
    client.set_version("v7")
    assert client.new_trial(arguments={"lr": 1}).trial.version == "v7"
    client.set_version(version_fun=lambda: "v8")
    assert client.new_trial(force=True, arguments={"lr": 1}).trial.version == "v8"


def test_saving_under_another_name_writes_everything_as_json(client: TrackClient, tmp_path: Path) -> None:
    client.new_trial(name="t").log_metrics(step=1, loss=0.5)
    client.save(file_name_override=str(tmp_path / "all.json"))
    written = json.loads((tmp_path / "all.json").read_text())
    assert written["trials"][0]["metrics"] == {"loss": {"1": 0.5}}
    assert [project["name"] for project in written["projects"]] == ["orphan"]


def test_metrics_may_have_any_name(client: TrackClient) -> None:
    names = {"self": 1.0, "trial": 2.0, "val/loss": 3.0}
    client.new_trial().log_metrics(**names)
    assert stored(client).metrics == {name: [value] for name, value in names.items()}


def test_a_report_without_a_trial_gives_the_remedy(client: TrackClient) -> None:
    with pytest.raises(UsageError, match="new_trial"):
        client.report()


def test_logging_an_invalid_value_never_raises(client: TrackClient, caplog: pytest.LogCaptureFixture) -> None:
    trial = client.new_trial()
    with caplog.at_level(logging.WARNING, "track"):
        trial.log_metrics(loss=object(), good=1.0)
        trial.log_metadata(bad=object(), fine=2)
        trial.add_tags(huge=2**90)
        trial.set_status(Status.Broken, "\ud800" * 100_000)
    found = stored(client)
    assert (found.metrics["good"], found.metadata["fine"], found.metadata["bad"]) == (
        [1.0],
        2,
        "<object object>",
    )
    assert found.tags == {"huge": str(2**90)}
    assert found.status == Status.Broken
    assert len(found.errors) == 1


def test_arguments_may_have_any_name() -> None:
    client = TrackClient("ephemeral:")
    assert vars(client.log_arguments({"self": 1, "trial": 2})) == {"self": 1, "trial": 2}
    assert vars(client.log_arguments(self=3, method=4)) == {"self": 3, "method": 4}


def test_what_gives_no_arguments_is_counted_and_gives_none(client: TrackClient) -> None:
    assert vars(client.log_arguments(0.1, lr=0.1)) == {"lr": 0.1}
    client.protocol.flush()
    assert stored(client).metadata["dropped_points"]["points"] == 1


@pytest.mark.parametrize("uid", ["x", "abc_def", "", "_1"])
def test_a_malformed_uid_is_one_of_no_trial(uid: str) -> None:
    with TrackClient("ephemeral:") as client, pytest.raises(TrialDoesNotExist):
        client.set_trial(uid=uid)


def test_a_trial_is_found_by_its_name_and_parameters() -> None:
    with TrackClient("ephemeral:") as client:
        for lr in (0.1, 0.2):
            client.new_trial(force=True, name="t", parameters={"lr": lr})
        wanted = client.trial
        client.new_trial(force=True, name="other", parameters={"lr": 0.2})
        found = client.set_trial(name="t", parameters={"lr": 0.2}, force=True)
        assert found.trial == wanted
        newest = client.set_trial(name="t", force=True)
        assert newest.trial == wanted
        with pytest.raises(TrialDoesNotExist, match=r"no trial has {'name': 'nobody'}"):
            client.set_trial(name="nobody", force=True)


def test_a_project_without_a_name_is_refused() -> None:
    with TrackClient("ephemeral:") as client, pytest.raises(UsageError, match="the project has no name"):
        client.set_project()


def test_a_group_without_a_project_is_one_of_the_clients() -> None:
    with TrackClient("ephemeral:") as client:
        project = client.set_project(name="p")
        group = TrialGroup(name="g")
        assert group.uid
        assert client.set_group(group).project_id == project.uid
        assert client.set_group(name="g") == client.group
        assert client.set_group(TrialGroup(_uid="mine", name="h"), force=True).uid == "mine"


def test_parameters_may_be_a_namespace() -> None:
    with TrackClient("ephemeral:") as client:
        trial = client.new_trial(parameters=argparse.Namespace(lr=0.1))
        assert trial.trial.parameters == {"lr": 0.1}


def test_the_runtime_is_retained_once_by_the_logger_and_the_store() -> None:
    with TrackClient("ephemeral:") as client:
        with client.new_trial() as trial:
            trial.log_metrics(loss=1.0)
        assert len(client.protocol.fetch_metrics(trial.trial, "runtime", kind="chrono")) == 1
