"""`Tracker`: its runs, its errors, and what other APIs make of them."""

from __future__ import annotations

import dataclasses
import math
import socket
import statistics
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pydantic
import pytest

from older_databases import OlderDatabase
from running_server import Served, ServerProcess, serving
from track import LOST, Status, TrackClient, Tracker, TrackError
from track.persistence.series import Series, SeriesMapping
from track.tracker import ExperimentDBManager, NoActiveRun, RecordInfo
from track.tracker.experiment import Experiment
from track.tracker.run_ids import LAST_COUNTED
from track.tracker.statuses import status_of_run, status_of_trial
from track_protocol.errors import BadArguments, ItemNotFound, StoreReadOnly, TrialInUse, UsageError
from track_protocol.model.entities import CustomStatus, Trial
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore
from track_server.app import Settings

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture(params=["folder", "file", "ephemeral", "socket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a tracker stores its experiments: every kind of store."""
    if request.param == "socket":
        with serving(Settings(backend=f"sqlite:{tmp_path}/server.db", home=tmp_path / "home")) as served:
            yield served.join("trainer")
        return
    yield {"folder": f"{tmp_path}/experiments", "file": f"file:{tmp_path}/all.json"}.get(
        request.param, "ephemeral:"
    )


@pytest.fixture
def everywhere(place: str) -> Iterator[Tracker]:
    """In every kind of place, with an experiment."""
    with Tracker(place) as tracker:
        tracker.set_experiment("mnist")
        yield tracker


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    with Tracker("ephemeral:") as tracker:
        tracker.set_experiment("mnist")
        yield tracker


def full_status(tracker: Tracker, run_id: int) -> str | None:
    run = tracker.get_run(run_id)
    assert run is not None
    return run.full_status


# -- runs ----------------------------------------------------------------------------------------


def test_a_run_is_returned_as_logged(everywhere: Tracker) -> None:
    config = {"lr": 0.01, "layers": [64, 10], "aug": None}
    with everywhere.run("baseline", config) as run_id:
        for step in range(5):
            everywhere.record("loss", 1.0 / (1 + step), step)
        everywhere.log({"acc": 0.5, "f1": 0.25}, step=4)
    run = everywhere.get_run(run_id)
    assert run is not None
    assert (run.run_id, run.name, run.status, run.config) == (1, "baseline", "completed", config)
    assert (run.metrics, run.num_records) == (["loss", "acc", "f1"], [5, 1, 1])
    assert [(each.step, each.value) for each in everywhere.get_records(1, "loss")] == [
        (step, 1.0 / (1 + step)) for step in range(5)
    ]
    assert list(everywhere.get_results(1)) == everywhere.get_metrics(1) == ["loss", "acc", "f1"]
    assert everywhere.summary(1)["loss"] == {
        "min": 0.2,
        "max": 1.0,
        "mean": pytest.approx(sum(1.0 / (1 + step) for step in range(5)) / 5),
        "std": pytest.approx(statistics.pstdev(1.0 / (1 + step) for step in range(5))),
        "last": 0.2,
        "n": 5,
        "first_step": 0,
        "last_step": 4,
    }


def test_runs_come_newest_first(everywhere: Tracker) -> None:
    for name in ("a", "b", "a"):
        with everywhere.run(name):
            pass
    assert [(run.run_id, run.name) for run in everywhere.get_all_runs()] == [(3, "a"), (2, "b"), (1, "a")]


def test_a_deleted_run_is_not_found_and_its_number_is_not_reused(everywhere: Tracker) -> None:
    with everywhere.run("a") as run_id:
        everywhere.record("loss", 1.0, 0)
    everywhere.delete_run(run_id)
    everywhere.delete_run(run_id)
    assert (everywhere.get_run(run_id), everywhere.get_all_runs()) == (None, [])
    assert (everywhere.get_metrics(run_id), everywhere.get_records(run_id, "loss")) == ([], [])
    with everywhere.run() as following:
        assert following == run_id + 1


def test_a_run_is_completed_by_a_block_that_ends_and_failed_by_one_that_raises(everywhere: Tracker) -> None:
    with everywhere.run() as good:
        running = everywhere.get_run(good)
    with pytest.raises(ZeroDivisionError), everywhere.run() as bad:
        1 / 0  # noqa: B018 - it raises
    with pytest.raises(KeyboardInterrupt), everywhere.run() as interrupted:
        raise KeyboardInterrupt
    assert running is not None
    assert running.status == "running"
    assert {run.run_id: run.status for run in everywhere.get_all_runs()} == {
        good: "completed",
        bad: "failed",
        interrupted: "failed",
    }
    assert (full_status(everywhere, bad), full_status(everywhere, interrupted)) == (
        "Exception",
        "Interrupted",
    )


def test_the_error_of_a_failed_run_is_stored(tracker: Tracker) -> None:
    with pytest.raises(ValueError, match="diverged"), tracker.run():
        raise ValueError("diverged")
    tracker.start_run()
    try:
        raise OSError("no disk")
    except OSError:
        tracker.end_run("failed")
    tracker.start_run()
    tracker.end_run(status="failed")
    assert tracker.db_manager is not None
    errors = ["".join(trial.errors) for trial in tracker.db_manager.experiment.trials()]
    assert ["ValueError: diverged" in errors[0], "OSError: no disk" in errors[1]] == [True, True]
    assert "ended as failed" in errors[2]


def test_a_block_may_end_its_run_itself(tracker: Tracker) -> None:
    with tracker.run() as first:
        tracker.end_run("failed")
        second = tracker.start_run()
    assert tracker.current_run_id == second
    assert [run.status for run in tracker.get_all_runs()] == ["running", "failed"]
    assert tracker.end_run() == second
    assert first == 1


def test_a_run_resumed_elsewhere_is_running_and_not_the_current_one(tracker: Tracker) -> None:
    run_id = tracker.start_run()
    assert tracker.end_run("running") == run_id
    run = tracker.get_run(run_id)
    assert run is not None
    assert (run.status, run.full_status) == ("running", "Suspended")


def test_a_run_has_a_name_in_any_case(tracker: Tracker) -> None:
    run_id = tracker.start_run()
    assert (tracker.current_run_id, tracker.current_run_name) == (run_id, f"run_{run_id}")
    tracker.end_run()
    assert (tracker.current_run_id, tracker.current_run_name) == (None, None)


def test_both_spellings_mean_the_same(tracker: Tracker) -> None:
    tracker.start_run(run_name="a", hparams={"lr": 1})
    tracker.end_run()
    tracker.start_run("a", Namespace(lr=1))
    tracker.end_run()
    later, first = tracker.get_all_runs()
    assert (later.name, later.config) == (first.name, first.config) == ("a", {"lr": 1})
    with pytest.raises(BadArguments, match="config and hparams are the same: give one of them"):
        tracker.start_run(config={}, hparams={})


@pytest.mark.parametrize("name", ["step", "aggregator", "context", "self", "metric_name", "loss/train"])
def test_a_metric_may_have_any_name(tracker: Tracker, name: str) -> None:
    with tracker.run() as run_id:
        tracker.record(name, 1.0, 0)
        tracker.log({name: 2.0}, step=1)
    assert [each.value for each in tracker.get_records(run_id, name)] == [1.0, 2.0]


def test_nans_are_counted_and_left_out_of_statistics(tracker: Tracker) -> None:
    with tracker.run():
        for step, value in enumerate([1.0, math.nan, math.inf, 3.0]):
            tracker.record("m", value, step)
        summary = tracker.summary()["m"]
    assert (summary["n"], summary["min"], summary["max"], summary["mean"]) == (4, 1.0, 3.0, 2.0)


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda tracker: tracker.record("loss", 1.0, 0),
        lambda tracker: tracker.log({"loss": 1.0}, step=0),
        lambda tracker: tracker.end_run(),
        lambda tracker: tracker.summary(),
    ],
)
def test_without_a_run_the_error_asks_to_start_one(
    tracker: Tracker, call: Callable[[Tracker], object]
) -> None:
    for expected in (RuntimeError, TrackError, NoActiveRun):
        with pytest.raises(expected, match=r"no run is active: call start_run\(\) first"):
            call(tracker)


