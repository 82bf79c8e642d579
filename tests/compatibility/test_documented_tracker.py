"""The documented tracker: every name with its signature, and every example, in every kind of place."""

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import track
import track as sg
from every_case import every
from older_databases import OlderDatabase
from running_server import serving
from track.tracker import ExperimentDBManager, RecordInfo, RunInfo, Tracker
from track.tracker.comp_graph import _build_graph_data
from track_server.app import Settings

EMPTY = inspect.Parameter.empty

DOCUMENTED: dict[type, dict[str, list[tuple[str, Any]]]] = {
    Tracker: {
        "__init__": [("all_exp_dir", "./experiments")],
        "delete_run": [("run_id", EMPTY)],
        "end_run": [("status", "completed")],
        "get_all_exp_paths": [],
        "get_all_runs": [],
        "get_comp_graph": [("graph_id", EMPTY)],
        "get_comp_graphs": [("run_id", EMPTY)],
        "get_metrics": [("run_id", EMPTY)],
        "get_records": [("run_id", EMPTY), ("metric_name", EMPTY)],
        "get_results": [("run_id", EMPTY)],
        "get_run": [("run_id", EMPTY)],
        "histogram": [("name", EMPTY), ("tensor", EMPTY), ("step", EMPTY), ("bins", 30)],
        "image": [("name", EMPTY), ("image_data", EMPTY), ("step", EMPTY)],
        "log": [("metrics", None), ("step", None)],  # not needed beside keywords
        "record": [("metric_name", EMPTY), ("value", EMPTY), ("step", EMPTY)],
        "run": [("name", None), ("config", None)],
        "save_comp_graph": [("tensor", EMPTY), ("run_id", None)],
        "set_all_exp_dir": [("directory", EMPTY)],
        "set_experiment": [("exp_name", EMPTY)],
        "start_run": [("name", None), ("config", None)],
        "summary": [("run_id", None)],
        "text": [("name", EMPTY), ("content", EMPTY), ("step", EMPTY)],
    },
    ExperimentDBManager: {
        "__init__": [("db_path", None)],
        "check_connection": [],
        "create_run": [("name", None), ("config", None)],
        "delete_run": [("run_id", EMPTY)],
        "get_all_runs": [],
        "get_comp_graph": [("graph_id", EMPTY)],
        "get_comp_graphs": [("run_id", EMPTY)],
        "get_histograms": [("run_id", EMPTY)],
        "get_images": [("run_id", EMPTY)],
        "get_metric_summary": [("run_id", EMPTY)],
        "get_metrics": [("run_id", EMPTY)],
        "get_records": [("run_id", EMPTY), ("metric_name", EMPTY)],
        "get_run": [("run_id", EMPTY)],
        "get_texts": [("run_id", EMPTY)],
        "init_exp_db": [],
        "record": [("run_id", EMPTY), ("metric_name", EMPTY), ("step", EMPTY), ("value", EMPTY)],
        "save_comp_graph": [("run_id", EMPTY), ("graph_data", EMPTY)],
        "save_histogram": [
            *(("run_id", EMPTY), ("name", EMPTY), ("step", EMPTY)),
            *(("bucket_edges", EMPTY), ("bucket_counts", EMPTY)),
        ],
        "save_image": [
            *(("run_id", EMPTY), ("name", EMPTY), ("step", EMPTY)),
            *(("width", EMPTY), ("height", EMPTY), ("channels", EMPTY), ("image_data", EMPTY)),
        ],
        "save_text": [("run_id", EMPTY), ("name", EMPTY), ("step", EMPTY), ("content", EMPTY)],
        "update_run_status": [("run_id", EMPTY), ("status", EMPTY)],
    },
    RunInfo: {
        "__init__": [
            *(("run_id", EMPTY), ("name", EMPTY), ("created_at", EMPTY), ("status", EMPTY)),
            *(("config", EMPTY), ("num_records", None), ("metrics", None)),
        ]
    },
    RecordInfo: {"__init__": [("step", EMPTY), ("value", EMPTY), ("log_time", EMPTY)]},
}
CALLS = [(kind, name) for kind, calls in DOCUMENTED.items() for name in calls]


