from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from stored_trials import add_trials, trial_id
from track_protocol.errors import StoreError
from track_server.storage.sqlite.readers import Readers
from track_server.storage.sqlite.schema import translated
from track_server.storage.sqlite.store import SqliteStore, open_store

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(tmp_path / "runs.db", exclusive=True)
    add_trials(opened, 1)
    yield opened
    opened.close()


def run(readers: Readers, store: SqliteStore, sql: str) -> None:
    with translated(store.path), readers.snapshot() as db:
        db.execute(sql).fetchall()


def test_a_read_that_takes_too_long_is_stopped(store: SqliteStore) -> None:
    readers = Readers(store.path, seconds=0.05)
    with pytest.raises(
        StoreError, match="took too long: ask for less, with limit, fields or a narrower filter"
    ):
        run(readers, store, ENDLESS)
    readers.close()


def test_a_reader_cannot_write(store: SqliteStore) -> None:
    readers = Readers(store.path)
    with pytest.raises(StoreError):
        run(readers, store, "DELETE FROM trial")
    readers.close()


def test_a_connection_that_failed_is_not_used_again(store: SqliteStore) -> None:
    readers = Readers(store.path)
    snapshot = readers.snapshot()
    failed = snapshot.__enter__()
    assert not snapshot.__exit__(RuntimeError, RuntimeError(), None)
    with readers.snapshot() as db:
        assert db is not failed
        assert db.execute("SELECT key FROM trial").fetchall() == [(trial_id(),)]
    readers.close()


def test_a_connection_is_used_again(store: SqliteStore) -> None:
    readers = Readers(store.path)
    with readers.snapshot() as one:
        pass
    with readers.snapshot() as other:
        assert other is one
    readers.close()


def test_a_snapshot_may_end_after_its_readers_were_closed(store: SqliteStore) -> None:
    readers = Readers(store.path)
    with readers.snapshot() as db:
        readers.close()
        assert db.execute("SELECT count(*) FROM trial").get == 1
    with pytest.raises(StoreError, match="is closed"), readers.snapshot():
        pass


def test_while_readers_are_paused_no_connection_is_open_and_snapshots_wait(store: SqliteStore) -> None:
    readers = Readers(store.path)
    with readers.snapshot() as used:
        pass

    def read() -> int:
        with readers.snapshot() as db:
            return int(db.execute("SELECT count(*) FROM trial").get)

    with ThreadPoolExecutor(1) as thread:
        with readers.paused():
            with pytest.raises(apsw.ConnectionClosedError):
                used.execute("SELECT 1")
            waiting = thread.submit(read)
            assert not waiting.done()
        assert waiting.result(30) == 1
    readers.close()


def test_a_pause_begins_when_the_last_snapshot_has_ended(store: SqliteStore) -> None:
    readers = Readers(store.path)
    ended = threading.Event()

    def pause() -> bool:
        with readers.paused():
            return ended.is_set()

    with ThreadPoolExecutor(1) as thread:
        with readers.snapshot() as db:
            paused = thread.submit(pause)
            assert db.execute("SELECT count(*) FROM trial").get == 1
            ended.set()
        assert paused.result(30)
    readers.close()


def test_a_pause_does_not_wait_for_a_read_without_end(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("track_server.storage.sqlite.readers._GRACE", 0.0)
    readers = Readers(store.path, seconds=0.01)
    with readers.snapshot() as db:
        with pytest.raises(StoreError, match="does not end"), readers.paused():
            pass
        assert db.execute("SELECT count(*) FROM trial").get == 1
    with readers.paused():
        pass
    readers.close()
