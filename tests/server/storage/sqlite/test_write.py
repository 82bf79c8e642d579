from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from sqlite_tables import rows
from stored_trials import (
    add_trials,
    committed_values,
    log_points,
    points_of,
    trial_document,
    trial_id,
    values_in,
)
from track_protocol.errors import ItemNotFound, StoreError
from track_protocol.query.parse import parse_query
from track_protocol.wire.batch import METRIC
from track_protocol.wire.columns import pack, unpack
from track_server.storage.contract import Changed, Changes, Points, SessionState
from track_server.storage.sqlite import write
from track_server.storage.sqlite.store import SqliteStore, open_store
from track_server.storage.transaction_state import Memory
from track_server.storage.unit_of_work import begin
from track_server.testing.store_rejected import SID, rejected


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(tmp_path / "runs.db", exclusive=True)
    add_trials(opened, 1)
    yield opened
    opened.close()


def test_a_field_that_a_trial_does_not_have_is_refused(store: SqliteStore) -> None:
    tx = begin(store)
    with pytest.raises(KeyError, match="no field 'colour'"):
        tx.update_trial(trial_id(), {"colour": "red"})
    tx.rollback()


def test_a_second_trial_of_the_same_uid_is_refused(store: SqliteStore) -> None:
    tx = begin(store)
    tx.add_trial(trial_document(2, uid="hash1_0"))
    with pytest.raises(apsw.ConstraintError):
        tx.commit()
    tx.rollback()


def test_changing_an_unknown_trial_is_refused(store: SqliteStore) -> None:
    tx = begin(store)
    with pytest.raises(ItemNotFound):
        tx.update_trial(trial_id(99), {"tags": {}})
    tx.rollback()


def test_linking_to_an_unknown_group_is_refused(store: SqliteStore) -> None:
    tx = begin(store)
    with pytest.raises(ItemNotFound, match="no group has the uid 'nothing'"):
        tx.link("nothing", trial_id())
    tx.rollback()


def test_a_transaction_ends_once(store: SqliteStore) -> None:
    tx = begin(store)
    tx.commit()
    with pytest.raises(StoreError, match="has ended"):
        tx.commit()
    tx.rollback()


def test_an_ended_transaction_does_not_roll_back_the_next_one(store: SqliteStore) -> None:
    first = begin(store)
    first.commit()
    second = begin(store)
    second.put_session(SessionState(b"s" * 16, "ann"))
    first.rollback()
    second.commit()
    with store.snapshot() as view:
        assert view.session(b"s" * 16) == SessionState(b"s" * 16, "ann")


def test_a_session_is_replaced_completely(store: SqliteStore) -> None:
    for state in (SessionState(b"s" * 16, "ann", 1, 7, (7, b"+")), SessionState(b"s" * 16, "ann", 2, 8)):
        tx = begin(store)
        tx.put_session(state)
        tx.commit()
    with store.snapshot() as view:
        assert view.session(b"s" * 16) == SessionState(b"s" * 16, "ann", 2, 8, None)


def changed_since(store: SqliteStore, cursor: str | None) -> Changed:
    with store.snapshot() as view:
        return view.changes_since(cursor, 1_000)


def test_what_another_process_commits_has_changed_too(tmp_path: Path) -> None:
    ours, theirs = (open_store(tmp_path / "runs.db") for _ in range(2))
    start = changed_since(ours, None).cursor
    add_trials(theirs, 1)
    assert changed_since(ours, start) == changed_since(theirs, start)
    assert changed_since(ours, start).trials == {trial_id()}
    theirs.close()
    ours.close()
    again = open_store(tmp_path / "runs.db")
    assert changed_since(again, start).trials == {trial_id()}
    again.close()


