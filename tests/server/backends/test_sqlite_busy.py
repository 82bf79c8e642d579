"""A SQLite store that another process works on at the same moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stored_trials import add_trials
from track_server.backends.sqlite import open_store

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
        store.save()
        other.communicate()
    store.close()
