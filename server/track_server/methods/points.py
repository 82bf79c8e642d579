"""Points of a batch: checked, parted by the rewinds of their trial, appended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from track_protocol.errors import ItemNotFound
from track_protocol.model.aggregators import aggregator_from_spec
from track_protocol.model.seriesname import check_series_name
from track_protocol.model.steps import as_step
from track_protocol.model.values import normalise
from track_protocol.wire.batch import METRIC, PointsOp
from track_protocol.wire.columns import Column, pack
from track_server.methods.rewinds import supersede_late
from track_server.storage.contract import Points, Transaction

__all__ = ["append"]


def _checked_column(column: Column, as_what: Callable[[Any], Any] = lambda value: value) -> Column:
    """A column whose arbitrary values are ones that can be kept."""
    if column.code != "o":
        return column
    return pack([as_what(normalise(value)) for value in column.payload])


def append(tx: Transaction, by: bytes, op: PointsOp) -> None:
    """Append rows of points to series of one trial."""
    if not tx.has_trial(op.trial):
        raise ItemNotFound(f"no trial has the id {op.trial.hex()}: create it with new_trial first")
    aggregators = op.aggregators or [None] * len(op.names)
    for name, aggregator in zip(op.names, aggregators, strict=True):
        check_series_name(name)
        if aggregator is not None:
            aggregator_from_spec(aggregator)
    steps = _checked_column(op.steps, as_step)
    new = [Points(steps, op.times, _checked_column(column)) for column in op.values]
    if op.kind == METRIC and (rewinds := tx.rewinds(op.trial)):
        new = supersede_late(tx, by, op.trial, rewinds, op.names, new)
        if not new:
            return
    for name, aggregator, points in zip(op.names, aggregators, new, strict=True):
        tx.append_points(op.trial, op.kind, name, aggregator, points)