@pytest.fixture(params=["folder", "file", "ephemeral", "socket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where experiments are stored: every kind of store."""
    if request.param == "socket":
        with serving(Settings(backend=f"sqlite:{tmp_path}/server.db", home=tmp_path / "home")) as served:
            yield served.join("trainer")
        return
    places = {"folder": f"{tmp_path}/experiments", "file": f"file:{tmp_path}/all.json"}
    yield places.get(request.param, "ephemeral:")


@every(CALLS)
def test_a_call_accepts_the_documented_arguments(kind: type, name: str) -> None:
    parameters = list(inspect.signature(getattr(kind, name)).parameters.values())[1:]
    documented = DOCUMENTED[kind][name]
    # What is ours comes behind, and need not be given.
    assert [(each.name, each.default) for each in parameters[: len(documented)]] == documented
    ours = parameters[len(documented) :]
    assert all(each.default is not EMPTY or each.kind is each.VAR_KEYWORD for each in ours)
    assert all(each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for each in parameters[: len(documented)])


def test_the_tracker_is_found_where_scripts_look_for_it() -> None:
    assert track.Tracker is Tracker
    assert track.tracker.ExperimentDBManager is ExperimentDBManager
    assert track.tracker._build_graph_data is _build_graph_data is track.tracker.build_graph_data


def test_the_newer_example(place: str) -> None:
    class Loss:
        values = np.float32(0.25)

    tracker = sg.Tracker(all_exp_dir=place)
    tracker.set_experiment("mnist_run")
    tracker.start_run(run_name="baseline", hparams={"lr": 0.01, "batch_size": 32})

    for epoch in range(10):
        loss = Loss()
        tracker.log({"train_loss": float(loss.values)}, step=epoch)

    tracker.end_run()

    (run,) = tracker.get_all_runs()
    assert (run.name, run.status) == ("baseline", "completed")
    assert run.config == {"lr": 0.01, "batch_size": 32}
    assert [each.value for each in tracker.get_records(run.run_id, "train_loss")] == [0.25] * 10
    tracker.close()


def test_the_example_of_the_block(place: str) -> None:
    loss_val = 0.5
    with Tracker(place) as tracker:
        tracker.set_experiment("mnist")
        with tracker.run(name="lr=0.01", config={"lr": 0.01}) as run_id:
            for step in range(100):
                tracker.record("loss", loss_val, step)
        assert tracker.summary(run_id) == {
            "loss": {
                **dict.fromkeys(("min", "max", "mean", "last"), 0.5),
                "std": 0.0,
                "n": 100,
                "first_step": 0,
                "last_step": 99,
            }
        }


def test_without_a_run_the_documented_error_is_raised(place: str) -> None:
    with Tracker(place) as tracker:
        tracker.set_experiment("mnist")
        for call in (lambda: tracker.record("loss", 1.0, 0), tracker.end_run):
            with pytest.raises(RuntimeError, match=r"start_run\(\)"):
                call()


def test_the_manager_alone(tmp_path: Path) -> None:
    path = tmp_path / "alone.db"
    with ExperimentDBManager(path) as manager:
        assert not manager.check_connection()
        assert not path.exists()
        manager.init_exp_db()
        assert manager.check_connection()
        first = manager.create_run(config={"lr": 0.1})
        second = manager.create_run(name="named")
        manager.record(first, "loss", 2, 0.5)
        manager.record(run_id=first, metric_name="loss", step=1, value=1.5)
        assert [run.status for run in manager.get_all_runs()] == ["running", "running"]
        manager.update_run_status(first, "completed")
        manager.update_run_status(second, "failed")
        newest, oldest = manager.get_all_runs()
        assert (newest.run_id, newest.name, newest.status) == (second, "named", "failed")
        assert oldest.name.startswith("run_1")
        assert manager.get_run(first) == oldest
        assert [(each.step, each.value) for each in manager.get_records(first, "loss")] == [
            (1, 1.5),
            (2, 0.5),
        ]
        assert (manager.get_metrics(first), manager.get_metric_summary(first)["loss"]["n"]) == (["loss"], 2)
        manager.delete_run(first)
        assert [run.run_id for run in manager.get_all_runs()] == [second]


def test_a_file_that_is_no_database_is_no_connection(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("hello")
    assert not ExperimentDBManager(path).check_connection()


def test_an_older_database_is_a_connection(tmp_path: Path) -> None:
    older = OlderDatabase(tmp_path / "old.db")
    assert ExperimentDBManager(older.path).check_connection()
    with closing(sqlite3.connect(older.path)) as db:
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_the_answers_can_be_dumped_as_pydantic_models_can() -> None:
    record = RecordInfo(step=1, value=0.5, log_time=2.0)
    assert record.model_dump() == {"step": 1, "value": 0.5, "log_time": 2.0}
    assert record.model_dump_json() == '{"step": 1, "value": 0.5, "log_time": 2.0}'
    run = RunInfo(1, "a", "2026-01-01 00:00:00", "running", {})
    assert run.model_dump()["num_records"] is None
    assert run == RunInfo(run_id=1, name="a", created_at=run.created_at, status="running", config={})
