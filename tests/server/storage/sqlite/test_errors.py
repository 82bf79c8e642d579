from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from stored_trials import add_trials, committed_values, log_points, points_of, trial_id
from track_protocol.errors import StoreCorrupt, StoreError, StoreFailed, StoreFull, StoreReadOnly
from track_protocol.wire.batch import METRIC
from track_server.storage.sqlite.errors import store_error, translated
from track_server.storage.sqlite.store import SqliteStore, open_store
from track_server.storage.unit_of_work import begin


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(tmp_path / "runs.db", exclusive=True)
    add_trials(opened, 1)
    log_points(opened, points_of([1.0, 2.0]))
    yield opened
    opened.close()


@pytest.fixture
def full(store: SqliteStore) -> SqliteStore:
    """A store whose disk is as good as full."""
    pages = store._db.execute("PRAGMA page_count").get
    store._db.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    return store


def test_a_full_disk_is_called_that(full: SqliteStore) -> None:
    tx = begin(full)
    tx.append_points(trial_id(), METRIC, "loss", None, points_of(["x" * 1000] * 1000, first=2))
    with pytest.raises(StoreError, match=r"no space is left for .*runs.db: free some"):
        tx.commit()
    tx.rollback()


def test_after_a_full_disk_the_store_goes_on_where_it_was(full: SqliteStore) -> None:
    tx = begin(full)
    tx.append_points(trial_id(), METRIC, "loss", None, points_of(["x" * 1000] * 1000, first=2))
    with pytest.raises(StoreError):
        tx.commit()
    tx.rollback()
    assert committed_values(full) == [1.0, 2.0]
    full._db.execute("PRAGMA max_page_count = 1000000").fetchall()
    log_points(full, points_of([3.0], first=2))
    assert committed_values(full) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (apsw.FullError("full"), StoreFull),
        (apsw.ReadOnlyError("readonly"), StoreReadOnly),
        (apsw.CorruptError("malformed"), StoreCorrupt),
        (apsw.NotADBError("no database"), StoreCorrupt),
        (apsw.BusyError("locked"), StoreError),
        (apsw.IOError("disk I/O error"), StoreFailed),
    ],
)
def test_what_happens_to_a_store_has_its_class_and_names_the_file(
    raised: apsw.Error, expected: type[StoreError]
) -> None:
    error = store_error("/data/runs.db", raised)
    assert type(error) is expected
    assert "/data/runs.db" in str(error)


def test_a_fault_of_the_program_stays_what_it_is() -> None:
    with pytest.raises(apsw.SQLError), translated("/data/runs.db"):
        raise apsw.SQLError("no such column")


def test_a_disk_without_room_for_the_shared_memory_is_full_and_not_failed() -> None:
    error = apsw.IOError("disk I/O error")
    vars(error)["extendedresult"] = apsw.SQLITE_IOERR_SHMSIZE
    told = store_error("runs.db", error)
    assert isinstance(told, StoreFull)
    assert "free some" in str(told)
