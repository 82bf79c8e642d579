"""The aggregators, under their documented path."""

from __future__ import annotations

from track_protocol.aggregators import (
    Aggregator,
    RingAggregator,
    StatAggregator,
    TimeSeriesAggregator,
    ValueAggregator,
)

__all__ = [
    "Aggregator",
    "RingAggregator",
    "StatAggregator",
    "TimeSeriesAggregator",
    "ValueAggregator",
]
