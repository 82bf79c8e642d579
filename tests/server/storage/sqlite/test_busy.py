"""A SQLite store that another process works on at the same moment."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stored_trials import add_trials, log_points, points_of, save, trial_id
from track_server.storage.sqlite import store as sqlite
from track_server.storage.sqlite.store import open_store

CHECKPOINTING = """
import fcntl, sys
with open(sys.argv[1] + "-shm", "r+b") as shared:
    fcntl.lockf(shared, fcntl.LOCK_EX, 1, 121)  # SQLite's WAL_CKPT_LOCK, see its wal.c
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
                assert view.has_trial(trial_id(1))
                stop.wait(0.06)

    readers = [threading.Thread(target=read, args=(offset,)) for offset in (0.0, 0.02, 0.04)]
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