def test_the_change_log_is_pruned_and_a_moment_before_it_is_not_known(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_MAX_CHANGES", 10)
    monkeypatch.setattr(write, "_CHANGES_PRUNED", 5)
    cursors = []
    for number in range(40):
        cursors.append(changed_since(store, None).cursor)
        tx = begin(store)
        tx.update_trial(trial_id(), {"tags": {"n": number}})
        tx.commit()
    assert [changed_since(store, cursor).known for cursor in (cursors[0], cursors[-10])] == [False, True]
    ((kept,),) = rows(tmp_path / "runs.db", "SELECT count(*) FROM change_log")
    assert kept < 16


# -- points ----------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def summary(store: SqliteStore, name: str = "loss") -> dict[str, Any]:
    with store.snapshot() as view:
        document = view.trial(trial_id())
    assert document is not None
    return dict(document["metrics"][name])


def test_the_appends_of_a_transaction_make_one_chunk_for_each_series(store: SqliteStore, path: Path) -> None:
    tx = begin(store)
    for number in range(100):
        for name in ("loss", "accuracy"):
            tx.append_points(trial_id(), METRIC, name, None, points_of([0.5], first=number))
    tx.commit()
    assert rows(path, "SELECT series, seq, count FROM chunk ORDER BY series") == [(1, 0, 100), (2, 0, 100)]


def test_very_many_points_are_cut_into_chunks(store: SqliteStore, path: Path) -> None:
    values = [float(i) for i in range(40_000)]
    log_points(store, points_of(values))
    assert rows(path, "SELECT seq, count FROM chunk ORDER BY seq") == [
        (0, 16_384),
        (16_384, 16_384),
        (32_768, 7_232),
    ]
    assert committed_values(store) == values


def test_a_transaction_of_any_size_keeps_its_points(store: SqliteStore) -> None:
    tx = begin(store)
    for number in range(600):
        tx.append_points(trial_id(), METRIC, "loss", None, points_of([0.5] * 1000, first=1000 * number))
    # Some are written already, so that memory does not hold them all.
    assert store._db.execute("SELECT sum(count) FROM chunk").get
    tx.commit()
    assert summary(store)["count"] == 600_000


def test_series_that_share_their_steps_keep_their_own_values(store: SqliteStore) -> None:
    tx = begin(store)
    shared = points_of([1.0, 2.0])
    for name, values in (("loss", [1.0, 2.0]), ("accuracy", [3.0, 4.0])):
        points = Points(shared.steps, shared.times, pack(values))
        tx.append_points(trial_id(), METRIC, name, None, points)
    tx.commit()
    assert (committed_values(store, "loss"), committed_values(store, "accuracy")) == ([1.0, 2.0], [3.0, 4.0])


def test_the_bounds_of_a_chunk_are_retained_beside_it(store: SqliteStore, path: Path) -> None:
    log_points(store, points_of([3.0, math.nan, -1.0, math.inf], steps=[7, 9, 8, 5]))
    found = rows(path, "SELECT step_min, step_max, time_min, time_max, value_min, value_max FROM chunk")
    assert found == [(5, 9, 1.7e9, 1.7e9 + 3, -1.0, 3.0)]


def test_steps_that_are_no_numbers_have_no_bounds(store: SqliteStore, path: Path) -> None:
    log_points(store, points_of([3.0, 4.0], steps=["a", (1, 2)]))
    assert rows(path, "SELECT step_min, step_max FROM chunk") == [(None, None)]


def test_statistics_run_over_all_transactions(store: SqliteStore) -> None:
    numbers = random.Random(3)
    values = [numbers.gauss(100.0, 0.001) for _ in range(500)]
    for first in range(0, 500, 7):
        log_points(store, points_of(values[first : first + 7], first=first))
    found = summary(store)
    assert found["mean"] == pytest.approx(statistics.fmean(values), rel=1e-12)
    assert found["sd"] == pytest.approx(statistics.pstdev(values), rel=1e-6)
    assert (found["min"], found["max"], found["count"]) == (min(values), max(values), 500)


def test_statistics_leave_out_what_is_not_finite_or_no_number(store: SqliteStore) -> None:
    log_points(store, points_of([1.0, math.nan, "x", None, True, 3, math.inf]))
    found = summary(store)
    assert (found["count"], found["nonfinite"], found["mean"], found["sd"]) == (7, 2, 2.0, 1.0)


def test_without_numbers_there_are_no_statistics(store: SqliteStore) -> None:
    log_points(store, points_of(["x"]))
    found = summary(store)
    assert [found[name] for name in ("min", "max", "mean", "sd")] == [None] * 4


def test_statistics_survive_numbers_that_overflow(store: SqliteStore) -> None:
    log_points(store, points_of([1e308, 1e308, -1e308]))
    log_points(store, points_of([1e308]))
    found = summary(store)
    assert (found["count"], found["min"], found["max"]) == (4, -1e308, 1e308)


def test_statistics_go_on_after_the_store_was_opened_again(path: Path) -> None:
    for first in range(3):
        store = open_store(path)
        if first == 0:
            add_trials(store, 1)
        log_points(store, points_of([float(first)], first=first))
        store.close()
    store = open_store(path)
    found = summary(store)
    store.close()
    assert (found["count"], found["mean"], found["first_step"], found["last_step"], found["last"]) == (
        3,
        1.0,
        0,
        2,
        2.0,
    )


def test_first_and_last_keep_their_types(store: SqliteStore) -> None:
    log_points(store, points_of([1.0, (1, "x")], steps=[(0, 1), "end"]))
    found = summary(store)
    assert (found["first_step"], found["last_step"], found["last"]) == ((0, 1), "end", (1, "x"))


def test_a_series_without_steps_is_not_stepped(store: SqliteStore) -> None:
    log_points(store, points_of([1.0, 2.0], steps=[None, None]))
    assert summary(store)["stepped"] is False
    log_points(store, points_of([1.0, 2.0], steps=[None, 3]))
    assert summary(store)["stepped"] is True


def test_the_aggregator_of_the_first_points_is_remembered(store: SqliteStore) -> None:
    tx = begin(store)
    tx.append_points(trial_id(), METRIC, "loss", ["ring", 10, "f"], points_of([1.0]))
    tx.append_points(trial_id(), METRIC, "loss", None, points_of([1.0]))
    tx.commit()
    assert summary(store)["aggregator"] == ["ring", 10, "f"]


def test_points_of_an_unknown_trial_are_refused(store: SqliteStore) -> None:
    tx = begin(store)
    with pytest.raises(ItemNotFound):
        tx.append_points(trial_id(99), METRIC, "loss", None, points_of([1.0]))
    tx.rollback()


def test_a_transaction_reads_the_points_it_appended(store: SqliteStore) -> None:
    tx = begin(store)
    tx.append_points(trial_id(), METRIC, "loss", None, points_of([1.0]))
    assert values_in(tx) == [1.0]
    tx.append_points(trial_id(), METRIC, "loss", None, points_of([2.0], first=1))
    assert values_in(tx) == [1.0, 2.0]
    document = tx.trial(trial_id())
    assert document is not None
    assert document["metrics"]["loss"]["count"] == 2
    tx.append_points(trial_id(), METRIC, "loss", None, points_of([3.0], first=2))
    assert len(tx.trials(parse_query({"metrics.loss": 3.0}))) == 1
    tx.rollback()


@pytest.mark.parametrize("reads", [False, True])
def test_a_rollback_takes_back_points_and_statistics(store: SqliteStore, reads: bool) -> None:
    log_points(store, points_of([1.0, 3.0]))
    before = summary(store)
    tx = begin(store)
    tx.append_points(trial_id(), METRIC, "loss", None, points_of([100.0], steps=["x"]))
    if reads:
        tx.trial(trial_id())
    tx.rollback()
    assert summary(store) == before
    log_points(store, points_of([2.0], first=2))
    found = summary(store)
    assert (found["count"], found["mean"], found["max"]) == (3, 2.0, 3.0)
    assert committed_values(store) == [1.0, 3.0, 2.0]


def test_a_rollback_takes_back_a_new_series(store: SqliteStore) -> None:
    tx = begin(store)
    tx.append_points(trial_id(), METRIC, "loss", ["ring", 10, "f"], points_of([100.0]))
    tx.rollback()
    log_points(store, points_of([2.0]))
    found = summary(store)
    assert (found["count"], found["max"], found["aggregator"]) == (1, 2.0, None)


def test_a_rollback_takes_back_a_new_trial(store: SqliteStore) -> None:
    tx = begin(store)
    tx.add_trial(trial_document(3))
    assert tx.has_trial(trial_id(3))
    tx.rollback()
    tx = begin(store)
    assert not tx.has_trial(trial_id(3))
    with pytest.raises(ItemNotFound):
        tx.append_points(trial_id(3), METRIC, "loss", None, points_of([1.0]))
    tx.rollback()


def test_many_series_are_remembered_correctly(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("track_server.storage.transaction_state._MAX_CACHED", 3)
    memory = Memory()
    for first in range(3):
        for name in range(8):
            tx = begin(store, memory)
            tx.append_points(trial_id(), METRIC, f"m{name}", None, points_of([float(first)], first=first))
            tx.commit()
    assert [summary(store, f"m{name}")["count"] for name in range(8)] == [3] * 8


def test_values_keep_their_types(store: SqliteStore) -> None:
    values = [1, 2.5, None, "text", True, (1, 2), [1], {"a": 1}, b"x"]
    log_points(store, points_of(values))
    with store.snapshot() as view:
        points = view.points(trial_id(), METRIC, "loss", 0, 100)
    assert points is not None
    assert [(type(value), value) for value in unpack(points.values)] == [
        (type(value), value) for value in values
    ]


def test_numbers_of_rejected_records_that_are_not_retained_are_bounded(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in (("MAX_REJECTED", 4), ("FIRST_REJECTED", 2), ("MAX_THINNED", 3)):
        monkeypatch.setattr(write, name, most)
    tx = begin(store)
    for seq in range(2, 40, 2):
        tx.put_rejected(rejected((seq, seq)))
    tx.commit()
    with store.snapshot() as view:
        assert [each.first for each in view.thinned_of(SID, 1, 100)] == [30, 32, 34]
        assert [each.first for each in view.rejected(None, 0, 100)] == [2, 4, 36, 38]


def test_what_is_read_is_watched_and_not_what_is_written(store: SqliteStore) -> None:
    def stop() -> None:
        raise ZeroDivisionError

    times = {"created": 1.0, "started": None, "ended": None}
    documents = {trial_id(number): trial_document(number) | times for number in range(10, 2_010)}
    tx = store.begin()
    tx.watch(stop)
    tx.flush(Changes(new_trials=documents))
    with pytest.raises(ZeroDivisionError):
        tx.trials(parse_query({"$or": [{"name": {"$contains": f"y{number}"}} for number in range(30)]}))
    tx.watch(lambda: None)
    assert len(tx.trials(parse_query({}))) == 2_001
    tx.flush(Changes(), commit=True)
    with store.snapshot() as view:
        assert view.trial_fields(trial_id(2_009)) is not None
