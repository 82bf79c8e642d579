"""`track.init`, `track.log`, `track.finish` and `track.runs`, as scripts of other trackers use them."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import track
from running_server import environment
from track.api.runs import Run
from track.reading.trials import StoredTrial
from track_protocol.errors import ItemNotFound, UsageError


def only() -> StoredTrial:
    (trial,) = track.runs()
    return trial


def points(name: str) -> list[tuple[Any, Any]]:
    history = only().history(name)
    return list(zip(history["step"], history["value"], strict=True))


# -- a run ---------------------------------------------------------------------------------------


def test_a_new_parameter_may_be_set_with_leave_to_replace_it() -> None:
    # Fails when `force=True` is logged where there is nothing to replace: it is a parameter then.
    with track.init(project="p", config={"lr": 0.1}) as run:
        run.config.update({"seed": 1}, allow_val_change=True)
        run.config.update({"lr": 0.2, "depth": 3}, allow_val_change=True)
    assert only().parameters == {"lr": 0.2, "seed": 1, "depth": 3}


def test_the_current_run_is_there_until_it_is_finished() -> None:
    assert track.run is None
    run = track.init(project="p")
    assert track.run is run
    other = track.init(project="p", reinit="create_new")
    assert track.run is other
    other.finish()
    track.finish()
    assert track.run is None
    track.log({"loss": 1.0})
    assert track.run is not None
    track.finish()


def test_a_script_of_another_tracker_is_stored() -> None:
    wandb = track
    wandb.init(project="digits", name="baseline", config={"lr": 0.1, "epochs": 3})
    for epoch in range(wandb.config.epochs):
        wandb.log({"epoch": epoch, "loss": 1.0 / (1 + epoch), "lr": wandb.config.lr})
    wandb.summary["best"] = 0.3
    wandb.finish()
    trial = only()
    assert (trial.name, trial.status) == ("baseline", track.Status.Completed)
    assert trial.parameters == {"lr": 0.1, "epochs": 3}
    assert points("loss") == [(0, 1.0), (1, 0.5), (2, 1.0 / 3)]
    assert trial.summary["best"] == 0.3


@pytest.mark.parametrize("mode", [None, "disabled"])
def test_name_notes_and_tags_may_be_set_while_the_run_goes_on(mode: str | None) -> None:
    with track.init(project="p", name="first", tags=["a", "b"], id="x", mode=mode) as run:
        uid = run.trial.uid
        run.tags += ("c",)
        run.tags = [tag for tag in run.tags if tag != "a"]
        run.name, run.notes = "second", "why"
        assert (run.name, run.notes, run.tags) == ("second", "why", ("b", "c"))
        assert run.trial.uid == uid
    if mode is None:
        trial = only()
        assert (trial.name, trial.description, trial.uid) == ("second", "why", uid)
        assert trial.tags == {"b": True, "c": True, "run_id": "x"}


def test_tags_of_a_resumed_run_are_known() -> None:
    track.init(project="p", tags=["a"], id="x").finish()
    with track.init(project="p", tags=["b"], id="x", resume="must") as run:
        run.tags += ("c",)
        assert set(run.tags) == {"a", "b", "c"}
    assert only().tags == {"a": True, "b": True, "c": True, "run_id": "x"}


def test_a_block_ends_the_run() -> None:
    with track.init(project="p") as run:
        run.log({"loss": 1.0})
    assert only().status is track.Status.Completed


def test_an_exception_in_the_block_is_stored() -> None:
    with pytest.raises(ValueError, match="nan"), track.init(project="p"):
        raise ValueError("nan")
    assert only().status is track.Status.Exception
    assert "ValueError: nan" in only().errors[-1]


def test_an_exit_code_says_that_the_run_failed() -> None:
    track.init()
    track.finish(exit_code=3)
    assert only().status is track.Status.Exception


def test_the_end_of_the_program_ends_the_run(tmp_path: Path) -> None:
    script = "import track\ntrack.init(project='p')\ntrack.log({'loss': 1.0})\n"
    command = [sys.executable, "-c", script]
    subprocess.run(command, env=environment(), cwd=tmp_path, check=True, timeout=60)
    assert only().status is track.Status.Completed


def test_finishing_twice_or_without_a_run_does_no_harm() -> None:
    track.finish()
    run = track.init()
    run.finish()
    run.finish()
    track.finish()
    assert len(track.runs()) == 1


def test_a_loop_of_inits_makes_a_run_each() -> None:
    for lr in (0.1, 0.2):
        track.init(project="p", config={"lr": lr})
        track.log({"loss": lr})
    track.finish()
    assert [trial.parameters["lr"] for trial in track.runs()] == [0.1, 0.2]
    assert {trial.status for trial in track.runs()} == {track.Status.Completed}


def test_the_current_run_may_be_returned() -> None:
    run = track.init(project="p")
    assert track.init(reinit="return_previous") is run
    assert track.init(reinit=False) is run


def test_a_run_may_be_made_beside_the_current_one() -> None:
    first = track.init(project="p", name="first")
    second = track.init(project="p", name="second", reinit="create_new")
    first.log({"loss": 1.0})
    second.log({"loss": 2.0})
    second.finish()
    first.finish()
    assert {trial.name: trial.summary["loss"] for trial in track.runs()} == {"first": 1.0, "second": 2.0}


def test_logging_without_a_run_begins_one() -> None:
    track.log({"loss": 1.0})
    track.finish()
    assert points("loss") == [(0, 1.0)]


def test_a_disabled_run_stores_nothing() -> None:
    with track.init(mode="disabled") as run:
        run.log({"loss": 1.0})
    track.init().finish()
    assert only().metrics == {}


def test_without_a_store_a_file_in_the_folder_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TRACK_URI")
    track.init().finish()
    assert (tmp_path / "track.db").exists()
    assert len(track.runs()) == 1


def test_what_a_script_says_of_its_run_is_stored() -> None:
    track.init(
        project="p", group="g", tags=["baseline", "paper"], notes="a note", job_type="train", id="r1"
    ).finish()
    trial = only()
    assert trial.tags == {"baseline": True, "paper": True, "job_type": "train", "run_id": "r1"}
    assert trial.description == "a note"
    assert track.runs(filter="project = p and group = g")[0] == trial


def test_names_of_other_trackers_are_understood() -> None:
    track.init(project="p", experiment_name="e", description="a note").finish()
    assert (only().name, only().description) == ("e", "a note")


def test_what_has_no_effect_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        track.init(project="p", entity="team", save_code=True).finish()
    warnings = [record.getMessage() for record in caplog.records if "no effect" in record.getMessage()]
    assert warnings == ["init: entity, save_code has no effect with Track"]


def test_functions_that_have_no_counterpart_end_no_training(caplog: pytest.LogCaptureFixture) -> None:
    assert track.login("key", relogin=True)
    for _ in range(2):
        track.init(project="p")
        track.watch(object(), log="all")
        track.define_metric("loss", summary="min")
        track.finish()
    warnings = [record.getMessage() for record in caplog.records if "no effect" in record.getMessage()]
    assert warnings == [
        f"track: {name}() has no effect with Track" for name in ("login", "watch", "define_metric")
    ]


def test_files_are_stored_with_the_run(tmp_path: Path, uri: str) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    track.init(project="p")
    track.save("model.pt")
    track.log_artifact("model.pt", name="best")
    track.finish()
    assert set(only().media["file"]) == {"model.pt", "best"}


def test_the_configuration_may_be_a_namespace() -> None:
    track.init(config=argparse.Namespace(lr=0.1)).finish()
    assert only().parameters == {"lr": 0.1}


# -- steps ---------------------------------------------------------------------------------------


def test_each_call_is_a_step() -> None:
    track.init()
    track.log({"loss": 1.0})
    track.log({"loss": 2.0})
    track.finish()
    assert points("loss") == [(0, 1.0), (1, 2.0)]


def test_a_call_that_does_not_commit_shares_its_step() -> None:
    track.init()
    track.log({"loss": 1.0}, commit=False)
    track.log({"accuracy": 0.5})
    track.log({"loss": 2.0})
    track.finish()
    assert points("loss") == [(0, 1.0), (1, 2.0)]
    assert points("accuracy") == [(0, 0.5)]


def test_a_step_that_is_given_counts_and_the_next_call_shares_it() -> None:
    track.init()
    track.log({"loss": 1.0}, step=10)
    track.log({"accuracy": 0.5})
    track.log({"loss": 2.0})
    track.finish()
    assert points("loss") == [(10, 1.0), (11, 2.0)]
    assert points("accuracy") == [(10, 0.5)]


def test_an_earlier_step_is_stored_too() -> None:
    track.init()
    track.log({"loss": 1.0}, step=10)
    track.log({"loss": 2.0}, step=5)
    track.finish()
    assert points("loss") == [(10, 1.0), (5, 2.0)]


def test_a_metric_may_have_any_name() -> None:
    track.init()
    track.log({"step": 1, "context": 2, "aggregator": 3, "commit": 4}, step=7)
    track.finish()
    for name, value in {"step": 1, "context": 2, "aggregator": 3, "commit": 4}.items():
        assert points(name) == [(7, value)]


def test_a_dict_within_has_dots() -> None:
    track.init()
    track.log({"train": {"loss": 1.0, "by_class": {"a": 2.0}}})
    track.finish()
    assert points("train.loss") == [(0, 1.0)]
    assert points("train.by_class.a") == [(0, 2.0)]


@pytest.mark.parametrize("odd", [None, 5, "text", [1], object()])
def test_what_is_no_dict_ends_no_training(odd: Any) -> None:
    track.init()
    track.log(odd)
    track.log({"loss": 1.0})
    track.finish()
    assert "loss" in only().metrics


# -- resuming ------------------------------------------------------------------------------------


def test_a_run_is_resumed_by_its_id() -> None:
    first = track.init(project="p", id="r1", config={"lr": 0.1})
    track.log({"loss": 1.0})
    track.finish()
    second = track.init(project="p", id="r1", resume="allow", config={"lr": 0.1})
    track.log({"loss": 2.0})
    track.finish()
    assert first.id == second.id == "r1"
    assert points("loss") == [(0, 1.0), (1, 2.0)]


def test_a_run_is_resumed_by_its_uid() -> None:
    uid = track.init(project="p").id
    track.finish()
    track.init(project="p", id=uid, resume="must")
    track.finish()
    assert only().uid == uid


def test_an_unfinished_run_is_resumed_by_what_it_is() -> None:
    run = track.init(project="p", name="a", config={"lr": 0.1})
    run.log({"loss": 1.0})
    run.logger.set_status(track.Status.Suspended)
    run.client.save()
    track.init(project="p", name="a", config={"lr": 0.1}, resume=True, reinit="create_new").finish()
    assert len(track.runs()) == 1


def test_a_run_that_must_be_there_and_is_not_is_an_error() -> None:
    with pytest.raises(track.TrialDoesNotExist, match="no run has the id 'r1'"):
        track.init(project="p", id="r1", resume="must")


def test_a_run_that_may_not_be_there_and_is_there_is_an_error() -> None:
    track.init(project="p", id="r1").finish()
    with pytest.raises(UsageError, match="a run has the id 'r1' already"):
        track.init(project="p", id="r1", resume="never")


def test_the_same_id_without_resuming_makes_another_run() -> None:
    for _ in range(2):
        track.init(project="p", id="r1").finish()
    assert len(track.runs()) == 2


# -- reading -------------------------------------------------------------------------------------


def test_runs_are_read_from_a_uri_a_client_and_a_store(uri: str) -> None:
    run: Run = track.init(project="p")
    run.finish()
    for store in (uri, run.client, run.client.protocol):
        assert [trial.uid for trial in track.runs(store)] == [run.id]


def test_a_store_that_is_not_there_is_an_error_and_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ItemNotFound, match="there is no store at"):
        track.runs("sqlite:nothing.db")
    monkeypatch.delenv("TRACK_URI")
    with pytest.raises(UsageError, match=r"no store is given, and .*track\.db is not there"):
        track.runs()
    assert list(tmp_path.iterdir()) == []


def test_a_running_run_is_read_with_what_was_logged_by_then() -> None:
    track.init(project="p")
    track.log({"loss": 1.0})
    assert track.runs()[0].summary["loss"] == 1.0
