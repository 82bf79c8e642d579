from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlite_tables import rows
from stored_trials import add_trials, committed_values, compact_all, log_points, points_of, save, trial_id
from track_protocol.errors import StoreCorrupt
from track_protocol.wire.batch import METRIC
from track_protocol.wire.columns import pack, unpack
from track_server.storage.contract import Points
from track_server.storage.sqlite.check import check_sqlite
from track_server.storage.sqlite.compact import Compactor
from track_server.storage.sqlite.store import SqliteStore, open_store
from track_server.storage.unit_of_work import begin
from track_server.testing.store_support import id_of, trial

SHORT = 0.01
DELETED_POINTS = 400_000
NO_TIME = 0.0
VALUES = st.lists(
    st.one_of(
        st.floats(allow_nan=False), st.integers(-(2**63), 2**63 - 1), st.none(), st.text(), st.booleans()
    )
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = open_store(path, exclusive=True)
    add_trials(opened, 1)
    yield opened
    opened.close()


def chunks(path: Path) -> list[Any]:
    """(seq, count, level) of every chunk."""
    return rows(path, "SELECT seq, count, level FROM chunk ORDER BY series, seq")


def log_each(store: SqliteStore, count: int, size: int = 1, first: int = 0) -> None:
    """Commit `count` times `size` points."""
    numbers = random.Random(count)
    for number in range(count):
        log_points(store, points_of([numbers.random() for _ in range(size)], first=first + number * size))


def test_sixteen_chunks_become_one(store: SqliteStore, path: Path) -> None:
    log_each(store, 16)
    store.maintain(SHORT)
    assert chunks(path) == [(0, 16, 1)]


def test_fewer_chunks_wait_for_more(store: SqliteStore, path: Path) -> None:
    log_each(store, 15)
    assert not store.maintain(SHORT)
    assert len(chunks(path)) == 15


def test_a_caller_with_time_gets_them_all_compacted(store: SqliteStore, path: Path) -> None:
    log_each(store, 15)
    compact_all(store)
    assert chunks(path) == [(0, 15, 1)]


def test_an_idle_series_is_compacted(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("track_server.storage.sql.compaction._IDLE_S", 0.0)
    log_each(store, 3)
    while store.maintain(SHORT):
        pass
    assert chunks(path) == [(0, 3, 1)]


def test_a_full_chunk_is_made_in_one_step_and_stays(store: SqliteStore, path: Path) -> None:
    log_each(store, 17, 1000)
    compact_all(store)
    assert [(seq, level) for seq, _, level in chunks(path)] == [(0, 9), (16_000, 1)]
    full = rows(path, "SELECT id FROM chunk WHERE level = 9")
    log_each(store, 20, 10, first=17_000)
    compact_all(store)
    assert rows(path, "SELECT id FROM chunk WHERE level = 9") == full


def test_what_did_not_fit_into_a_full_chunk_is_compacted_when_idle(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_each(store, 17, 1000)
    store.maintain(SHORT)
    assert chunks(path) == [(0, 16_000, 9), (16_000, 1000, 0)]
    monkeypatch.setattr("track_server.storage.sql.compaction._IDLE_S", 0.0)
    store.maintain(SHORT)
    assert chunks(path) == [(0, 16_000, 9), (16_000, 1000, 1)]


def test_a_point_is_rewritten_only_a_few_times(store: SqliteStore) -> None:
    log_each(store, 700)
    rewritten = 0
    store._db.set_update_hook(lambda kind, _db, table, _row: counted(kind, table))

    def counted(kind: int, table: str) -> None:
        nonlocal rewritten
        rewritten += kind == apsw.SQLITE_DELETE and table == "chunk"

    for number in range(700, 1700):
        log_points(store, points_of([0.5], first=number))
        while store.maintain(SHORT):
            pass
    store._db.set_update_hook(None)
    # Every chunk that arrives is replaced once, and what replaced it once for sixteen of its kind.
    assert rewritten < 1700 * 1.1


def test_a_large_chunk_is_not_rewritten_for_a_few_points(store: SqliteStore, path: Path) -> None:
    log_each(store, 4, 1000)
    compact_all(store)
    log_each(store, 2, 1, first=4000)
    compact_all(store)
    assert chunks(path) == [(0, 4000, 1), (4000, 2, 1)]


def test_every_series_is_compacted(store: SqliteStore, path: Path) -> None:
    for number in range(20):
        tx = begin(store)
        for name in range(10):
            tx.append_points(trial_id(), METRIC, f"m{name}", None, points_of([1.0], first=number))
        tx.commit()
    compact_all(store)
    assert chunks(path) == [(0, 20, 1)] * 10


def test_what_another_process_left_is_compacted(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("track_server.storage.sqlite.store._CLOSING_SECONDS", -1.0)
    log_each(store, 40)
    monkeypatch.setattr(store._compactor, "work", lambda *_, **__: False)
    store.close()
    assert len(chunks(path)) == 40
    reopened = open_store(path)
    compact_all(reopened)
    assert len(chunks(path)) == 1
    reopened.close()


@pytest.mark.parametrize(
    ("sizes", "is_due"), [([31], False), ([32], True), ([1, 1], True), ([9_000, 1], True)]
)
def test_series_in_which_nothing_is_due_cost_nothing_when_a_store_is_opened(
    store: SqliteStore, path: Path, sizes: list[int], is_due: bool
) -> None:
    first = 0
    for size in sizes:
        log_points(store, points_of([0.5] * size, first=first))
        first += size
    db = apsw.Connection(str(path))
    compactor = Compactor(db, str(path))
    compactor.work(NO_TIME, thorough=False)
    assert compactor.candidates.expects_more is is_due
    db.close()


def test_closing_compacts_the_rest(store: SqliteStore, path: Path) -> None:
    log_each(store, 10)
    store.close()
    assert len(chunks(path)) == 1


@settings(max_examples=30)
@given(parts=st.lists(VALUES.filter(len), min_size=1, max_size=20))
def test_compaction_changes_no_value_and_no_type(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[Any]]
) -> None:
    store = open_store(tmp_path_factory.mktemp("compact") / "runs.db")
    add_trials(store, 1)
    first = 0
    for part in parts:
        log_points(store, points_of(part, steps=part, first=first))
        first += len(part)
    with store.snapshot() as view:
        before = view.points(trial_id(), METRIC, "loss", 0, first)
    compact_all(store)
    with store.snapshot() as view:
        after = view.points(trial_id(), METRIC, "loss", 0, first)
    store.close()
    assert before is not None
    assert after is not None
    for name in ("steps", "times", "values"):
        one, other = (unpack(getattr(points, name)) for points in (before, after))
        assert [(type(value), repr(value)) for value in one] == [
            (type(value), repr(value)) for value in other
        ]


def test_every_part_of_a_compacted_series_can_be_read(store: SqliteStore) -> None:
    log_each(store, 50, 700)
    values = committed_values(store)
    compact_all(store)
    with store.snapshot() as view:
        for start, limit in ((0, 1), (13_999, 2), (14_000, 1), (20_000, 9_000), (34_999, 10), (35_000, 5)):
            points = view.points(trial_id(), METRIC, "loss", start, limit)
            assert points is not None
            assert list(unpack(points.values)) == values[start : start + limit]


def test_the_bounds_of_a_compacted_chunk_are_those_of_its_parts(store: SqliteStore, path: Path) -> None:
    for values in ([3.0, 1.0], ["x"], [9.0]):
        log_points(store, points_of(values))
    compact_all(store)
    assert rows(path, "SELECT step_min, step_max, value_min, value_max FROM chunk") == [(0, 1, 1.0, 9.0)]


def test_large_values_fill_a_chunk_by_their_size(store: SqliteStore, path: Path) -> None:
    for number in range(40):
        log_points(store, points_of(["x" * 60_000], first=number))
    compact_all(store)
    assert max(count for _, count, _ in chunks(path)) <= 20


@pytest.mark.parametrize("size", [100, 1000])
def test_a_random_point_takes_at_most_ten_bytes(store: SqliteStore, path: Path, size: int) -> None:
    save(store)
    empty = path.stat().st_size
    log_each(store, 100_000 // size, size)
    compact_all(store)
    save(store)
    assert path.stat().st_size - empty < 10 * 100_000


def test_free_space_goes_back_to_the_file_system(store: SqliteStore, path: Path) -> None:
    log_each(store, 200, 1000)
    save(store)
    before = path.stat().st_size
    compact_all(store)
    save(store)
    assert path.stat().st_size < 0.7 * before
    assert rows(path, "PRAGMA freelist_count") == [(0,)]


def test_a_damaged_series_stays_and_is_reported_once_the_others_are_compacted(
    store: SqliteStore, path: Path
) -> None:
    for name in ("a", "b"):
        for number in range(16):
            log_points(store, points_of([1.0], first=number), name)
    rows(path, "UPDATE chunk SET data = zeroblob(length(data)) WHERE series = 1 AND seq = 3")
    with pytest.raises(StoreCorrupt, match="series 1 from point 3 on is damaged"):
        compact_all(store)
    assert rows(path, "SELECT series, count(*) FROM chunk GROUP BY series") == [(1, 16), (2, 1)]


def test_there_is_no_compaction_inside_a_transaction(store: SqliteStore, path: Path) -> None:
    log_each(store, 16)
    tx = begin(store)
    assert not store.maintain(1.0)
    tx.rollback()
    assert len(chunks(path)) == 16


def test_a_failure_leaves_everything_for_the_next_time(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_each(store, 16)
    with monkeypatch.context() as patch:
        patch.setattr("track_server.storage.sql.compaction.assemble", lambda *_: throw())
        with pytest.raises(RuntimeError):
            store.maintain(1.0)
    assert len(chunks(path)) == 16
    compact_all(store)
    assert len(chunks(path)) == 1


def throw() -> None:
    raise RuntimeError


# -- garbage collection ------------------------------------------------------------------------------------


def filled(path: Path) -> SqliteStore:
    """A store of two trials, of which the first has points that do not compress."""
    store = open_store(path)
    for number, count in ((0, DELETED_POINTS), (1, 10)):
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


def count_of(path: Path, table: str) -> Any:
    db = apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)
    try:
        return db.execute(f"SELECT count(*) FROM {table}").get  # noqa: S608 # names of this test's own
    finally:
        db.close()


def test_deleted_points_go_in_slices_and_the_space_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = filled(path)
    before, chunks = path.stat().st_size, count_of(path, "chunk")
    delete(store)
    assert count_of(path, "chunk") == chunks
    assert store.maintain(NO_TIME)
    assert 1 < count_of(path, "chunk") < chunks
    while store.maintain(NO_TIME):
        pass
    assert (count_of(path, "chunk"), count_of(path, "series")) == (1, 1)
    store.close()
    open_store(tmp_path / "empty.db").close()
    empty = (tmp_path / "empty.db").stat().st_size
    assert path.stat().st_size - empty < (before - empty) / 10
    assert check_sqlite(path).findings == ()


def test_a_store_with_half_of_a_trial_collected_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = filled(path)
    delete(store)
    store.maintain(NO_TIME)
    checked = check_sqlite(path)
    assert (checked.findings, checked.trials, checked.series, checked.points) == ((), 1, 1, 10)
    store.close()


def test_garbage_that_a_process_left_is_collected_when_the_store_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = filled(path)
    delete(store)
    store.maintain(NO_TIME)
    store.abandon()
    again = open_store(path)
    assert count_of(path, "series") == 2
    while again.maintain(NO_TIME):
        pass
    assert (count_of(path, "chunk"), count_of(path, "series")) == (1, 1)
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


def test_a_kill_during_the_collection_leaves_the_rest_to_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    filled(path).close()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert check_sqlite(path).findings == ()
    store = open_store(path)
    with store.snapshot() as view:
        assert view.trial(id_of(0)) is None
    assert count_of(path, "chunk") > 1
    while store.maintain(NO_TIME):
        pass
    assert (count_of(path, "chunk"), count_of(path, "series")) == (1, 1)
    store.close()
    assert check_sqlite(path).findings == ()
