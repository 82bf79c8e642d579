"""Series cut into columns for charts, and their tails."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, Final

import pytest

from track_protocol.query.tree import is_number
from track_protocol.wire.batch import METRIC
from track_protocol.wire.columns import pack
from track_server.storage.chart_columns import ARRAYS, Grid
from track_server.testing.store_support import StoreSuite, begin, id_of, same, trial

__all__ = ["ChartTests", "chart_of", "expected_chart", "numbers_in"]

_TOTALS: Final = ("count", "total")


def numbers_in(data: bytes) -> list[float]:
    """The numbers of an array in an answer."""
    return list(struct.unpack(f"<{len(data) // 8}d", data))


def chart_of(
    store: Any,
    axis: str = "step",
    low: float | None = None,
    high: float | None = None,
    width: int = 10,
    *,
    number: int = 0,
    name: str = "loss",
) -> Any:
    """The committed columns of a metric, with lists for arrays."""
    with store.snapshot() as view:
        key = (id_of(number), METRIC, name)
        (found,) = view.chart_columns([key], view.chart_window([key], axis, low, high, width))
    assert found is not None, f"there is no metric called {name}"
    return {each: numbers_in(value) if each in ARRAYS else value for each, value in found.items()}


def expected_chart(
    places: Sequence[float],
    points: Sequence[tuple[Any, float, Any]],
    low: float,
    high: float,
    width: int,
) -> dict[str, Any]:
    """The columns of steps, times and values whose places on the axis are known, point by point."""
    columns: dict[int, list[tuple[float, int]]] = {}
    edges = Grid(low, high, width).edges
    for i, place in enumerate(places):
        if low <= place <= high:
            columns.setdefault(max(j for j in range(width) if edges[j] <= place), []).append((place, i))
    rows = []
    for _, members in sorted(columns.items()):
        members.sort()
        values = [_number(points[i][2]) for _, i in members]
        finite = [value for value in values if math.isfinite(value)]
        others = [value for value in values if not math.isfinite(value)]
        summary = (math.nan,) * 3
        if finite:
            summary = (min(finite), max(finite), math.fsum(each / len(finite) for each in finite))
        place, last = members[-1]
        rows.append(
            (
                *(place, _number(points[last][0]), points[last][1], values[-1]),
                *summary,
                *(float(len(values)), float(len(others)), others[-1] if others else 0.0),
            )
        )
    arrays = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in ARRAYS]
    return {
        "count": sum(map(len, columns.values())),
        "total": len(points),
        "exact": all(len(members) == 1 for members in columns.values()),
        **dict(zip(ARRAYS, arrays, strict=True)),
    }


def _number(value: Any) -> float:
    return float(value) if is_number(value) else math.nan


def _near(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    exact = {name: value for name, value in expected.items() if name != "mean"}
    return same({name: found[name] for name in exact}, exact) and found["mean"] == pytest.approx(
        expected["mean"], rel=1e-9, nan_ok=True
    )


class ChartTests(StoreSuite):
    """Part of `StoreContract`."""

    def log_times(
        self, store: Any, steps: Sequence[Any], times: Sequence[float], values: Sequence[Any]
    ) -> None:
        """Append points to the metric ``loss`` in a transaction of their own."""
        tx = begin(store)
        if not tx.has_trial(id_of(0)):
            tx.add_trial(trial(0))
        points = self.points_of(pack(steps), pack(times), pack(values))
        tx.append_points(id_of(0), METRIC, "loss", None, points)
        tx.commit()

    @pytest.mark.parametrize("width", [1, 2, 7, 100])
    @pytest.mark.parametrize("axis", ["step", "time", "relative", "ordinal"])
    def test_each_point_is_in_one_column(self, store: Any, axis: str, width: int) -> None:
        steps = [2 * i for i in range(50)]
        values = [math.sin(i) for i in range(50)]
        for first in range(0, 50, 8):
            self.log(store, steps[first : first + 8], values[first : first + 8], first_time=100.0 + first)
        times = [100.0 + i for i in range(50)]
        places: dict[str, Sequence[float]] = {
            "step": steps,
            "time": times,
            "relative": [each - 100.0 for each in times],
            "ordinal": range(50),
        }
        points = list(zip(steps, times, values, strict=True))
        found = chart_of(store, axis, width=width)
        low, high = float(places[axis][0]), float(places[axis][-1])
        assert (found["axis"], found["low"], found["high"]) == (axis, low, high)
        assert _near(found, expected_chart(places[axis], points, low, high, width))

    def test_with_a_point_in_each_column_the_answer_is_exact(self, store: Any) -> None:
        self.log(store, [0, 1, 5, 9], [0.5, -1.0, 2.0, 3.0])
        found = chart_of(store, width=10)
        assert found["exact"]
        assert (found["x"], found["last"]) == ([0.0, 1.0, 5.0, 9.0], [0.5, -1.0, 2.0, 3.0])
        assert found["min"] == found["max"] == found["mean"] == found["last"]
        assert not chart_of(store, width=5)["exact"]

    def test_a_window_leaves_out_what_is_outside(self, store: Any) -> None:
        self.log(store, range(100), [float(i) for i in range(100)])
        found = chart_of(store, low=10, high=19.5, width=4)
        assert (found["count"], found["total"]) == (10, 100)
        assert (min(found["min"]), max(found["max"])) == (10.0, 19.0)
        assert chart_of(store, low=200, high=300)["count"] == 0
        assert chart_of(store, low=200)["x"] == chart_of(store, high=-5)["x"] == []
        assert chart_of(store, low=99)["x"] == [99.0]

    def test_values_that_are_not_finite_are_counted_and_shown_apart(self, store: Any) -> None:
        values: list[Any] = [1.0, math.nan, 3.0, math.inf, -math.inf, "text", None, True, math.nan, math.inf]
        self.log(store, range(10), values)
        found = chart_of(store, width=2)
        assert (found["nonfinite"], found["count_of"]) == ([3.0, 5.0], [5.0, 5.0])
        assert same([found["min"], found["max"]], [[1.0, math.nan], [3.0, math.nan]])
        assert same(found["mean"], [2.0, math.nan])
        assert same([found["odd"], found["last"]], [[-math.inf, math.inf], [-math.inf, math.inf]])

    @pytest.mark.parametrize(
        "steps", [[0, 1, 0], [0, None, 2], ["a", "b", "c"], [None] * 3, [0, math.nan, 1]], ids=str
    )
    def test_steps_that_are_no_axis_give_way_to_ordinals(self, store: Any, steps: list[Any]) -> None:
        self.log(store, steps, [1.0, 2.0, 3.0])
        found = chart_of(store, width=3)
        assert (found["axis"], found["x"]) == ("ordinal", [0.0, 1.0, 2.0])
        assert same(found["step"], [float(step) if is_number(step) else math.nan for step in steps])

    def test_an_axis_is_the_same_however_far_one_zooms_in(self, store: Any) -> None:
        self.log(store, [0, 1, 2, 3], [1.0, 2.0, 3.0, 4.0])
        self.log(store, [2, 3], [5.0, 6.0])
        assert chart_of(store, low=0, high=1)["axis"] == "ordinal"

    def test_times_need_not_ascend(self, store: Any) -> None:
        times = [5.0, 1.0, 3.0, 2.0, 4.0, 0.0]
        values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        self.log_times(store, range(4), times[:4], values[:4])
        self.log_times(store, [4, 5], times[4:], values[4:])
        points = list(zip(range(6), times, values, strict=True))
        found = chart_of(store, "time", width=2)
        assert found["axis"] == "time"
        assert _near(found, expected_chart(times, points, 0.0, 5.0, 2))
        assert _near(chart_of(store, "time", 1.5, 4.0, 2), expected_chart(times, points, 1.5, 4.0, 2))

    def test_a_time_that_is_no_number_gives_way_to_ordinals(self, store: Any) -> None:
        self.log_times(store, [0, 1], [1.0, math.nan], [1.0, 2.0])
        assert chart_of(store, "time")["axis"] == chart_of(store, "relative")["axis"] == "ordinal"
        assert chart_of(store, "step")["axis"] == "step"

    def test_relative_time_begins_with_the_trial(self, store: Any) -> None:
        self.put(store, lambda tx: tx.add_trial(trial(0, started=90.0)))
        self.log(store, [0, 1], [1.0, 2.0], first_time=100.0)
        assert chart_of(store, "relative")["x"] == [10.0, 11.0]

    def test_several_series_have_their_columns_in_common(self, store: Any) -> None:
        self.log(store, range(10), [1.0] * 10)
        self.log(store, range(5, 40), [2.0] * 35, number=1)
        keys = [(id_of(number), METRIC, "loss") for number in (0, 1, 2)]
        with store.snapshot() as view:
            window = view.chart_window(keys, "step", None, None, 8)
            *found, missing = view.chart_columns(keys, window)
        assert missing is None
        assert [(each["low"], each["high"]) for each in found] == [(0.0, 39.0)] * 2

    def test_the_columns_of_nothing_are_none(self, store: Any) -> None:
        self.log(store, [0], [1.0])
        with store.snapshot() as view:
            for key in ((id_of(0), METRIC, "other"), (id_of(9), METRIC, "loss")):
                window = view.chart_window([key], "step", None, None, 5)
                assert view.chart_columns([key], window) == [None]
                assert view.tail(key, 0, 5) is None

    def test_a_tail_from_an_ordinal_is_the_rest(self, store: Any) -> None:
        self.log(store, [0, None, 2], [1, math.inf, "text"])
        self.log(store, [3, 4], [4.0, 5.0], first_time=103.0)
        with store.snapshot() as view:
            key = (id_of(0), METRIC, "loss")
            tails = {start: view.tail(key, start, 10) for start in (0, 2, 5, 9)}
            limited = view.tail(key, 1, 2)
        assert [tails[start]["total"] for start in tails] == [5] * 4
        assert same(numbers_in(tails[0]["values"]), [1.0, math.inf, math.nan, 4.0, 5.0])
        assert same(numbers_in(tails[0]["steps"]), [0.0, math.nan, 2.0, 3.0, 4.0])
        assert numbers_in(tails[2]["times"]) == [102.0, 103.0, 104.0]
        assert (tails[5]["values"], tails[9]["values"], tails[9]["start"]) == (b"", b"", 9)
        assert numbers_in(limited["times"]) == [101.0, 102.0]

    def test_a_tail_tells_a_rewind_by_its_total(self, store: Any) -> None:
        self.log(store, range(10), [1.0] * 10)
        self.put(store, lambda tx: tx.rewind(id_of(0), 3))
        with store.snapshot() as view:
            tail = view.tail((id_of(0), METRIC, "loss"), 10, 5)
        assert (tail["start"], tail["total"], tail["values"]) == (10, 4, b"")
