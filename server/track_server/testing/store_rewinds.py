"""Rewinds: points of later steps move from a trial's metrics to its superseded series."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import pytest

from track_protocol.errors import ItemNotFound
from track_protocol.wire.batch import CHRONO, METRIC, SUPERSEDED
from track_server.testing.store_support import StoreSuite, begin, id_of, same, trial

__all__ = ["RewindTests"]


REWIND: Final = {"step": 3, "time": 20.0, "points": 0, "session": "01ff"}


class RewindTests(StoreSuite):
    """Part of `StoreContract`."""

    def rewind(self, store: Any, step: float, number: int = 0) -> int:
        """Rewind a trial in a transaction of its own."""
        tx = begin(store)
        moved = tx.rewind(id_of(number), step)
        tx.commit()
        return int(moved)

    def history(self, store: Any, name: str = "loss") -> tuple[list[Any], list[Any], list[Any]]:
        """Committed steps, times and values of what was superseded."""
        return self.read_points(store, kind=SUPERSEDED, name=name)

    def test_points_of_later_steps_leave_their_series(self, store: Any) -> None:
        self.log(store, range(10), [step / 8 for step in range(10)])
        assert self.rewind(store, 6) == 3
        assert self.read_points(store) == (
            list(range(7)),
            [100.0 + step for step in range(7)],
            [step / 8 for step in range(7)],
        )
        assert self.history(store) == ([7, 8, 9], [107.0, 108.0, 109.0], [7 / 8, 1.0, 9 / 8])

    def test_the_summary_is_that_of_what_is_left(self, store: Any) -> None:
        self.log(store, [0, 1], [1.0, 4.0], aggregator=["series"])
        self.log(store, [2, 3, 4], [2.0, 3.0, 1e200])
        self.log(store, [5, 6], [math.nan, -1e200])
        self.rewind(store, 3)
        assert self.read_trial(store)["metrics"]["loss"] == {
            "count": 4,
            "first_step": 0,
            "last_step": 3,
            "last": 3.0,
            "last_time": 101.0,
            "min": 1.0,
            "max": 4.0,
            "mean": pytest.approx(2.5),
            "sd": pytest.approx(math.sqrt(1.25)),
            "nonfinite": 0,
            "stepped": True,
            "aggregator": ["series"],
        }

    def test_documents_do_not_contain_superseded_points(self, store: Any) -> None:
        self.log(store, [0, 1, 2], [0.0, 0.5, 1.0])
        before = self.read_trial(store)
        self.log(store, [3, 4], [1.5, 2.0])
        self.rewind(store, 2)
        document = self.read_trial(store)
        assert document.keys() == before.keys()
        assert list(document["metrics"]) == ["loss"]
        assert document["chronos"] == {}

    def test_what_comes_behind_a_rewind_is_appended(self, store: Any) -> None:
        self.log(store, [0, 1, 2], [0.0, 1.0, 2.0])
        self.rewind(store, 0)
        self.log(store, [1, 2], [10.0, 20.0], first_time=200.0)
        assert self.read_points(store) == ([0, 1, 2], [100.0, 200.0, 201.0], [0.0, 10.0, 20.0])
        assert self.history(store)[2] == [1.0, 2.0]

    def test_the_history_keeps_the_order_of_all_rewinds(self, store: Any) -> None:
        self.log(store, [0, 1, 2], [0.0, 1.0, 2.0])
        self.rewind(store, 0)
        self.log(store, [1, 5, 2], [10.0, 50.0, 20.0])
        self.rewind(store, 1)
        assert self.read_points(store)[0] == [0, 1]
        assert self.history(store)[2] == [1.0, 2.0, 50.0, 20.0]

    def test_points_in_any_order_are_divided_by_their_steps(self, store: Any) -> None:
        for first in range(0, 12, 4):
            steps = [first + 3, 100 - first, first, 50]
            self.log(store, steps, [step / 4 for step in steps])
        assert self.rewind(store, 11) == 6
        assert self.read_points(store)[0] == [3, 0, 7, 4, 11, 8]
        assert self.history(store)[0] == [100, 50, 96, 50, 92, 50]

    def test_steps_that_are_no_finite_numbers_stay(self, store: Any) -> None:
        steps = [None, 7, "9", (9,), math.nan, math.inf, True, 8.5, 8, -math.inf]
        self.log(store, steps, list(range(10)))
        assert self.rewind(store, -5) == 3
        left = self.read_points(store)
        assert same(left[0], [None, "9", (9,), math.nan, math.inf, True, -math.inf])
        assert left[2] == [0, 2, 3, 4, 5, 6, 9]
        assert self.history(store)[0] == [7, 8.5, 8]

    @pytest.mark.parametrize("steps", [[math.nan, 1.0, math.inf, 2.0], [0.5, 1, 1.5, 2], [0, 2**62, 1, 2]])
    def test_steps_of_one_column_are_compared_exactly(self, store: Any, steps: list[Any]) -> None:
        self.log(store, steps, [0.0, 1.0, 2.0, 3.0])
        self.rewind(store, 1)
        later = [math.isfinite(step) and step > 1 for step in steps]
        assert same(
            self.read_points(store)[0],
            [step for step, is_later in zip(steps, later, strict=True) if not is_later],
        )
        assert self.history(store)[0] == [
            step for step, is_later in zip(steps, later, strict=True) if is_later
        ]

    def test_large_integers_are_not_rounded(self, store: Any) -> None:
        steps = [2**60 - 1, 2**60, 2**60 + 1]
        self.log(store, steps, [0.0, 1.0, 2.0])
        assert self.rewind(store, 2**60) == 1
        assert self.read_points(store)[0] == steps[:2]

    def test_a_metric_of_which_nothing_is_left_is_removed_until_it_is_logged_again(self, store: Any) -> None:
        self.log(store, [5], [0.5], name="late")
        self.log(store, [0], [1.0])
        self.rewind(store, 0)
        assert list(self.read_trial(store)["metrics"]) == ["loss"]
        with store.snapshot() as view:
            assert view.points(id_of(0), METRIC, "late", 0, 10) is None
        assert self.found(store, {"metrics.late": {"$exists": True}}) == []
        self.log(store, [1], [2.0], name="late", aggregator=["series"])
        assert list(self.read_trial(store)["metrics"]) == ["loss", "late"]
        assert self.read_points(store, name="late")[2] == [2.0]
        assert self.history(store, "late")[2] == [0.5]

    def test_chronos_and_other_trials_stay(self, store: Any) -> None:
        self.log(store, [9], [0.5], kind=CHRONO)
        self.log(store, [9], [0.5], number=1)
        self.log(store, [9], [0.5])
        assert self.rewind(store, 1) == 1
        assert self.read_points(store, kind=CHRONO)[0] == [9]
        assert self.read_points(store, number=1)[0] == [9]

    def test_without_later_points_nothing_changes(self, store: Any) -> None:
        self.log(store, [0, 1], [0.0, 1.0])
        before = self.read_trial(store)
        assert [self.rewind(store, step) for step in (1, 2.5, math.inf)] == [0, 0, 0]
        assert self.read_trial(store) == before
        with store.snapshot() as view:
            assert view.points(id_of(0), SUPERSEDED, "loss", 0, 10) is None

    def test_points_of_the_same_transaction_are_rewound(self, store: Any) -> None:
        self.log(store, [0, 1], [0.0, 1.0])
        tx = begin(store)
        tx.append_points(id_of(0), METRIC, "loss", None, self.points([2, 3], [2.0, 3.0]))
        assert tx.rewind(id_of(0), 0) == 3
        tx.append_points(id_of(0), METRIC, "loss", None, self.points([1], [10.0]))
        assert tx.rewind(id_of(0), 0) == 1
        tx.append_points(id_of(0), METRIC, "loss", None, self.points([1], [20.0]))
        assert tx.trial(id_of(0))["metrics"]["loss"]["count"] == 2
        tx.commit()
        assert self.read_points(store)[2] == [0.0, 20.0]
        assert self.history(store)[2] == [1.0, 2.0, 3.0, 10.0]

    def test_a_trial_may_be_made_logged_and_rewound_at_once(self, store: Any) -> None:
        tx = begin(store)
        tx.add_trial(trial())
        tx.append_points(id_of(0), METRIC, "loss", None, self.points([5], [0.5]))
        tx.rewind(id_of(0), 1)
        tx.append_points(id_of(0), METRIC, "loss", None, self.points([2], [0.25]))
        tx.commit()
        assert self.read_points(store)[2] == [0.25]

    def test_a_rewind_that_is_rolled_back_never_was(self, store: Any) -> None:
        self.log(store, [0, 1, 2], [0.0, 1.0, 2.0])
        self.log(store, [5], [5.0], name="late")
        before = self.read_trial(store)
        tx = begin(store)
        tx.append_points(id_of(0), METRIC, "loss", None, self.points([3], [3.0]))
        tx.rewind(id_of(0), 1)
        tx.append_points(id_of(0), METRIC, "late", None, self.points([0], [0.0]))
        tx.rollback()
        assert self.read_trial(store) == before
        self.log(store, [3], [30.0])
        assert self.read_points(store)[2] == [0.0, 1.0, 2.0, 30.0]
        assert self.rewind(store, 1) == 3
        assert self.history(store)[2] == [2.0, 30.0]

    def test_a_snapshot_from_before_still_sees_everything(self, store: Any) -> None:
        self.log(store, [0, 1, 2], [0.0, 1.0, 2.0])
        with store.snapshot() as view:
            self.rewind(store, 0)
            self.log(store, [1], [10.0])
            assert list(view.points(id_of(0), METRIC, "loss", 0, 10).values) == list(
                self.points([0, 1, 2], [0.0, 1.0, 2.0]).values
            )
            assert view.points(id_of(0), SUPERSEDED, "loss", 0, 10) is None

    def test_a_rewound_trial_is_the_same_after_reopening(self, store: Any, path: Path) -> None:
        for step in range(100):
            self.log(store, [step], [step / 4])
        self.rewind(store, 49)
        self.log(store, [50], [0.5])
        before = self.read_points(store), self.history(store)
        assert (len(before[0][0]), len(before[1][0])) == (51, 50)
        again = self.reopened(store, path)
        try:
            assert (self.read_points(again), self.history(again)) == before
            assert list(self.read_trial(again)["metrics"]) == ["loss"]
            self.log(again, [51], [0.25])
            assert self.rewind(again, 50) == 1
            assert self.history(again)[0] == [*range(50, 100), 51]
        finally:
            again.close()

    def test_rewinds_and_maintenance_do_not_disturb_each_other(self, store: Any) -> None:
        for step in range(300):
            self.log(store, [step], [step / 4])
        while store.maintain(1.0):
            pass
        self.rewind(store, 149)
        for step in range(150, 300):
            self.log(store, [step], [float(step)])
        while store.maintain(1.0):
            pass
        assert self.rewind(store, 199) == 100
        while store.maintain(1.0):
            pass
        assert self.read_points(store)[0] == list(range(200))
        assert self.read_points(store)[2] == [
            *(step / 4 for step in range(150)),
            *map(float, range(150, 200)),
        ]
        assert self.history(store)[0] == [*range(150, 300), *range(200, 300)]
        assert self.read_points(store, 149, 2)[2] == [149 / 4, 150.0]

    def test_a_long_series_is_rewound_to_its_middle(self, store: Any) -> None:
        count = 100_000
        self.log(store, range(count), [i / 7 for i in range(count)])
        assert self.rewind(store, count // 2) == count // 2 - 1
        assert self.read_points(store)[0] == list(range(count // 2 + 1))
        assert self.history(store)[2] == [i / 7 for i in range(count // 2 + 1, count)]

    def test_only_points_of_an_earlier_time_are_moved_if_asked_for(self, store: Any) -> None:
        self.log(store, [0, 5, 6], [0.0, 1.0, 2.0], first_time=100.0)
        self.log(store, [7, 1], [3.0, 4.0], first_time=200.0)
        tx = begin(store)
        assert tx.rewind(id_of(0), 1, 102.0) == 1
        assert tx.rewind(id_of(0), 1, 50.0) == 0
        tx.commit()
        assert self.read_points(store)[0] == [0, 6, 7, 1]
        assert self.history(store) == ([5], [101.0], [1.0])

    def test_a_rewind_up_to_a_time_is_the_same_after_reopening(self, store: Any, path: Path) -> None:
        self.log(store, range(10), [step / 8 for step in range(10)])
        tx = begin(store)
        assert tx.rewind(id_of(0), 3, 107.0) == 3
        tx.commit()
        again = self.reopened(store, path)
        try:
            assert self.read_points(again)[0] == [0, 1, 2, 3, 7, 8, 9]
            assert self.history(again)[0] == [4, 5, 6]
        finally:
            again.close()

    # -- remembered rewinds ----------------------------------------------------------------------

    def remembered(self, tx: Any) -> list[tuple[int, float, float, bytes]]:
        """The rewinds that a transaction reads."""
        return [(each.number, each.step, each.time, each.session) for each in tx.rewinds(id_of(0))]

    def test_rewinds_are_those_of_the_metadata(self, store: Any, path: Path) -> None:
        self.log(store, [0], [0.0])
        tx = begin(store)
        assert self.remembered(tx) == []
        tx.update_trial(id_of(0), {"metadata": {"rewinds": [REWIND, {**REWIND, "step": 7.5}]}})
        both = [(0, 3, 20.0, b"\x01\xff"), (1, 7.5, 20.0, b"\x01\xff")]
        assert self.remembered(tx) == both
        tx.commit()
        again = self.reopened(store, path) if self.persistent else store
        try:
            tx = begin(again)
            assert self.remembered(tx) == both
            tx.update_trial(id_of(0), {"metadata": {"other": 1}})
            assert self.remembered(tx) == []
            tx.rollback()
        finally:
            again.close()

    def test_rewinds_of_a_transaction_that_is_rolled_back_are_forgotten(self, store: Any) -> None:
        self.log(store, [0], [0.0])
        tx = begin(store)
        assert self.remembered(tx) == []
        tx.update_trial(id_of(0), {"metadata": {"rewinds": [REWIND]}})
        assert len(self.remembered(tx)) == 1
        tx.rollback()
        tx = begin(store)
        assert self.remembered(tx) == []
        tx.rollback()

    def test_other_changes_of_a_trial_leave_its_rewinds(self, store: Any) -> None:
        tx = begin(store)
        tx.add_trial(trial(metadata={"rewinds": [REWIND]}))
        tx.update_trial(id_of(0), {"status": {"value": 101, "name": "Running"}})
        assert len(self.remembered(tx)) == 1
        tx.commit()

    @pytest.mark.parametrize(
        "reported",
        [
            None,
            "rewinds",
            {"step": 3},
            [None, "x", 3, []],
            [{**REWIND, "step": "3"}, {**REWIND, "step": True}],
            [{**REWIND, "time": None}],
            [{**REWIND, "session": None}, {**REWIND, "session": "no hex"}],
            [{"step": 3, "time": 20.0, "points": 0}],
        ],
    )
    def test_metadata_that_reports_no_rewind_is_left_alone(self, store: Any, reported: Any) -> None:
        tx = begin(store)
        tx.add_trial(trial(metadata={"rewinds": reported}))
        assert self.remembered(tx) == []
        tx.commit()
        assert same(self.read_trial(store)["metadata"], {"rewinds": reported})

    def test_a_trial_that_is_not_there_reports_no_rewinds(self, store: Any) -> None:
        tx = begin(store)
        with pytest.raises(ItemNotFound):
            tx.rewinds(id_of(9))
        tx.rollback()

    def test_a_trial_that_is_not_there_cannot_be_rewound(self, store: Any) -> None:
        tx = begin(store)
        with pytest.raises(ItemNotFound):
            tx.rewind(id_of(9), 1)
        tx.rollback()
