"""Databases of the older system: read completely, as it meant them, and never changed."""

from __future__ import annotations

import math
import os
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from older_databases import OlderDatabase
from track.tracker import ExperimentDBManager
from track.tracker.legacy import LegacyDatabase
from track_protocol.errors import StoreCorrupt, StoreError, StoreReadOnly


@pytest.fixture
def older(tmp_path: Path) -> OlderDatabase:
    return OlderDatabase(tmp_path / "mnist.db")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_runs_are_listed_newest_first_with_their_contents(older: OlderDatabase) -> None:
    older.add("first", 1.0, config={"lr": 0.1}, records=[("loss", 0, 2.0, 1.5), ("loss", 1, 1.0, 1.6)])
    older.add("second", 2.0, status="running", records=[("acc", 0, 0.5, 2.5)])
    second, first = LegacyDatabase(older.path).get_all_runs()
    assert (first.run_id, first.name, first.status, first.config) == (1, "first", "completed", {"lr": 0.1})
    assert (first.metrics, first.num_records) == (["loss"], [2])
    assert (second.run_id, second.status, second.metrics) == (2, "running", ["acc"])


def test_records_are_ordered_by_step(older: OlderDatabase) -> None:
    run = older.add(records=[("loss", 3, 0.3, 30.0), ("loss", 1, 0.1, 10.0), ("loss", 3, 0.4, 31.0)])
    records = LegacyDatabase(older.path).get_records(run, "loss")
    assert [(each.step, each.value, each.log_time) for each in records] == [
        (1, 0.1, 10.0),
        (3, 0.3, 30.0),
        (3, 0.4, 31.0),
    ]


@pytest.mark.parametrize(
    ("stored", "meant"),
    [
        (struct.pack("<f", 0.5), 0.5),
        (struct.pack("<e", 0.5), 0.5),
        (struct.pack("<q", 7), 7),
        ("0.25", 0.25),
        ("a text", "a text"),
        (math.inf, math.inf),
        (b"\x01\x02\x03", b"\x01\x02\x03"),
    ],
)
def test_a_value_has_its_original_type(older: OlderDatabase, stored: Any, meant: Any) -> None:
    run = older.add(records=[("m", 0, stored, 1.0)])
    assert [each.value for each in LegacyDatabase(older.path).get_records(run, "m")] == [meant]


def test_a_numpy_step_is_read_as_an_integer(older: OlderDatabase) -> None:
    run = older.add(records=[("m", struct.pack("<q", 12), 1.0, 1.0)])
    assert [each.step for each in LegacyDatabase(older.path).get_records(run, "m")] == [12]


def test_null_is_nan(tmp_path: Path) -> None:
    older = OlderDatabase(tmp_path / "loose.db", strict=False)
    run = older.add(created_at=None, config=None, records=[("m", 0, None, None)])
    database = LegacyDatabase(older.path)
    (record,) = database.get_records(run, "m")
    assert math.isnan(record.value)
    assert math.isnan(record.log_time)
    assert (database.get_all_runs()[0].config, database.get_all_runs()[0].created_at) == ({}, "")


@pytest.mark.parametrize(
    ("text", "config"),
    [("", {}), ("[1, 2]", {"config": [1, 2]}), ("{broken", {"config": "{broken"}), ('{"a": NaN}', None)],
)
def test_a_configuration_that_is_not_an_object_is_stored(
    older: OlderDatabase, text: str, config: Any
) -> None:
    run = older.add(config=text)
    info = LegacyDatabase(older.path).get_run(run)
    assert info is not None
    if config is None:
        assert math.isnan(info.config["a"])
    else:
        assert info.config == config


def test_a_summary_leaves_out_non_finite_values(older: OlderDatabase) -> None:
    run = older.add(records=[("m", 0, 1.0, 1.0), ("m", 1, math.inf, 1.0), ("m", 2, 3.0, 1.0)])
    assert LegacyDatabase(older.path).get_metric_summary(run) == {
        "m": {
            "min": 1.0,
            "max": 3.0,
            "mean": 2.0,
            "std": 1.0,
            "last": 3.0,
            "n": 3,
            "first_step": 0,
            "last_step": 2,
        }
    }


def test_graphs_and_the_newer_tables_are_read(tmp_path: Path) -> None:
    older = OlderDatabase(tmp_path / "newer.db", media=True)
    run = older.add()
    older.execute(
        "INSERT INTO graphs (run_id, graph_json, created_at) VALUES (?, ?, ?)", run, '{"nodes": []}', 5.0
    )
    older.execute(
        "INSERT INTO histograms (run_id, name, step, bucket_edges, bucket_counts) "
        "VALUES (?, 'w', 3, '[0, 1]', '[4]')",
        run,
    )
    older.execute(
        "INSERT INTO images (run_id, name, step, width, height, channels, image_data) "
        "VALUES (?, 'i', 1, 2, 1, 1, ?)",
        run,
        b"\x00\xff",
    )
    older.execute("INSERT INTO texts (run_id, name, step, content) VALUES (?, 't', 0, 'hello')", run)
    database = LegacyDatabase(older.path)
    assert database.get_comp_graph(1) == {"nodes": []}
    assert database.get_comp_graphs(run) == [{"id": 1, "graph": {"nodes": []}, "created_at": 5.0}]
    assert database.get_histograms(run) == {
        "w": [{"step": 3, "wall_time": None, "log_time": None, "bucket_edges": [0, 1], "bucket_counts": [4]}]
    }
    assert database.get_images(run)["i"][0]["image_data"] == b"\x00\xff"
    assert database.get_texts(run) == {
        "t": [{"step": 0, "wall_time": None, "log_time": None, "content": "hello"}]
    }


