"""Points of a batch reach their series, or are rejected."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine_calls import Caller, points
from track_protocol.errors import ItemNotFound
from track_protocol.wire.batch import CHRONO, CallOp, PointsOp
from track_protocol.wire.columns import column_from_wire, pack, unpack
from track_server.engine.engine import Engine
from track_server.storage.sqlite.store import open_store


def test_points_are_read_back_in_the_order_they_came(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.log(points(id, steps=[3, 1], loss=[0.5, 0.25], name=["a", "b"]))
    assert ann.values(id, "loss") == [0.5, 0.25]
    assert ann.values(id, "name") == ["a", "b"]


def test_points_with_an_invalid_name_are_rejected_completely(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    acked = ann.log(points(id, 0, None, **{"loss": [1.0], "x" * 300: [2.0]}))
    assert [rejected.code for rejected in acked.rejected] == ["bad-value"]
    with pytest.raises(ItemNotFound):
        ann.read("fetch_metrics", trial=id, name="loss")


@pytest.mark.parametrize("step", [{"a": 1}, (1, [{}]), b"x"])
def test_points_whose_step_no_reader_can_use_as_a_key_are_rejected(ann: Caller, step: Any) -> None:
    id = ann.new_trial()["id"]
    acked = ann.log(points(id, steps=[step], loss=[1.0]))
    assert [rejected.code for rejected in acked.rejected] == ["bad-value"]


def test_points_of_no_trial_are_rejected_and_the_rest_is_stored(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    acked = ann.log(points(b"\0" * 16, loss=[1.0]), points(id, 1, loss=[2.0]), count=2)
    assert [(rejected.seq, rejected.code) for rejected in acked.rejected] == [(2, ItemNotFound.code)]
    assert ann.values(id, "loss") == [2.0]


# -- points that arrive after a rewind of their trial ----------------------------------------------------


class Stage:
    """A trial, the session `old` whose points come late, and `new`, which rewinds it."""

    def __init__(self, store: Any, trial: bytes | None = None) -> None:
        self.engine = Engine(store)
        self.old, self.new = Caller(self.engine), Caller(self.engine)
        self.trial = trial or self.new.new_trial()["id"]

    def rewind(self, by: Caller, step: float, time: float) -> None:
        """Rewind the trial."""
        op = CallOp(0, "rewind_trial", {"trial": self.trial, "step": step, "time": time})
        assert by.log(op).rejected == []

    def log(self, by: Caller, steps: Sequence[Any], times: Sequence[float], *names: str) -> None:
        """Log points of these steps and times, valued by their times."""
        assert by.log(self.op(steps, times, *names)).rejected == []

    def op(self, steps: Sequence[Any], times: Sequence[float], *names: str) -> PointsOp:
        """Points of these steps and times, valued by their times."""
        values = {name: list(map(float, times)) for name in names or ("loss",)}
        rows = points(self.trial, 0, list(steps), **values)
        return replace(rows, times=pack(list(map(float, times))))

    def values(self, kind: str = "metric", name: str = "loss") -> list[Any]:
        """The values, which are the times, of what is stored of a series."""
        try:
            page = self.new.read("fetch_metrics", trial=self.trial, name=name, kind=kind)
        except ItemNotFound:
            return []
        return list(unpack(column_from_wire(page["values"], len(page["times"][1]) // 8)))

    @property
    def found(self) -> Any:
        """The trial as it is stored."""
        (found,) = self.new.read("get_trial", trial={"id": self.trial})
        return found

    @property
    def counts(self) -> list[Any]:
        """How many points each rewind took."""
        return [each["points"] for each in self.found["metadata"]["rewinds"]]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(open_store(tmp_path / "store", exclusive=True))
    yield made
    made.engine.close()


def test_points_logged_before_a_rewind_are_superseded_when_they_come(stage: Stage) -> None:
    stage.log(stage.old, [1, 2, 3], [1, 2, 3])
    stage.rewind(stage.new, 2, 20.0)
    stage.log(stage.new, [3, 4], [21, 22])
    stage.log(stage.old, [4, 5], [4, 5])
    assert stage.values() == [1, 2, 21, 22]
    assert stage.values("superseded") == [3, 4, 5]
    assert stage.counts == [3]


def test_of_points_that_come_late_those_up_to_the_checkpoint_are_retained(stage: Stage) -> None:
    stage.rewind(stage.new, 2, 20.0)
    stage.log(stage.old, [3, 2, 1, 4], [3, 2, 1, 4], "loss", "rate")
    for name in ("loss", "rate"):
        assert stage.values(name=name) == [2, 1]
        assert stage.values("superseded", name) == [3, 4]
    assert stage.counts == [4]
    assert stage.found["metrics"]["loss"]["count"] == 2


def test_a_metric_of_which_all_points_are_late_is_none(stage: Stage) -> None:
    stage.rewind(stage.new, 2, 20.0)
    stage.log(stage.old, [3, 4], [3, 4])
    assert stage.found["metrics"] == {}
    assert stage.values("superseded") == [3, 4]


def test_what_is_logged_after_a_rewind_is_current_whoever_logs_it(stage: Stage) -> None:
    stage.rewind(stage.new, 2, 20.0)
    stage.log(stage.old, [3, 4, 5], [19.5, 20, 21])
    assert stage.values() == [20, 21]
    assert stage.values("superseded") == [19.5]


def test_points_of_the_session_that_rewound_are_current_whatever_its_clock_says(stage: Stage) -> None:
    stage.rewind(stage.new, 2, 20.0)
    stage.log(stage.new, [3, 4], [10, 11])
    assert stage.values() == [10, 11]
    assert stage.counts == [0]


def test_steps_that_are_no_finite_numbers_are_never_late(stage: Stage) -> None:
    stage.rewind(stage.new, 2, 20.0)
    steps = [None, "9", math.inf, math.nan, True, 3, 2.5]
    stage.log(stage.old, steps, [1, 2, 3, 4, 5, 6, 7])
    stage.log(stage.old, [None, None], [8, 9])
    assert stage.values() == [1, 2, 3, 4, 5, 8, 9]
    assert stage.values("superseded") == [6, 7]


def test_points_without_a_time_are_never_late(stage: Stage) -> None:
    stage.rewind(stage.new, 2, 20.0)
    stage.log(stage.old, [3, 4, 5], [math.nan, 1, 30])
    assert stage.values("superseded") == [1]


def test_timings_are_never_late(stage: Stage) -> None:
    stage.rewind(stage.new, 2, 20.0)
    assert stage.old.log(replace(stage.op([3, 4], [3, 4]), kind=CHRONO)).rejected == []
    assert stage.values("chrono") == [3, 4]


def test_points_of_other_trials_are_never_late(stage: Stage) -> None:
    stage.rewind(stage.new, 2, 20.0)
    stage.trial = stage.new.new_trial()["id"]
    stage.log(stage.old, [3, 4], [3, 4])
    assert stage.values() == [3, 4]


def test_of_several_rewinds_each_late_point_counts_for_the_first_that_takes_it(stage: Stage) -> None:
    stage.rewind(stage.new, 6, 20.0)
    stage.rewind(Caller(stage.engine), 2, 30.0)
    stage.log(stage.old, [1, 3, 7, 8, 9], [1, 3, 7, 25, 35], "loss", "rate")
    assert stage.values() == [1, 35]
    assert stage.values("superseded") == [3, 7, 25]
    assert stage.counts == [2, 4]


def test_points_in_one_batch_with_a_rewind_of_another_session_before_it_are_late(stage: Stage) -> None:
    op = stage.op([3], [3])
    stage.rewind(stage.new, 2, 20.0)
    again = CallOp(1, "rewind_trial", {"trial": stage.trial, "step": 2, "time": 40.0})
    after = replace(stage.op([3], [41]), offsets=2)
    stage.old.log(op, again, after)
    assert stage.values() == [41]
    assert stage.values("superseded") == [3]
    assert stage.counts == [1, 0]


def test_late_points_that_are_sent_again_count_once(stage: Stage) -> None:
    stage.rewind(stage.new, 2, 20.0)
    stage.log(stage.old, [3, 4], [3, 4])
    stage.old.seq = 0
    stage.log(stage.old, [3, 4], [3, 4])
    assert stage.values("superseded") == [3, 4]
    assert stage.counts == [2]


def test_an_overwritten_count_starts_anew(stage: Stage) -> None:
    stage.rewind(stage.new, 2, 20.0)
    rewinds = [{**stage.found["metadata"]["rewinds"][0], "points": "many", "note": "mine"}]
    op = CallOp(0, "log_trial_metadata", {"trial": stage.trial, "metadata": {"rewinds": ["mine", *rewinds]}})
    stage.new.log(op)
    stage.log(stage.old, [3], [3])
    first, second = stage.found["metadata"]["rewinds"]
    assert (first, second["points"], second["note"]) == ("mine", 1, "mine")


def test_a_rewind_that_comes_after_a_newer_one_leaves_what_was_logged_since(stage: Stage) -> None:
    oldest = Caller(stage.engine)
    stage.log(oldest, [1, 2, 3, 4], [1, 2, 3, 4])
    stage.rewind(stage.new, 3, 20.0)
    stage.log(stage.new, [4, 5], [21, 22])
    stage.rewind(stage.old, 1, 10.0)
    stage.log(stage.old, [2, 3, 4, 5], [11, 12, 13, 14])
    assert stage.values() == [1, 21, 22, 11, 12]
    assert stage.values("superseded") == [4, 2, 3, 13, 14]
    assert stage.counts == [3, 2]


def test_a_rewind_takes_everything_before_it_in_its_own_session_whatever_the_clock_says(stage: Stage) -> None:
    stage.rewind(stage.new, 2, 20.0)
    stage.log(stage.new, [3, 4], [30, 40])
    stage.rewind(stage.new, 2, 10.0)
    assert stage.values() == []
    assert stage.values("superseded") == [30, 40]