def test_without_an_experiment_the_error_asks_to_choose_one() -> None:
    with Tracker("ephemeral:") as tracker, pytest.raises(UsageError, match="call set_experiment"):
        tracker.start_run()


def test_a_second_run_is_not_started_beside_the_first(tracker: Tracker) -> None:
    with tracker.run():
        with pytest.raises(UsageError, match=r"run 1 is active: call end_run\(\) before start_run\(\)"):
            tracker.start_run()
        with pytest.raises(UsageError, match="run 1 is active"):
            tracker.set_experiment("other")
        with pytest.raises(UsageError, match="run 1 is active"):
            tracker.delete_run(1)


def test_a_status_is_one_of_three(tracker: Tracker) -> None:
    run_id = tracker.start_run()
    with pytest.raises(BadArguments, match="'done' is not a status of a run: use one of 'running'"):
        tracker.end_run("done")
    assert tracker.current_run_id == run_id
    tracker.end_run()


@pytest.mark.parametrize("name", ["", "a/b", "../up"])
def test_an_experiment_of_a_folder_has_the_name_of_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of an experiment"):
        Tracker(tmp_path).set_experiment(name)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_another_process_writes_is_deleted_only_by_force(tmp_path: Path) -> None:
    with (
        serving(Settings(backend=f"sqlite:{tmp_path}/s.db", home=tmp_path / "home")) as served,
        Tracker(served.join("writer")) as writer,
        Tracker(served.join("deleter")) as deleter,
    ):
        for tracker in (writer, deleter):
            tracker.set_experiment("mnist")
        with writer.run() as run_id:
            writer.record("loss", 1.0, 0)
            assert writer.get_metrics(run_id) == ["loss"]
            with pytest.raises(TrialInUse, match=r"is still written by 'writer'"):
                deleter.delete_run(run_id)
            deleter.delete_run(run_id, force=True)
            assert deleter.get_all_runs() == []


