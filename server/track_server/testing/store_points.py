"""Points of series: appended, summarised, read back in slices."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from track_protocol.wire.batch import CHRONO, METRIC
from track_protocol.wire.columns import Column, pack
from track_server.testing.store_support import StoreSuite, begin, id_of, same, trial

__all__ = ["PointsTests"]

VALUES: dict[str, list[Any]] = {
    "floats": [0.5, -0.0, 1e300, 5e-324],
    "odd floats": [math.nan, math.inf, -math.inf, 1.0],
    "ints": [0, -1, 2**63 - 1, -(2**63)],
    "numbers of both kinds": [1, 2.5, 3, 2**60],
    "flags": [True, False, True, True],
    "nothing": [None, None, None, None],
    "strings": ["", "naïve 😀", "a\x00b", "nan"],
    "tuples": [(1, "a"), (), (1, (2.5, None)), (math.nan,)],
    "containers": [[1, [2]], {"a": (1,)}, {1: b"\x00"}, []],
    "a mix": [None, 1, "two", (3.0,)],
}


class PointsTests(StoreSuite):
    """Part of `StoreContract`."""

    @pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
    def test_values_of_every_type_read_back_exactly(self, store: Any, values: list[Any]) -> None:
        self.log(store, [0, 1, 2, 3], values)
        steps, times, read = self.read_points(store)
        assert (steps, times) == ([0, 1, 2, 3], [100.0, 101.0, 102.0, 103.0])
        assert same(read, values)

    @pytest.mark.parametrize("steps", VALUES.values(), ids=VALUES)
    def test_steps_of_every_type_read_back_exactly(self, store: Any, steps: list[Any]) -> None:
        self.log(store, steps, [0.0, 0.1, 0.2, 0.3])
        read, _, values = self.read_points(store)
        assert same(read, steps)
        assert values == [0.0, 0.1, 0.2, 0.3]

    @pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
    def test_values_of_every_type_are_there_after_reopening(
        self, store: Any, path: Path, values: list[Any]
    ) -> None:
        self.log(store, values, values)
        before = self.read_trial(store)
        again = self.reopened(store, path)
        try:
            steps, _, read = self.read_points(again)
            assert same([steps, read], [values, values])
            assert _near(self.read_trial(again)["metrics"]["loss"], before["metrics"]["loss"])
        finally:
            again.close()

    @pytest.mark.parametrize(
        ("start", "limit"), [(0, 4), (0, 100), (1, 2), (3, 7), (9, 1), (9, 5), (5, 0), (10, 1), (99, 1)]
    )
    def test_slices_across_chunks_are_exact(self, store: Any, start: int, limit: int) -> None:
        for first in range(0, 10, 3):
            steps = list(range(first, min(first + 3, 10)))
            self.log(store, steps, [step / 8 for step in steps], first_time=float(first))
        steps, times, values = self.read_points(store, start, limit)
        expected = list(range(10))[start : start + limit]
        assert steps == expected
        assert times == [float(step) for step in expected]
        assert values == [step / 8 for step in expected]

    def test_chunks_of_different_types_read_back_as_one_series(self, store: Any) -> None:
        self.log(store, [0, 1], [1, 2])
        self.log(store, [None, None], [0.5, math.nan])
        self.log(store, ["a", (1, 2)], ["text", None])
        steps, _, values = self.read_points(store)
        assert same(steps, [0, 1, None, None, "a", (1, 2)])
        assert same(values, [1, 2, 0.5, math.nan, "text", None])

    def test_repeated_and_unordered_steps_are_all_retained_as_they_came(self, store: Any) -> None:
        self.log(store, [5, 3, 3], [1.0, 2.0, 3.0])
        self.log(store, [0, 5], [4.0, 5.0])
        steps, _, values = self.read_points(store)
        assert (steps, values) == ([5, 3, 3, 0, 5], [1.0, 2.0, 3.0, 4.0, 5.0])
        summary = self.read_trial(store)["metrics"]["loss"]
        assert (summary["first_step"], summary["last_step"], summary["last"]) == (5, 5, 5.0)

    def test_metrics_and_chronos_have_names_of_their_own(self, store: Any) -> None:
        self.log(store, [1], [0.5], kind=METRIC, name="same")
        self.log(store, [None], [2.5], kind=CHRONO, name="same")
        self.log(store, [1], [9.0], number=1, name="same")
        assert self.read_points(store, name="same")[2] == [0.5]
        assert self.read_points(store, kind=CHRONO, name="same")[2] == [2.5]
        document = self.read_trial(store)
        assert document["metrics"]["same"]["last"] == 0.5
        assert document["chronos"]["same"]["last"] == 2.5

    def test_series_are_listed_in_order_of_creation(self, store: Any) -> None:
        for name in ("z", "a", "naïve 😀", "$dollar", "a.b", "z"):
            self.log(store, [0], [1.0], name=name)
        assert list(self.read_trial(store)["metrics"]) == ["z", "a", "naïve 😀", "$dollar", "a.b"]

    def test_the_summary_of_numbers_is_complete(self, store: Any) -> None:
        self.log(store, [0, 1], [1.0, 4.0], aggregator=["series"])
        self.log(store, [2, 3], [2.0, 3.0], aggregator=["ignored", "from now on"], first_time=200.0)
        assert self.read_trial(store)["metrics"]["loss"] == {
            "count": 4,
            "first_step": 0,
            "last_step": 3,
            "last": 3.0,
            "last_time": 201.0,
            "min": 1.0,
            "max": 4.0,
            "mean": pytest.approx(2.5),
            "sd": pytest.approx(math.sqrt(1.25)),
            "nonfinite": 0,
            "stepped": True,
            "aggregator": ["series"],
        }

    def test_the_summary_counts_what_is_not_finite_and_leaves_it_out(self, store: Any) -> None:
        self.log(store, [0, 1, 2], [math.nan, 1.0, math.inf])
        self.log(store, [3, 4], [3.0, -math.inf])
        summary = self.read_trial(store)["metrics"]["loss"]
        assert (summary["count"], summary["nonfinite"], summary["last"]) == (5, 3, -math.inf)
        assert (summary["min"], summary["max"]) == (1.0, 3.0)
        assert (summary["mean"], summary["sd"]) == (pytest.approx(2.0), pytest.approx(1.0))

    def test_a_last_value_that_is_nan_is_nan(self, store: Any) -> None:
        self.log(store, [0], [math.nan])
        summary = self.read_trial(store)["metrics"]["loss"]
        assert math.isnan(summary["last"])
        assert [summary[name] for name in ("min", "max", "mean", "sd")] == [None] * 4

    @pytest.mark.parametrize("values", [["a", "b"], [None, None], [True, False], [(1,), [2]]])
    def test_without_numbers_the_statistics_are_none(self, store: Any, values: list[Any]) -> None:
        self.log(store, [0, 1], values)
        summary = self.read_trial(store)["metrics"]["loss"]
        assert [summary[name] for name in ("min", "max", "mean", "sd")] == [None] * 4
        assert (summary["count"], summary["nonfinite"]) == (2, 0)
        assert same(summary["last"], values[-1])

    def test_numbers_among_other_values_are_summarised(self, store: Any) -> None:
        self.log(store, [0, 1, 2, 3, 4], [1, "text", 4.0, True, math.nan])
        summary = self.read_trial(store)["metrics"]["loss"]
        assert (summary["count"], summary["nonfinite"]) == (5, 1)
        assert (summary["min"], summary["max"], summary["mean"]) == (1, 4, pytest.approx(2.5))

    def test_points_without_steps_are_not_stepped(self, store: Any) -> None:
        self.log(store, [None, None], [1.0, 2.0])
        summary = self.read_trial(store)["metrics"]["loss"]
        assert (summary["first_step"], summary["last_step"], summary["stepped"]) == (None, None, False)

    def test_one_step_makes_a_series_stepped(self, store: Any) -> None:
        self.log(store, [None], [1.0])
        self.log(store, [None, 0, None], [2.0, 3.0, 4.0])
        summary = self.read_trial(store)["metrics"]["loss"]
        assert (summary["first_step"], summary["last_step"], summary["stepped"]) == (None, None, True)

    def test_step_zero_is_a_step(self, store: Any) -> None:
        self.log(store, [0], [1.0])
        summary = self.read_trial(store)["metrics"]["loss"]
        assert (summary["first_step"], summary["last_step"], summary["stepped"]) == (0, 0, True)
        assert summary["first_step"] is not None

    def test_the_aggregator_is_the_one_the_series_was_created_with(self, store: Any) -> None:
        self.log(store, [0], [1.0], aggregator=None)
        self.log(store, [1], [1.0], aggregator=["series"])
        self.log(store, [0], [1.0], aggregator=["ring", 3, 1], name="other")
        metrics = self.read_trial(store)["metrics"]
        assert (metrics["loss"]["aggregator"], metrics["other"]["aggregator"]) == (None, ["ring", 3, 1])

    def test_logged_and_returned_containers_may_be_changed_once_committed(self, store: Any) -> None:
        value: list[Any] = [1]
        column = Column("o", [value])
        tx = begin(store)
        tx.add_trial(trial())
        tx.append_points(id_of(0), METRIC, "loss", None, self.points_of(pack([0]), pack([1.0]), column))
        tx.commit()
        for changed in (column.payload, self.read_points(store)[2]):
            changed[0].append(2)
            changed.append("more")
        assert self.read_points(store)[2] == [[1]]
        assert self.read_trial(store)["metrics"]["loss"]["last"] == [1]

    def test_many_small_appends_to_many_series_are_all_there(self, store: Any) -> None:
        for step in range(150):
            tx = begin(store)
            if step == 0:
                tx.add_trial(trial())
            for name in ("a", "b", "c"):
                tx.append_points(id_of(0), METRIC, name, None, self.points([step], [step / 4], float(step)))
            tx.commit()
        for name in ("a", "b", "c"):
            steps, times, values = self.read_points(store, name=name)
            assert steps == list(range(150))
            assert times == [float(step) for step in range(150)]
            assert values == [step / 4 for step in range(150)]

    def test_a_large_append_reads_back_at_once_and_in_pages(self, store: Any) -> None:
        count = 100_000
        self.log(store, range(count), [i / 7 for i in range(count)])
        assert self.read_points(store)[0] == list(range(count))
        page = self.read_points(store, 65_000, 1_000)
        assert page[0] == list(range(65_000, 66_000))
        assert page[2] == [i / 7 for i in range(65_000, 66_000)]

    def test_maintenance_changes_nothing_that_can_be_seen(self, store: Any) -> None:
        for step in range(200):
            self.log(store, [step], [step / 4])
            self.log(store, [str(step)], [math.nan if step % 5 else step], name="odd")
        before = self.read_trial(store)
        while store.maintain(1.0):
            pass
        assert same(self.read_trial(store), before)
        steps, _, values = self.read_points(store)
        assert (steps, values) == (list(range(200)), [step / 4 for step in range(200)])
        steps, _, values = self.read_points(store, 3, 4, name="odd")
        assert same([steps, values], [["3", "4", "5", "6"], [math.nan, math.nan, 5, math.nan]])

    def test_a_series_continues_after_maintenance(self, store: Any, path: Path) -> None:
        for step in range(100):
            self.log(store, [step], [step / 4])
        while store.maintain(1.0):
            pass
        self.log(store, [100], [25.0])
        assert self.read_points(store)[0] == list(range(101))
        again = self.reopened(store, path)
        try:
            assert self.read_points(again)[0] == list(range(101))
        finally:
            again.close()


def _near(left: dict[str, Any], right: dict[str, Any]) -> bool:
    rounded = ("mean", "sd")
    exact = {name: value for name, value in left.items() if name not in rounded}
    return same(exact, {name: right[name] for name in exact}) and all(
        left[name] == pytest.approx(right[name]) for name in rounded
    )
