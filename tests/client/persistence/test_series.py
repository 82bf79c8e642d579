"""Series that are fetched page by page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import pytest

from track.persistence.series import PAGE, fetch_series, series_pages
from track_protocol.wire.batch import METRIC
from track_protocol.wire.columns import pack


class Store:
    """A series of so many points, and what was asked of it and waited for, by ordinal."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.happened: list[tuple[str, int]] = []

    def fetch(self, name: str, kind: str, start: int, limit: int) -> Callable[[], Mapping[str, Any]]:
        self.happened.append(("asked", start))

        def answer() -> Mapping[str, Any]:
            self.happened.append(("answered", start))
            steps = range(start, max(start, min(self._count, start + limit)))
            times = pack([float(step) for step in steps]) if steps else ("d", b"")
            return {"steps": list(pack(list(steps))), "times": list(times), "values": list(times)}

        return answer


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 4 * PAGE + 5])
def test_every_point_comes_once_and_in_order(count: int) -> None:
    for known in (0, 1, count, count // 2, count + 2 * PAGE):
        series = fetch_series(Store(count).fetch, "loss", METRIC, known=known)
        assert list(series.steps) == list(range(count))


def test_the_pages_of_points_that_are_known_are_asked_for_at_once_and_no_others() -> None:
    store = Store(PAGE + 1)
    fetch_series(store.fetch, "loss", METRIC, known=PAGE + 1)
    assert store.happened == [("asked", 0), ("asked", PAGE), ("answered", 0), ("answered", PAGE)]


def test_further_pages_are_asked_for_before_the_one_that_is_read() -> None:
    store = Store(3 * PAGE)
    next(series_pages(store.fetch, "loss", METRIC))
    assert store.happened == [("asked", 0), ("answered", 0), ("asked", PAGE), ("asked", 2 * PAGE)]


def test_behind_a_page_that_is_not_full_nothing_is_asked_for() -> None:
    store = Store(PAGE - 1)
    assert len(list(series_pages(store.fetch, "loss", METRIC))) == 1
    assert store.happened == [("asked", 0), ("answered", 0)]


def test_a_long_series_is_asked_for_two_pages_ahead_at_most() -> None:
    for known in (0, 9 * PAGE):
        store = Store(9 * PAGE)
        for _ in islice(series_pages(store.fetch, "loss", METRIC, known=known), 5):
            asked = [what for what, _ in store.happened]
            assert asked.count("asked") - asked.count("answered") == 2