def test_an_old_database_is_read_and_not_written(tmp_path: Path) -> None:
    OlderDatabase(tmp_path / "old.db").add("then", records=[("loss", 0, 1.0, 2.0)])
    with Tracker(tmp_path) as tracker:
        tracker.set_experiment("old")
        assert tracker.get_results(1) == {"loss": [RecordInfo(0, 1.0, 2.0)]}
        with pytest.raises(StoreReadOnly, match="track import"):
            tracker.start_run()


# -- places --------------------------------------------------------------------------------------


def test_each_experiment_of_a_folder_is_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "all" / "experiments"
    with Tracker(str(folder)) as tracker:
        for name in ("b", "a.db"):
            tracker.set_experiment(name)
            with tracker.run(name):
                pass
        assert tracker.cur_exp_path == folder / "a.db"
        assert tracker.get_all_exp_paths() == [folder / "a.db", folder / "b.db"]
        assert tracker.get_all_experiments() == ["a", "b"]
        assert [run.name for run in tracker.get_all_runs()] == ["a.db"]
        tracker.set_all_exp_dir(tmp_path / "elsewhere")
        assert tracker.get_all_exp_paths() == []
        assert tracker.db_manager is None


def test_experiments_of_one_store_are_its_projects() -> None:
    with Tracker("ephemeral:") as tracker:
        for name in ("b", "a.db"):
            tracker.set_experiment(name)
            with tracker.run() as run_id:
                assert run_id == 1
        assert tracker.get_all_experiments() == ["b", "a"]
        assert tracker.cur_exp_path is None
        with pytest.raises(UsageError, match=r"have no files: call get_all_experiments\(\)"):
            tracker.get_all_exp_paths()


def test_a_relative_folder_does_not_follow_the_working_directory(tmp_path: Path) -> None:
    with Tracker(tmp_path) as tracker:
        tracker.set_experiment("mnist")
        with tracker.run("one"):
            tracker.record("loss", 1.0, 0)
    with Tracker(tmp_path) as again, ExperimentDBManager(tmp_path / "mnist.db") as manager:
        again.set_experiment("mnist.db")
        assert again.get_all_runs() == manager.get_all_runs()
        with again.run() as run_id:
            assert run_id == 2


# -- one data model ------------------------------------------------------------------------------


