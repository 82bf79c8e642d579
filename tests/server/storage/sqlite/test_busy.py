"""A SQLite store that another process works on at the same moment."""

from __future__ import annotations

import queue
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine_calls import Caller, points
from stored_trials import add_trials, log_points, points_of, save, trial_id
from track_protocol.errors import StoreError
from track_protocol.wire.batch import Batch
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.storage.sqlite import schema
from track_server.storage.sqlite import store as sqlite
from track_server.storage.sqlite.store import open_store

CHECKPOINTING = """
import fcntl, sys
with open(sys.argv[1] + "-shm", "r+b") as shared:
    fcntl.lockf(shared, fcntl.LOCK_EX, 1, 121)  # SQLite's WAL_CKPT_LOCK, see its wal.c
    print("now", flush=True)
    sys.stdin.read()
"""

WRITING = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("now", flush=True)
sys.stdin.read()
"""


def test_a_save_beside_another_process_that_saves_is_no_failure(tmp_path: Path) -> None:
    store = open_store(tmp_path / "runs.db")
    add_trials(store, 1)
    command = [sys.executable, "-c", CHECKPOINTING, str(tmp_path / "runs.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"now\n"
        save(store)
        other.communicate()
    store.close()


def test_readers_that_overlap_do_not_let_the_log_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_WAL_BYTES", 2**20)
    monkeypatch.setattr(sqlite, "_WAL_LOOK_EVERY", 0.0)
    store = open_store(tmp_path / "runs.db")
    add_trials(store, 1)
    stop = threading.Event()

    def read(offset: float) -> None:
        stop.wait(offset)
        while not stop.is_set():
            with store.snapshot() as view:
                assert view.trial_fields(trial_id(1)) is not None
                stop.wait(0.015)

    readers = [threading.Thread(target=read, args=(offset,)) for offset in (0.0, 0.005, 0.01)]
    for reader in readers:
        reader.start()
    largest = 0
    for number in range(100):
        log_points(store, points_of([random.random() for _ in range(4096)], first=4096 * number))
        store.maintain(0.0)
        largest = max(largest, (tmp_path / "runs.db-wal").stat().st_size)
    stop.set()
    for reader in readers:
        reader.join()
    store.close()
    assert largest < 4 * 2**20


# -- a lock that another process holds -----------------------------------------------------------


@contextmanager
def locked(path: Path) -> Iterator[Callable[[], object]]:
    """Another process writes to the database, until what this gives is called or the block ends."""
    command = [sys.executable, "-c", WRITING, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"now\n"
        yield other.communicate


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store waits a moment for a lock, not half a minute."""
    for module in (schema, sqlite):
        monkeypatch.setattr(module, "BUSY_MS", 100)


def test_a_batch_waits_while_another_process_has_the_database_locked(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    engine = Engine(open_store(path))
    ann = Caller(engine)
    trial = ann.new_trial()["id"]
    with locked(path) as unlock:
        answers: queue.SimpleQueue[object] = queue.SimpleQueue()
        engine.submit_batch(ann.writer, Batch(ann.seq + 1, 2, [points(trial, loss=[1.0, 2.0])]), answers.put)
        with pytest.raises(queue.Empty):
            answers.get(timeout=0.2)
        unlock()
        assert isinstance(answers.get(timeout=30.0), Acked)
    assert ann.values(trial) == [1.0, 2.0]
    engine.close()


@pytest.mark.usefixtures("impatient")
def test_a_batch_that_finds_the_database_locked_for_too_long_fails_and_is_stored_once_when_it_comes_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "runs.db"
    engine = Engine(open_store(path))
    ann = Caller(engine)
    trial = ann.new_trial()["id"]
    seq = ann.seq
    with locked(path):
        outcome = ann.log(points(trial, loss=[1.0, 2.0]))
        assert isinstance(outcome, StoreError)
        assert str(path) in str(outcome)
        assert "lock" in str(outcome)
    ann.seq = seq
    ann.attach()
    assert isinstance(ann.log(points(trial, loss=[1.0, 2.0])), Acked)
    assert ann.values(trial) == [1.0, 2.0]
    engine.close()
