"""Metrics, timings, and their trials."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from track.persistence.protocol import Protocol
from track.testing.backend_support import BackendSuite
from track_protocol.errors import BadArguments, ItemNotFound
from track_protocol.model.aggregators import StatAggregator, ValueAggregator

__all__ = ["SeriesTests"]


class SeriesTests(BackendSuite):
    """Part of `BackendContract`."""

    def test_a_metric_with_steps_reads_as_a_mapping(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for step in range(3):
            protocol.log_trial_metrics(trial, step=step, loss=1.0 / (step + 1))
        assert dict(self._trial(protocol, trial).metrics["loss"]) == {0: 1.0, 1: 0.5, 2: 1.0 / 3}

    def test_a_metric_without_steps_reads_as_a_list(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for value in (0.5, 0.25):
            protocol.log_trial_metrics(trial, cost=value)
        assert list(self._trial(protocol, trial).metrics["cost"]) == [0.5, 0.25]

    @pytest.mark.parametrize(
        "values",
        [
            [0.1, -0.0, 1e300, math.inf, -math.inf],
            [1, 2**53 + 1, -(2**63), 2**63 - 1],
            ["a", "b\0c", "ünï"],
            [True, False, None],
            [1, 0.5, "mixed", None, [1, {"k": 2}]],
        ],
    )
    def test_values_read_back_as_they_were_logged(self, protocol: Protocol, values: list[Any]) -> None:
        trial = self._new(protocol, name="t")
        for value in values:
            protocol.log_trial_metrics(trial, value=value)
        assert list(self._points(protocol, trial, "value").values) == values

    def test_not_a_number_survives(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_metrics(trial, step=0, loss=math.nan)
        assert math.isnan(self._points(protocol, trial, "loss").values[0])

    @pytest.mark.parametrize("steps", [[0, 1, 2], [0.5, 1.5], ["a", "b"], [(0, 1), (0, 2)], [3, 1, 1, 2]])
    def test_steps_may_be_anything_and_are_all_retained_in_order(
        self, protocol: Protocol, steps: list[Any]
    ) -> None:
        trial = self._new(protocol, name="t")
        for step in steps:
            protocol.log_trial_metrics(trial, step=step, loss=1.0)
        assert list(self._points(protocol, trial, "loss").steps) == steps

    def test_a_rewind_supersedes_the_points_of_later_steps(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for step in range(6):
            protocol.log_trial_metrics(trial, step=step, loss=step / 2)
        protocol.rewind_trial(trial, 2)
        protocol.log_trial_metrics(trial, step=3, loss=0.25)
        found = self._points(protocol, trial, "loss")
        assert (list(found.steps), list(found.values)) == ([0, 1, 2, 3], [0.0, 0.5, 1.0, 0.25])
        history = protocol.fetch_metrics(trial, "loss", kind="superseded")
        assert (list(history.steps), list(history.values)) == ([3, 4, 5], [1.5, 2.0, 2.5])
        read = self._trial(protocol, trial)
        assert (list(read.metrics), dict(read.chronos)) == (["loss"], {})
        assert [(each["step"], each["points"]) for each in read.metadata["rewinds"]] == [(2, 3)]

    def test_points_that_have_no_number_for_a_step_stay(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for step in (None, "9", (9,), True, math.inf, 9, 9.5):
            protocol.log_trial_metrics(trial, step=step, loss=1.0)
        protocol.rewind_trial(trial, 0)
        assert list(self._points(protocol, trial, "loss").steps) == [None, "9", (9,), True, math.inf]

    @pytest.mark.parametrize("step", ["3", None, True, math.nan, (1,)])
    def test_a_rewind_to_no_number_is_refused(self, protocol: Protocol, step: Any) -> None:
        trial = self._new(protocol, name="t")
        with pytest.raises(BadArguments, match="step must be a number"):
            protocol.rewind_trial(trial, step)

    def test_many_points_are_retained_in_order(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        write = protocol.metric_writer(trial)
        for step in range(20_000):
            write(step, {"a": step * 0.5, "b": -step})
        found = self._points(protocol, trial, "a")
        assert list(found.steps) == list(range(20_000))
        assert list(found.values) == [step * 0.5 for step in range(20_000)]
        assert list(self._points(protocol, trial, "b").values) == [-step for step in range(20_000)]

    def test_an_aggregator_defines_how_a_series_reads_back(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for value in (1.0, 2.0, 3.0):
            protocol.log_trial_metrics(trial, aggregator=ValueAggregator.lazy(), last=value)
            protocol.log_trial_metrics(trial, aggregator=StatAggregator.lazy(0), stat=value)
        metrics = self._trial(protocol, trial).metrics
        assert metrics["last"] == 3.0
        assert (metrics["stat"]["avg"], metrics["stat"]["count"]) == (2.0, 3)

    def test_a_chrono_is_counted(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for _ in range(3):
            protocol.log_trial_chrono_start(trial, "epoch")
            protocol.log_trial_chrono_finish(trial, "epoch", None, None, None)
        found = self._trial(protocol, trial).chronos["epoch"]
        assert found["count"] == 3
        assert 0 <= found["min"] <= found["avg"] <= found["max"]
        assert found["unit"] == "s"

    def test_a_series_that_does_not_exist_is_not_found(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        with pytest.raises(ItemNotFound, match="nothing_here"):
            self._points(protocol, trial, "nothing_here")

    # -- context ----------------------------------------------------------------------------------

    def test_a_context_is_part_of_what_a_series_is(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for phase in ("train", "valid"):
            protocol.log_trial_metrics(trial, 1, context={"split": "a.b", "phase": phase}, loss=len(phase))
        protocol.log_trial_metrics(trial, 1, loss=0.5)
        assert {name: dict(points) for name, points in self._trial(protocol, trial).metrics.items()} == {
            'loss{phase="train",split="a.b"}': {1: 5},
            'loss{phase="valid",split="a.b"}': {1: 5},
            "loss": {1: 0.5},
        }
        found = protocol.fetch_metrics(trial, "loss", context={"phase": "train", "split": "a.b"})
        assert list(found.values) == [5]

    def test_a_series_of_a_context_is_found_by_a_query(self, protocol: Protocol) -> None:
        for name, value in (("good", 0.1), ("bad", 0.9)):
            trial = self._new(protocol, name=name)
            protocol.log_trial_metrics(trial, 1, context={"split": 'a."min'}, loss=value)
        below = {"$lt": 0.5}
        for path in ('metrics.loss{split="a.\\"min"}', 'metrics.loss{split="a.\\"min"}.min'):
            assert [trial.name for trial in protocol.fetch_trials({path: below})] == ["good"]
        assert protocol.fetch_trials({"metrics.loss": below}) == []

    def test_what_is_no_context_is_a_metric_of_that_name(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_metrics(trial, 1, context=0.25)
        assert dict(self._trial(protocol, trial).metrics["context"]) == {1: 0.25}

    def test_a_wrong_context_drops_what_it_is_about_and_nothing_else(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_metrics(trial, 1, context={"ph ase": "train"}, loss=0.5)
        protocol.log_trial_metrics(trial, 1, context={"phase": []}, loss=0.5)
        protocol.log_trial_metrics(trial, 1, cost=0.5)
        assert list(self._trial(protocol, trial).metrics) == ["cost"]

    def test_the_points_of_a_definition_are_stored(self, protocol: Protocol) -> None:
        trial = self._new(
            protocol, name="t", metrics={"loss": {0: 2.0, 1: 1.0}, "accuracy": [0.5], "last": 3.0}
        )
        found = self._trial(protocol, trial)
        assert dict(found.metrics) == {"loss": {0: 2.0, 1: 1.0}, "accuracy": [0.5], "last": [3.0]}

    def test_the_timings_of_a_definition_are_stored_and_its_statistics_counted(
        self, protocol: Protocol
    ) -> None:
        trial = self._new(
            protocol, name="t", chronos={"batch": [1.0, 3.0], "epoch": {"avg": 1.0, "count": 3}}
        )
        found = self._trial(protocol, trial)
        assert (list(found.chronos), found.chronos["batch"]["avg"]) == (["batch"], 2.0)
        assert found.metadata["dropped_points"]["points"] == 1

    # -- charts ----------------------------------------------------------------------------------

    def test_columns_of_a_series_for_a_chart(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for step in range(20):
            protocol.log_trial_metrics(trial, step=step, loss=float(step))
        series = [(trial, "metric", "loss"), (trial, "metric", "other")]
        found, missing = protocol.fetch_columns(series, width=4)
        assert missing is None
        assert found is not None
        assert (found["axis"], found["count"], found["exact"]) == ("step", 20, False)
        assert _floats(found["min"]) == [0.0, 5.0, 10.0, 15.0]
        assert _floats(found["max"]) == [4.0, 9.0, 14.0, 19.0]

    def test_columns_of_a_group_of_series_for_a_chart(self, protocol: Protocol) -> None:
        for lr, values in ((0.1, [1.0, 2.0]), (0.1, [3.0, 6.0]), (0.2, [5.0, 5.0])):
            trial = self._new(protocol, name="t", parameters={"lr": lr, "seed": values})
            for step, value in enumerate(values):
                protocol.log_trial_metrics(trial, step=step, loss=value)
        large, small = protocol.fetch_grouped_columns({}, ["parameters.lr"], "loss")
        assert (large["by"], large["series"], small["by"], small["series"]) == ([0.1], 2, [0.2], 1)
        assert (_floats(large["x"]), _floats(large["mean"])) == ([0.0, 1.0], [2.0, 4.0])
        assert (_floats(large["min"]), _floats(large["max"])) == ([1.0, 2.0], [3.0, 6.0])

    def test_the_tail_of_a_series(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for step in range(5):
            protocol.log_trial_metrics(trial, step=step, loss=step / 2)
        found, missing = protocol.fetch_tails([(trial, "metric", "loss", 3), (trial, "metric", "other", 0)])
        assert missing is None
        assert found is not None
        assert (found["start"], found["total"]) == (3, 5)
        assert (_floats(found["steps"]), _floats(found["values"])) == ([3.0, 4.0], [1.5, 2.0])


def _floats(data: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(data) // 8}d", data))