def test_a_client_and_a_tracker_read_each_others_runs(place: str) -> None:
    with Tracker(place) as tracker:
        tracker.set_experiment("mnist")
        with tracker.run("by tracker", {"lr": 0.1}):
            tracker.record("loss", 0.5, 3)
        assert tracker.db_manager is not None
        client = TrackClient(tracker.db_manager.experiment.protocol)
        client.set_project(name="mnist")
        with client.new_trial(name="by client", arguments={"lr": 0.2}) as logger:
            logger.log_metrics(step=1, context={"phase": "train"}, loss=0.25)
            logger.log_metrics(plain=7)
        (stored,) = client.protocol.fetch_trials({"name": "by tracker"})
        assert (stored.parameters, stored.status) == ({"lr": 0.1}, Status.Completed)
        assert stored.metrics["loss"] == {3: 0.5}
        run = tracker.get_all_runs()[0]
        assert (run.name, run.config, run.status) == ("by client", {"lr": 0.2}, "completed")
        assert run.run_id > LAST_COUNTED
        assert tracker.get_run(run.run_id) == run
        (point,) = tracker.get_records(run.run_id, 'loss{phase="train"}')
        assert (point.step, point.value) == (1, 0.25)
        assert [(each.step, each.value) for each in tracker.get_records(run.run_id, "plain")] == [(0, 7)]
        tracker.delete_run(run.run_id)
        assert client.protocol.fetch_trials({"name": "by client"}) == []


@pytest.mark.parametrize(
    ("status", "reported"),
    [
        (Status.CreatedGroup, "running"),
        (Status.Running, "running"),
        (Status.Suspended, "running"),
        (Status.Completed, "completed"),
        (Status.Exception, "failed"),
        (Status.Broken, "failed"),
        (Status.Interrupted, "failed"),
        (LOST, "failed"),
        (CustomStatus("diverged", 250), "failed"),
        (CustomStatus("warming up", 150), "running"),
        (CustomStatus("early stop", 350), "completed"),
        (None, "running"),
    ],
)
def test_every_status_is_one_of_three(status: Any, reported: str) -> None:
    assert status_of_run(status) == reported


@pytest.mark.parametrize("status", ["running", "completed", "failed"])
def test_each_of_the_three_is_a_status_that_means_it(status: str) -> None:
    assert status_of_run(status_of_trial(status)) == status


