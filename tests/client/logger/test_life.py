"""When a trial is created, started and finished, though the script says it only in part."""

from __future__ import annotations

import gc
import signal
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from script_runner import ScriptRunner
from track import Status, TrackClient, Trial
from track_protocol.errors import UsageError


@pytest.fixture
def client() -> TrackClient:
    return TrackClient("ephemeral:")


def trials(client: TrackClient) -> list[Trial]:
    client.protocol.flush()
    return client.protocol.fetch_trials({})


def stored(client: TrackClient) -> Trial:
    (trial,) = trials(client)
    return trial


# -- creation ------------------------------------------------------------------------------------


def test_parameters_create_the_trial(client: TrackClient) -> None:
    client.new_trial(parameters={"lr": 0.1})
    assert stored(client).parameters == {"lr": 0.1}


def test_a_sweep_of_new_trials_stores_all(client: TrackClient) -> None:
    for lr in (1, 2, 3):
        client.new_trial(force=True, parameters={"lr": lr})
    assert [trial.parameters for trial in trials(client)] == [{"lr": 1}, {"lr": 2}, {"lr": 3}]
    assert {trial.status for trial in trials(client)} == {Status.CreatedGroup}


@pytest.mark.parametrize("said", ["log_metadata", "add_tags", "name"])
@pytest.mark.parametrize("end", ["close", "save", "next", "set_trial"])
def test_what_was_said_of_a_trial_creates_it_in_the_end(client: TrackClient, said: str, end: str) -> None:
    with client.new_trial(parameters={"other": True}) as done:
        other = done.trial
    logger = client.new_trial("x") if said == "name" else client.new_trial(force=True)
    if said != "name":
        getattr(logger, said)(a=1)
    assert len(trials(client)) == 1
    if end == "next":
        client.new_trial(force=True)
    elif end == "set_trial":
        client.set_trial(other, force=True)
    else:
        getattr(client, end)()
    assert len(trials(client)) == 2


def test_a_trial_of_which_nothing_was_said_is_not_created(client: TrackClient) -> None:
    client.new_trial()
    client.close()
    client.new_trial(force=True)
    assert trials(client) == []


def test_arguments_that_come_after_a_tag_are_part_of_the_identity(client: TrackClient) -> None:
    client.new_trial().add_tags(a=1)
    client.log_arguments(lr=0.1)
    found = stored(client)
    twin = TrackClient("ephemeral:").new_trial(arguments={"lr": 0.1})
    assert found.tags == {"a": 1}
    assert found.hash == twin.trial.hash


# -- start and end -------------------------------------------------------------------------------


def test_the_first_metric_starts_a_trial(client: TrackClient) -> None:
    logger = client.new_trial()
    logger.log_metrics(loss=1.0)
    assert (stored(client).status, logger.has_started, logger.has_finished) == (Status.Running, True, False)


@pytest.mark.parametrize("end", ["close", "next", "dropped"])
def test_a_trial_that_its_first_metric_started_ends_completed(end: str) -> None:
    client = TrackClient("ephemeral:")
    protocol = client.protocol
    client.new_trial(arguments={"a": 1}).log_metrics(loss=1.0)
    if end == "close":
        client.close()
    elif end == "next":
        client.new_trial(force=True)
    else:
        del client
        gc.collect()
    protocol.flush()
    (found,) = protocol.fetch_trials({})
    assert found.status is Status.Completed
    assert found.chronos["runtime"] > 0


def test_one_that_the_client_left_runs_again_when_it_logs(client: TrackClient) -> None:
    first = client.new_trial(arguments={"a": 1})
    first.log_metrics(loss=1.0)
    client.new_trial(force=True)
    first.log_metrics(loss=0.5)
    assert stored(client).status is Status.Running
    first.finish()
    assert (stored(client).status, stored(client).metrics["loss"]) == (Status.Completed, [1.0, 0.5])


def test_a_point_that_is_added_to_an_ended_trial_does_not_run_it_again(client: TrackClient) -> None:
    with pytest.raises(ArithmeticError), client.new_trial(arguments={"a": 1}) as trial:
        raise ArithmeticError("diverged")
    trial.log_metrics(late=1.0)
    client.set_trial(trial.trial, force=True).log_metrics(later=1.0)
    client.close()
    assert (stored(client).status, set(stored(client).metrics)) == (Status.Exception, {"late", "later"})


def test_a_start_after_the_first_metric_is_the_same_run(client: TrackClient) -> None:
    logger = client.new_trial()
    logger.log_metrics(loss=1.0)
    with logger:
        logger.log_metrics(loss=0.5)
    assert (stored(client).status, stored(client).metrics["loss"]) == (Status.Completed, [1.0, 0.5])


def test_a_block_of_the_client_starts_and_finishes_the_trial_that_there_is(client: TrackClient) -> None:
    client.new_trial(arguments={"a": 1})
    with client:
        assert stored(client).status is Status.Running
    found = stored(client)
    assert (found.status, found.errors) == (Status.Completed, [])
    assert found.chronos["runtime"] > 0


def test_an_exception_ends_the_trial_of_the_block(client: TrackClient) -> None:
    def train() -> None:
        with client:
            client.new_trial(arguments={"a": 1}).log_metrics(loss=1.0)
            raise ArithmeticError("diverged")

    with pytest.raises(ArithmeticError):
        train()
    found = stored(client)
    assert (found.status, "ArithmeticError: diverged" in found.errors[0]) == (Status.Exception, True)


def test_a_trial_that_ended_within_the_block_stays_as_it_ended(client: TrackClient) -> None:
    with client:
        with pytest.raises(ArithmeticError), client.new_trial(arguments={"a": 1}):
            raise ArithmeticError("diverged")
        client.new_trial(arguments={"a": 2})
    assert [trial.status for trial in trials(client)] == [Status.Exception, Status.CreatedGroup]


