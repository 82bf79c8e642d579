"""The aggregators, under their documented path."""

from __future__ import annotations

from track_protocol.model.aggregators import (
    Aggregator,
    RingAggregator,
    StatAggregator,
    SumAggregator,
    TimeSeriesAggregator,
    ValueAggregator,
)

__all__ = [
    "Aggregator",
    "RingAggregator",
    "StatAggregator",
    "SumAggregator",
    "TimeSeriesAggregator",
    "ValueAggregator",
]
