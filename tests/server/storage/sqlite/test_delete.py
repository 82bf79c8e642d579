"""How what was deleted leaves a SQLite store: bit by bit, whoever is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw

from track_protocol.wire.batch import METRIC
from track_protocol.wire.columns import pack
from track_server.storage.contract import Points
from track_server.storage.sqlite.check import check_sqlite
from track_server.storage.sqlite.store import SqliteStore, open_store
from track_server.storage.unit_of_work import begin
from track_server.testing.store_support import id_of, trial

POINTS = 400_000
NO_TIME = 0.0


def filled(path: Path) -> SqliteStore:
    """A store of two trials, of which the first has points that do not compress."""
    store = open_store(path)
    for number, count in ((0, POINTS), (1, 10)):
        tx = begin(store)
        tx.add_trial(trial(number))
        values = pack([float(int.from_bytes(os.urandom(6))) for _ in range(count)])
        times = pack([float(i) for i in range(count)])
        tx.append_points(id_of(number), METRIC, "loss", None, Points(times, times, values))
        tx.commit()
    while store.maintain(1.0):
        pass
    return store


def delete(store: SqliteStore, number: int = 0) -> None:
    tx = begin(store)
    tx.delete_trial(id_of(number))
    tx.commit()


def rows(path: Path, table: str) -> Any:
    db = apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)
    try:
        return db.execute(f"SELECT count(*) FROM {table}").get  # noqa: S608 # names of this test's own
    finally:
        db.close()


def test_points_go_in_slices_and_the_room_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = filled(path)
    before, chunks = path.stat().st_size, rows(path, "chunk")
    delete(store)
    assert rows(path, "chunk") == chunks
    assert store.maintain(NO_TIME)
    assert 1 < rows(path, "chunk") < chunks
    while store.maintain(NO_TIME):
        pass
    assert (rows(path, "chunk"), rows(path, "series")) == (1, 1)
    store.close()
    assert path.stat().st_size < before / 10
    assert check_sqlite(path).findings == ()


def test_a_store_with_half_of_a_trial_swept_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = filled(path)
    delete(store)
    store.maintain(NO_TIME)
    checked = check_sqlite(path)
    assert (checked.findings, checked.trials, checked.series, checked.points) == ((), 1, 1, 10)
    store.close()


def test_what_somebody_deleted_and_left_is_swept_by_whoever_opens_the_store_next(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = filled(path)
    delete(store)
    store.maintain(NO_TIME)
    store.abandon()
    again = open_store(path)
    assert rows(path, "series") == 2
    while again.maintain(NO_TIME):
        pass
    assert (rows(path, "chunk"), rows(path, "series")) == (1, 1)
    again.close()


KILLED = """
import os, signal, sys
from track_server.testing.store_support import id_of
from track_server.storage.sqlite.store import open_store
from track_server.storage.unit_of_work import begin
store = open_store(sys.argv[1])
tx = begin(store)
tx.delete_trial(id_of(0))
tx.commit()
store.maintain(0.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_amid_the_sweep_leaves_the_rest_to_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    filled(path).close()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert check_sqlite(path).findings == ()
    store = open_store(path)
    with store.snapshot() as view:
        assert view.trial(id_of(0)) is None
    assert rows(path, "chunk") > 1
    while store.maintain(NO_TIME):
        pass
    assert (rows(path, "chunk"), rows(path, "series")) == (1, 1)
    store.close()
    assert check_sqlite(path).findings == ()