def test_after_a_finished_trial_the_next_needs_no_force(client: TrackClient) -> None:
    with client.new_trial(arguments={"a": 1}), pytest.raises(UsageError):
        client.new_trial(arguments={"a": 2})
    client.new_trial(arguments={"a": 2})
    assert len(trials(client)) == 2


# -- what is true now ----------------------------------------------------------------------------


def test_the_trial_of_a_logger_is_what_is_true_now(client: TrackClient) -> None:
    trial = client.new_trial(arguments={"a": 1})
    trial.log_metrics(step=1, loss=0.5)
    seen = [trial.trial.status]
    assert dict(trial.trial.metrics) == {"loss": {1: 0.5}}
    trial.log_metrics(step=2, loss=0.25)
    assert trial.trial.metrics["loss"] == {1: 0.5, 2: 0.25}
    error = ArithmeticError("diverged")
    trial.finish(type(error), error, None)
    seen.append(trial.trial.status)
    assert "diverged" in trial.trial.errors[0]
    trial.set_status(Status.Suspended)
    assert [*seen, trial.trial.status] == [Status.Running, Status.Exception, Status.Suspended]


def test_a_parameter_keeps_its_value_and_the_trial_says_so(
    client: TrackClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.new_trial(arguments={"lr": 0.1}).start()
    client.log_arguments(lr=5, more=1)
    client.log_arguments(lr=0.1)
    found = stored(client)
    assert (found.parameters, found.status) == ({"lr": 0.1, "more": 1}, Status.Running)
    (error,) = found.errors
    assert "parameter lr is 0.1 already, not 5" in error
    assert "parameter lr is 0.1 already" in caplog.text
    client.log_arguments({"lr": 5}, force=True)
    assert stored(client).parameters == {"lr": 5, "more": 1}
    assert len(stored(client).errors) == 1


def test_a_name_and_force_go_together(client: TrackClient) -> None:
    client.new_trial("a").start()
    assert client.new_trial("b", force=True).trial.name == "b"
    assert client.new_trial(True, name="c").trial.name == "c"


def test_projects_groups_and_trials_are_named_by_texts(client: TrackClient) -> None:
    assert client.set_project("p").name == "p"
    assert client.set_group("g").name == "g"
    uid = client.new_trial("name", arguments={"a": 1}).trial.uid
    assert (stored(client).name, stored(client).uid) == ("name", uid)
    assert client.set_trial(uid, force=True).trial.name == "name"


def test_a_client_without_a_store_says_so_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    TrackClient()
    (record,) = caplog.records
    assert "nothing is tracked" in record.getMessage()


# -- processes -----------------------------------------------------------------------------------


def ending(folder: Path, script: str, *, number: signal.Signals | None = None, **changes: str) -> Trial:
    runner = ScriptRunner(folder, f"sqlite:{folder}/runs.db")
    with runner.script(script, **changes) as process:
        if number is not None:
            process.send_signal(number)
        process.communicate(timeout=60)
    return runner.trial()[0]


def test_a_trial_that_only_logs_metrics_completes_at_the_end_of_the_program(tmp_path: Path) -> None:
    found = ending(tmp_path, "client.log_metrics(loss=1.0)\nready()")
    assert (found.status, found.chronos["runtime"] > 0) == (Status.Completed, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda it: it.name)
def test_a_signal_interrupts_a_trial_that_only_logs_metrics(tmp_path: Path, number: signal.Signals) -> None:
    found = ending(tmp_path, "client.log_metrics(loss=1.0)\nready()\nrest()", number=number)
    assert (found.status, f"{number.name} came" in found.errors[0]) == (Status.Interrupted, True)


def test_what_was_said_is_stored_at_the_end_of_the_program(tmp_path: Path) -> None:
    # The client is dropped, as in a function.
    script = "def run():\n    TrackClient(os.environ['TRACK_URI']).add_tags(a=1)\nrun()\nready()"
    found = ending(tmp_path, script)
    assert (found.tags, found.status) == ({"a": 1}, Status.CreatedGroup)


def test_a_forked_child_neither_creates_nor_starts_the_trial_of_its_parent(tmp_path: Path) -> None:
    script = """
    client.new_trial(arguments={"a": 1})
    other = TrackClient(os.environ["TRACK_URI"])
    def work():
        client.log_metrics(loss=1.0)
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    ready()
    """
    assert ending(tmp_path, script).status is Status.CreatedGroup


@pytest.mark.parametrize(
    ("end", "status"),
    [("pass", Status.Completed), ("raise ValueError", Status.Exception), ("sys.exit(3)", Status.Exception)],
)
def test_a_forked_worker_ends_the_trial_that_it_has_started(tmp_path: Path, end: str, status: Status) -> None:
    script = f"""
    import sys
    def work():
        global kept
        kept = TrackClient(os.environ["TRACK_URI"])
        kept.log_metrics(loss=1.0)
        {end}
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    ready()
    """
    assert ending(tmp_path, script).status is status


def test_a_pruned_trial_of_optuna_has_a_status_of_its_own(client: TrackClient, monkeypatch: Any) -> None:
    optuna = types.ModuleType("optuna.exceptions")
    pruned = type("TrialPruned", (Exception,), {"__module__": optuna.__name__})
    monkeypatch.setattr(optuna, "TrialPruned", pruned, raising=False)
    monkeypatch.setitem(sys.modules, optuna.__name__, optuna)
    with pytest.raises(pruned), client.new_trial(arguments={"a": 1}):
        raise pruned
    found = stored(client)
    assert found.status is not None
    assert (found.status.name, found.errors) == ("pruned", [])
