"""JSON documents of the older Track."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from track import Status, TrackClient
from track.persistence import get_protocol
from track.persistence.protocol import Protocol
from track.tracker.older_track import ImportedDocument, OlderDocument, import_document
from track_protocol.errors import StoreError
from track_protocol.model.entities import Trial

TRIAL: dict[str, Any] = {
    "dtype": "trial",
    "uid": "abc_1",
    "hash": "abc",
    "revision": 1,
    "name": "baseline",
    "description": "of 2020",
    "version": "a8c3",
    "tags": {"hpo": "byopt"},
    "parameters": {"lr": 0.1, "nested": {"depth": 3}},
    "metadata": {"gpu": "V100", "_update_count": 7, "_last_change": 1578607200.0},
    "metrics": {"epoch_loss": {"0": 2.5, "1": 2.25, "10": 2.0}, "accuracy": [0.98], "final": 3},
    "chronos": {
        "runtime": 3142.5,
        "batch": {"avg": 0.5, "min": 0.1, "max": 9.0, "sd": 1.0, "count": 3751, "unit": "s"},
    },
    "errors": ["it went wrong"],
    "status": {"value": 302, "name": "Completed"},
    "project_id": "p1",
    "group_id": "g1",
}
PROJECT = {"dtype": "project", "uid": "p1", "name": "paper", "metadata": {"k": 1}, "groups": [], "trials": []}
GROUP = {"dtype": "trial_group", "uid": "g1", "name": "idea", "project_id": "p1", "trials": ["abc_1"]}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Protocol]:
    protocol = get_protocol(f"sqlite:{tmp_path}/all.db")
    yield protocol
    protocol.close()


def imported(store: Protocol, path: Path, content: Any, project: str | None = None) -> ImportedDocument:
    path.write_text(json.dumps(content))
    return import_document(OlderDocument(path), store, project)


NESTED = [{**PROJECT, "groups": [{**GROUP, "trials": [TRIAL]}], "trials": [TRIAL]}]
FLAT = {"projects": [PROJECT], "groups": [GROUP], "trials": [TRIAL]}
BY_UID = {"objects": {"p1": PROJECT, "g1": GROUP, "abc_1": TRIAL}}


@pytest.mark.parametrize("content", [NESTED, FLAT, BY_UID, [PROJECT, GROUP, TRIAL]])
def test_a_trial_is_imported_with_all_that_was_said_of_it(
    store: Protocol, tmp_path: Path, content: Any
) -> None:
    done = imported(store, tmp_path / "x.json", content)
    assert (done.runs, done.new_runs, done.points) == (1, 1, 6)
    (trial,) = store.fetch_trials()
    assert (trial.uid, trial.name, trial.description, trial.version) == (
        "abc_1",
        "baseline",
        "of 2020",
        "a8c3",
    )
    assert (trial.tags, trial.parameters) == (TRIAL["tags"], TRIAL["parameters"])
    assert (trial.status, trial.errors) == (Status.Completed, ["it went wrong"])
    assert trial.metadata["gpu"] == "V100"
    assert dict(trial.metrics) == {
        "epoch_loss": {0: 2.5, 1: 2.25, 10: 2.0},
        "accuracy": [0.98],
        "final": [3],
    }
    assert trial.chronos["runtime"]["avg"] == 3142.5
    assert list(store.fetch_metrics(trial, "accuracy").times) == [1578607200.0]
    (project,) = store.fetch_projects()
    (group,) = store.fetch_groups()
    assert (project.name, project.metadata, trial.project_id) == ("paper", {"k": 1}, project.uid)
    assert (group.name, group.project_id, trial.group_id) == ("idea", project.uid, group.uid)


def test_what_could_not_be_taken_is_said_and_retained_as_well_as_can_be(
    store: Protocol, tmp_path: Path
) -> None:
    done = imported(store, tmp_path / "x.json", FLAT)
    assert dict(done.skipped) == {
        "a timer of which the document has statistics only; the metadata 'imported' have them": 1
    }
    (trial,) = store.fetch_trials()
    assert trial.metadata["imported"]["chronos"] == {"batch": TRIAL["chronos"]["batch"]}


def test_again_nothing_is_doubled_and_what_is_missing_is_sent(store: Protocol, tmp_path: Path) -> None:
    imported(store, tmp_path / "x.json", FLAT)
    longer = {**TRIAL, "metrics": {**TRIAL["metrics"], "accuracy": [0.98, 0.99]}}
    done = imported(store, tmp_path / "copy.json", [PROJECT, GROUP, longer])
    assert (done.runs, done.new_runs, done.points) == (1, 0, 1)
    (trial,) = store.fetch_trials()
    assert trial.metrics["accuracy"] == [0.98, 0.99]


def test_a_trial_that_was_running_is_suspended(store: Protocol, tmp_path: Path) -> None:
    imported(store, tmp_path / "x.json", {**TRIAL, "status": {"value": 101, "name": "Running"}})
    assert [trial.status for trial in store.fetch_trials()] == [Status.Suspended]


def test_a_report_without_a_project_is_of_the_project_of_its_file(store: Protocol, tmp_path: Path) -> None:
    short = {
        name: value for name, value in TRIAL.items() if name not in ("dtype", "uid", "hash", "project_id")
    }
    imported(store, tmp_path / "report.json", short)
    (trial,) = store.fetch_trials()
    assert (trial.name, trial.project_id) == ("baseline", "report")


def test_all_may_go_into_one_project(store: Protocol, tmp_path: Path) -> None:
    imported(store, tmp_path / "x.json", FLAT, "mine")
    assert [trial.project_id for trial in store.fetch_trials()] == ["mine"]


def test_what_cannot_be_read_does_not_stop_the_rest(store: Protocol, tmp_path: Path) -> None:
    done = imported(store, tmp_path / "x.json", [{"dtype": "trial", "status": 7}, TRIAL])
    assert (done.runs, len(store.fetch_trials())) == (1, 1)
    assert any("a trial that cannot be read" in reason for reason in done.skipped)


def test_what_this_client_writes_is_such_a_document(store: Protocol, tmp_path: Path) -> None:
    with TrackClient("ephemeral:") as client:
        client.set_project(name="p")
        client.new_trial(parameters={"lr": 0.1}).log_metrics(step=1, loss=0.5)
        client.save(str(tmp_path / "all.json"))
    done = import_document(OlderDocument(tmp_path / "all.json"), store)
    assert (done.runs, dict(store.fetch_trials()[0].metrics)) == (1, {"loss": {1: 0.5}})
    assert store.get_trial(Trial(_hash=store.fetch_trials()[0].hash)) is not None


@pytest.mark.parametrize(
    ("text", "reason"),
    [("[]", "contains no project"), ("{", "is no JSON document"), ("3", "contains no project")],
)
def test_another_document_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(StoreError, match=reason):
        OlderDocument(tmp_path / "x.json")


def test_a_missing_document_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="correct the path"):
        OlderDocument(tmp_path / "x.json")
