from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlite_tables import rows
from stored_trials import add_trials, compact_all, log_points, points_of, trial_document, trial_id
from track_protocol.errors import StoreCorrupt
from track_protocol.query.parse import parse_query
from track_protocol.wire.batch import METRIC
from track_protocol.wire.columns import Column, unpack
from track_server.storage.sqlite.store import SqliteStore, open_store
from track_server.storage.unit_of_work import begin


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(tmp_path / "runs.db", exclusive=True)
    add_trials(opened, 1)
    yield opened
    opened.close()


def read(store: SqliteStore, start: int = 0, limit: int = 1000) -> list[object]:
    with store.snapshot() as view:
        points = view.points(trial_id(), METRIC, "loss", start, limit)
    assert points is not None
    return list(unpack(points.values))


@pytest.mark.parametrize("compacted", [False, True])
def test_a_flipped_bit_in_a_chunk_is_named(store: SqliteStore, tmp_path: Path, compacted: bool) -> None:
    for first in range(0, 40, 10):
        log_points(store, points_of([0.5] * 10, first=first))
    if compacted:
        compact_all(store)
    rows(
        tmp_path / "runs.db",
        "UPDATE chunk SET data = CAST(substr(data, 1, 40) || x'ff' || substr(data, 42) AS BLOB)",
    )
    with pytest.raises(StoreCorrupt, match=r"runs.db: the chunk of series 1 from point 0 on is damaged"):
        read(store)


@pytest.mark.parametrize("lost", [0, 10, 30])
def test_a_lost_chunk_is_noticed(store: SqliteStore, tmp_path: Path, lost: int) -> None:
    for first in range(0, 40, 10):
        log_points(store, points_of([0.5] * 10, first=first))
    rows(tmp_path / "runs.db", "DELETE FROM chunk WHERE seq = ?", lost)
    with pytest.raises(StoreCorrupt, match=f"no point {lost}"):
        read(store)


@pytest.mark.parametrize(("start", "limit"), [(0, 0), (4, 5), (9, 1), (-3, 2), (0, -1)])
def test_a_range_outside_a_series_is_cut(store: SqliteStore, start: int, limit: int) -> None:
    log_points(store, points_of([0.0, 1.0, 2.0, 3.0]))
    assert read(store, start, limit) == [0.0, 1.0, 2.0, 3.0][max(start, 0) : max(start, 0) + max(limit, 0)]


def test_no_points_are_empty_columns(store: SqliteStore) -> None:
    log_points(store, points_of([0.0]))
    with store.snapshot() as view:
        points = view.points(trial_id(), METRIC, "loss", 5, 5)
    assert points is not None
    assert (points.steps, points.times, points.values) == (Column("o", []), Column("d", b""), Column("o", []))


def test_there_are_no_points_of_an_unknown_series(store: SqliteStore) -> None:
    with store.snapshot() as view:
        assert view.points(trial_id(), METRIC, "nothing", 0, 10) is None


def test_a_list_of_many_trials_has_their_summaries(store: SqliteStore) -> None:
    tx = begin(store)
    for number in range(2, 1202):
        tx.add_trial(trial_document(number))
        tx.append_points(trial_id(number), METRIC, "loss", None, points_of([float(number)]))
    tx.commit()
    with store.snapshot() as view:
        documents = view.trials(parse_query({"metrics.loss": {"$exists": True}}))
    assert [document["metrics"]["loss"]["last"] for document in documents] == [
        float(n) for n in range(2, 1202)
    ]


def test_a_query_can_ask_for_the_deviation(store: SqliteStore) -> None:
    log_points(store, points_of([1.0, 3.0, float("nan"), "x"]))
    with store.snapshot() as view:
        assert len(view.trials(parse_query({"metrics.loss.sd": 1.0}))) == 1