def test_a_database_without_the_newer_tables_has_none_of_them(older: OlderDatabase) -> None:
    run, database = older.add(), LegacyDatabase(older.path)
    assert (database.get_histograms(run), database.get_images(run), database.get_texts(run)) == ({}, {}, {})
    assert (database.get_comp_graph(1), database.get_comp_graphs(run), database.get_run(9)) == (
        None,
        [],
        None,
    )


def test_reading_changes_nothing_and_leaves_nothing_beside_the_file(older: OlderDatabase) -> None:
    run = older.add(records=[("m", 0, 1.0, 1.0)])
    before = content(older.path.parent)
    stamp = older.path.stat().st_mtime_ns
    with ExperimentDBManager(older.path) as manager:
        assert manager.check_connection()
        assert [info.run_id for info in manager.get_all_runs()] == [run]
        assert manager.get_records(run, "m")[0].value == 1.0
    assert content(older.path.parent) == before
    assert older.path.stat().st_mtime_ns == stamp


def test_media_that_cannot_be_written_are_read(older: OlderDatabase) -> None:
    older.add()
    os.chmod(older.path, 0o400)
    os.chmod(older.path.parent, 0o500)
    try:
        assert len(ExperimentDBManager(older.path).get_all_runs()) == 1
    finally:
        os.chmod(older.path.parent, 0o700)


@pytest.mark.parametrize(
    "write",
    [
        lambda manager: manager.create_run("x"),
        lambda manager: manager.record(1, "m", 0, 1.0),
        lambda manager: manager.update_run_status(1, "failed"),
        lambda manager: manager.delete_run(1),
        lambda manager: manager.save_comp_graph(1, {}),
        lambda manager: manager.save_text(1, "t", 0, "hello"),
        lambda manager: manager.init_exp_db(),
    ],
)
def test_writing_raises_with_the_remedy(older: OlderDatabase, write: Any) -> None:
    older.add()
    before = older.path.read_bytes()
    with pytest.raises(StoreReadOnly, match=r"was written by an older system .*track import"):
        write(ExperimentDBManager(older.path))
    assert older.path.read_bytes() == before


def test_an_unfinished_transaction_is_rolled_back_in_a_copy(older: OlderDatabase) -> None:
    older.add("remaining")
    program = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('PRAGMA cache_size = 1')\n"
        "db.execute('BEGIN')\n"
        "for number in range(5000):\n"
        "    db.execute('INSERT INTO runs (name, created_at) VALUES (?, 1.0)', ('x' * 100,))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(older.path)], check=False)
    before = content(older.path.parent)
    assert f"{older.path.name}-journal" in before, "the write was not under way"
    assert [run.name for run in LegacyDatabase(older.path).get_all_runs()] == ["remaining"]
    assert content(older.path.parent) == before


def test_a_database_with_a_log_is_read_from_a_copy(older: OlderDatabase) -> None:
    with closing(sqlite3.connect(older.path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("INSERT INTO runs (name, created_at) VALUES ('in the log', 1.0)")
        before = content(older.path.parent)
        assert [run.name for run in LegacyDatabase(older.path).get_all_runs()] == ["in the log"]
        assert content(older.path.parent).keys() == before.keys()


def test_a_track_store_is_not_a_legacy_database(tmp_path: Path) -> None:
    with ExperimentDBManager(tmp_path / "ours.db") as manager:
        manager.init_exp_db()
    assert not LegacyDatabase.is_at(tmp_path / "ours.db")


@pytest.mark.parametrize(
    ("bytes_in_it", "error", "reported"),
    [
        (None, StoreError, "cannot be read"),
        (b"SQLite format 3\0" + 500 * b"x", StoreCorrupt, "is not a database, or it is damaged"),
        (b"", StoreError, "contains no runs of an older tracker"),
    ],
)
def test_another_file_is_refused_with_its_type(
    tmp_path: Path, bytes_in_it: bytes | None, error: type[StoreError], reported: str
) -> None:
    path = tmp_path / "any.db"
    if bytes_in_it is not None:
        path.write_bytes(bytes_in_it)
    with pytest.raises(error, match=reported):
        LegacyDatabase(path)
    assert not LegacyDatabase.is_at(path)