def test_a_process_that_is_interrupted_leaves_a_failed_run(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from track import Tracker\n"
        "tracker = Tracker(sys.argv[1])\n"
        "tracker.set_experiment('mnist')\n"
        "tracker.start_run('interrupted')\n"
        "tracker.record('loss', 1.0, 0)\n"
        "print('runs', flush=True)\n"
        "while True: time.sleep(0.01)\n"  # a signal just before a long one would have to wait for its end
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        process.terminate()
    with Tracker(tmp_path) as tracker:
        tracker.set_experiment("mnist")
        (run,) = tracker.get_all_runs()
        assert (run.status, run.full_status, run.num_records) == ("failed", "Interrupted", [1])


def test_a_run_starts_while_the_server_is_unreachable_and_arrives_later(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    token = UserStore(home).add("trainer", Role.WRITER)
    with closing(socket.socket()) as held:
        # Bound and not listening: no other process is given the port, and connections to it are refused.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        with Tracker(Served("127.0.0.1", port, "", home).uri("trainer", token)) as tracker:
            tracker.set_experiment("mnist")
            run_id = tracker.start_run("alone")
            tracker.record("loss", 0.5, 1)
            assert run_id > LAST_COUNTED
            with ServerProcess(f"sqlite:{tmp_path}/s.db", home, port=port):
                assert tracker.end_run() == run_id
                assert tracker.db_manager is not None
                tracker.db_manager.experiment.protocol.flush(30)
                run = tracker.get_run(run_id)
                assert run is not None
                assert (run.name, run.status, run.num_records) == ("alone", "completed", [1])
                with tracker.run() as following:
                    assert following == 1
                tracker.close()


def test_an_unknown_run_is_named_by_its_number(tracker: Tracker) -> None:
    assert tracker.db_manager is not None
    with pytest.raises(ItemNotFound, match="experiment 'mnist' has no run 9"):
        tracker.db_manager.record(9, "loss", 0, 1.0)
    assert tracker.summary(9) == {}


def test_a_summary_goes_by_the_steps_whatever_the_order_of_logging(tmp_path: Path) -> None:
    with Tracker(tmp_path) as tracker:
        tracker.set_experiment("e")
        tracker.start_run()
        for step, value in ((5, 1.0), (9, 2.0), (1, 3.0), (9, 4.0), (3, 5.0)):
            tracker.record("loss", value, step)
        summary = tracker.summary()["loss"]
        assert (summary["last"], summary["first_step"], summary["last_step"]) == (4.0, 1, 9)


def test_of_all_runs_only_the_series_that_need_it_are_read_for_their_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TrackClient(f"sqlite:{tmp_path / 'runs.db'}") as client:
        client.set_project("mnist", force=True)
        for steps in ([0, 1, 2], [2, 0, 1], [5, 5, 7], [None] * 3, ["a", "b", "c"]):
            with client.new_trial(force=True, arguments={"steps": steps}) as trial:
                for step, value in zip(steps, (1.0, 4.0, 3.0), strict=True):
                    trial.log_metrics(step=step, loss=value)
        client.save()
        experiment = Experiment(client.protocol, "mnist")
        read: list[str] = []
        points = SeriesMapping.points

        def noted(series: SeriesMapping, name: str) -> Series:
            read.append(name)
            return points(series, name)

        monkeypatch.setattr(SeriesMapping, "points", noted)
        found = experiment.get_metric_summaries()
        # Those whose steps do not ascend.
        assert len(read) == 3
        ends = [
            (each["loss"]["last"], each["loss"]["first_step"], each["loss"]["last_step"])
            for each in found.values()
        ]
        assert ends == [(3.0, 0, 2), (1.0, 0, 2), (3.0, 5, 7), (3.0, None, None), (3.0, "a", "c")]
        assert found == {run: experiment.get_metric_summary(run) for run in found}


def test_runs_of_other_scripts_are_listed_once_to_be_found_by_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TrackClient(f"sqlite:{tmp_path / 'runs.db'}") as client:
        client.set_project("mnist", force=True)
        trials = [client.new_trial(force=True, arguments={"n": number}) for number in range(5)]
        client.save()
        experiment = Experiment(client.protocol, "mnist")
        numbers = [run.run_id for run in experiment.get_all_runs()]
        assert min(numbers) > LAST_COUNTED
        listed: list[int] = []
        fetch = client.protocol.fetch_trials

        def fetch_trials(query: dict[str, Any]) -> list[Trial]:
            found = fetch(query)
            listed.append(len(found))
            return found

        monkeypatch.setattr(client.protocol, "fetch_trials", fetch_trials)
        for number in numbers:
            assert experiment.get_run(number) is not None
        assert listed == [1] * 5
        client.protocol.delete_trial(trials[0].trial)
        assert sum(experiment.get_run(number) is None for number in numbers) == 1


@dataclasses.dataclass
class Hyper:
    lr: float = 0.1
    layers: tuple[int, ...] = (1, 2)


class Model(pydantic.BaseModel):
    lr: float = 0.1
    layers: tuple[int, ...] = (1, 2)


@pytest.mark.parametrize(
    "config", [Hyper(), Model(), Namespace(lr=0.1, layers=(1, 2)), {"lr": 0.1, "layers": (1, 2)}]
)
def test_a_config_may_be_of_any_kind_that_has_names(tmp_path: Path, config: Any) -> None:
    with Tracker(tmp_path) as tracker:
        tracker.set_experiment("e")
        run_id = tracker.start_run("r", config)
        tracker.end_run()
        run = tracker.get_run(run_id)
        assert run is not None
        assert (run.config["lr"], list(run.config["layers"])) == (0.1, [1, 2])


def test_a_config_may_have_integers_as_keys(tmp_path: Path) -> None:
    with Tracker(tmp_path) as tracker:
        tracker.set_experiment("e")
        with tracker.run(config={0: "a", "name": "b"}) as run_id:
            pass
        run = tracker.get_run(run_id)
        assert run is not None
        assert run.config == {"0": "a", "name": "b"}
