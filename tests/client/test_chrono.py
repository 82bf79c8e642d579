"""Timers."""

from __future__ import annotations

from track.aggregators.aggregator import StatAggregator
from track.chrono import ChronoContext
from track.serialization import to_json


def test_a_timer_adds_each_run_to_its_aggregator() -> None:
    calls: list[str] = []
    acc = StatAggregator(0)
    timer = ChronoContext(acc, lambda: calls.append("start"), lambda: calls.append("end"))
    for _ in range(3):
        with timer:
            calls.append("block")
    assert acc.count == 3
    assert 0 <= acc.min <= acc.avg <= acc.max < 1
    assert calls == ["start", "block", "end"] * 3


def test_a_timer_is_reported_with_its_statistics() -> None:
    timer = ChronoContext(StatAggregator(0))
    with timer:
        pass
    assert to_json(timer, short=True) == timer.acc.to_json(short=True)


def test_the_block_of_a_timer_gets_its_aggregator() -> None:
    acc = StatAggregator(0)
    with ChronoContext(acc) as given:
        assert given is acc
