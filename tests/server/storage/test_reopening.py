"""Stores that are opened again, or left alone, after their disk has failed."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from faulty_disk import Fault, FaultyDisk
from stored_trials import add_trials, committed_values, log_points, points_of
from track_protocol.errors import StoreError, StoreFailed
from track_server.storage.contract import Store
from track_server.storage.unit_of_work import begin
from track_server.stores import open_store


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    faulty = FaultyDisk(lambda event: None)
    with faulty.installed():
        yield faulty
        faulty.arm()


@pytest.fixture
def store(tmp_path: Path, disk: FaultyDisk) -> Iterator[Store]:
    opened = open_store(f"sqlite:{tmp_path}/runs.db", exclusive=True)
    add_trials(opened, 1)
    log_points(opened, points_of([1.0]))
    yield opened
    disk.arm()
    opened.close()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}


def descriptors(folder: Path) -> set[tuple[int, str]]:
    """What this process has open in a folder, but for the store's lock, which it never gives up."""
    gc.collect()
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except FileNotFoundError:
            continue
        if target.startswith(str(folder)) and not target.endswith(".lock"):
            found.add((int(entry.name), target))
    return found


def fail(store: Store, disk: FaultyDisk, *faults: Fault) -> None:
    """Let a commit fail."""
    disk.arm(*faults)
    tx = begin(store)
    tx.append_points(b"\0" * 15 + b"\1", "metric", "loss", None, points_of([2.0], first=1))
    with pytest.raises(StoreFailed):
        tx.commit()
    tx.rollback()


def test_a_store_continues_after_it_was_opened_again(store: Store, disk: FaultyDisk) -> None:
    generation = store.generation
    fail(store, disk, Fault("sync", 1))
    assert committed_values(store) == [1.0]
    store.reopen()
    assert store.generation == generation
    # The failed commit may be there completely, or not at all.
    before = committed_values(store)
    assert before in ([1.0], [1.0, 2.0])
    log_points(store, points_of([3.0], first=len(before)))
    assert committed_values(store) == [*before, 3.0]


def test_a_store_that_could_not_be_opened_again_can_be_later(store: Store, disk: FaultyDisk) -> None:
    fail(store, disk, Fault("sync", 1, times=3))
    for _ in range(2):
        with pytest.raises(StoreFailed):
            store.reopen()
        assert committed_values(store)[:1] == [1.0]
    store.reopen()
    log_points(store, points_of([3.0], first=2))
    assert committed_values(store)[-1] == 3.0


def test_a_store_is_not_made_anew_where_it_was_removed(
    store: Store, disk: FaultyDisk, tmp_path: Path
) -> None:
    fail(store, disk, Fault("sync", 1))
    main = next(path for path in tmp_path.iterdir() if path.suffix in (".db", ".json"))
    main.rename(tmp_path / "moved")
    with pytest.raises(StoreError, match="was deleted while it was open: restore it"):
        store.reopen()
    assert not main.exists()
    (tmp_path / "moved").rename(main)
    store.reopen()
    assert committed_values(store)[:1] == [1.0]


def test_a_store_that_is_abandoned_leaves_its_files_alone(
    store: Store, disk: FaultyDisk, tmp_path: Path
) -> None:
    fail(store, disk, Fault("sync", 1))
    before = files(tmp_path)
    store.abandon()
    store.abandon()
    assert files(tmp_path) == before
    assert not descriptors(tmp_path)
    again = open_store(store.uri, exclusive=True)
    assert committed_values(again)[:1] == [1.0]
    again.close()


def test_a_closed_store_is_not_opened_again(store: Store) -> None:
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.reopen()


def test_a_failed_checkpoint_is_not_silent(
    tmp_path: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `SqliteStore._checkpoint` suppresses `apsw.IOError` too, as SQLite does with its own.
    monkeypatch.setattr("track_server.storage.sqlite.store._CHECKPOINT_PAGES", 1)
    store = open_store(f"sqlite:{tmp_path}/runs.db", exclusive=True)
    add_trials(store, 1)
    disk.arm(Fault("sync", 1))
    with pytest.raises(StoreFailed):
        log_points(store, points_of([1.0]))
    disk.arm()
    store.reopen()
    log_points(store, points_of([1.0]))
    store.close()
