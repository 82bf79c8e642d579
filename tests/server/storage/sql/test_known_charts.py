"""Columns that were read before are those that would be read again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stored_trials import add_trials, compact_all, log_points, points_of, trial_id
from track_protocol.wire.batch import METRIC
from track_server.storage.chunks import decode_chunk_numbers
from track_server.storage.sql.known_charts import KnownCharts
from track_server.storage.sqlite.store import SqliteStore, open_store
from track_server.storage.unit_of_work import begin
from track_server.testing.store_charts import numbers_in

KEY = (trial_id(), METRIC, "loss")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(tmp_path / "runs.db", exclusive=True)
    add_trials(opened, 1)
    yield opened
    opened.close()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with the lengths of chunks that are decoded for charts."""
    lengths: list[int] = []

    def noted(chunk: bytes, **options: bool) -> Any:
        lengths.append(len(chunk))
        return decode_chunk_numbers(chunk, **options)

    monkeypatch.setattr("track_server.storage.sql.charts.decode_chunk_numbers", noted)
    return lengths


def chart(store: SqliteStore, low: float | None = None, axis: str = "step", width: int = 10) -> Any:
    with store.snapshot() as view:
        (found,) = view.chart_columns([KEY], view.chart_window([KEY], axis, low, None, width))
    return found


def test_a_series_that_is_as_it_was_is_not_decoded_again(store: SqliteStore, decoded: list[int]) -> None:
    log_points(store, points_of([float(i % 7) for i in range(2_000)]))
    compact_all(store)
    first = chart(store)
    count = len(decoded)
    assert count > 0
    assert chart(store) == first
    assert len(decoded) == count
    for other in (chart(store, low=5), chart(store, axis="ordinal"), chart(store, width=11)):
        assert other != first
    assert len(decoded) > count


def test_whatever_is_done_to_a_series_its_columns_are_those_of_its_points(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check() -> None:
        found = [chart(store), chart(store, axis="time")]
        monkeypatch.setattr(store, "_charts", KnownCharts())
        assert found == [chart(store), chart(store, axis="time")]

    log_points(store, points_of([1.0] * 600))
    check()
    compact_all(store)
    check()
    before = chart(store)
    # As many points as before, of the same steps and times, in a chunk of the same number.
    tx = begin(store)
    tx.rewind(trial_id(), 299)
    tx.commit()
    check()
    log_points(store, points_of([1.0] * 299 + [5.0], first=300))
    compact_all(store)
    check()
    assert chart(store) != before
    log_points(store, points_of([2.0], first=600))
    check()


def test_another_series_with_the_numbers_of_a_deleted_one_is_read(store: SqliteStore) -> None:
    for values in ([1.0] * 100, [1.0] * 99 + [5.0]):
        log_points(store, points_of(values))
        assert numbers_in(chart(store)["max"])[-1] == values[-1]
        tx = begin(store)
        tx.delete_trial(trial_id())
        tx.commit()
        compact_all(store)
        add_trials(store, 1)


def test_what_was_asked_for_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("track_server.storage.sql.known_charts._MOST_BYTES", 30_000)
    known = KnownCharts()
    for number in range(5):
        known.add(bytes([number]), {"x": bytes(8_000)})
        known.get(b"\0")
    assert [known.get(bytes([number])) is not None for number in range(5)] == [
        True,
        False,
        False,
        False,
        True,
    ]
