"""Points on their way into a series: chunks and statistics, the same for every backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from track_protocol.wire.columns import Column
from track_server.storage import exactjson
from track_server.storage.chunk_columns import Encoded, encode_column, encode_times, range_of, size_of
from track_server.storage.chunks import join_columns, slice_column, value_at
from track_server.storage.contract import Chunk, Points, Series
from track_server.storage.statistics import bounds_of, summary_of

__all__ = ["add_statistics", "packed_chunk", "take_pending"]

_CHUNK_POINTS: Final = 16_384


class _Piece(NamedTuple):
    """Steps and times of one chunk to be."""

    start: int
    stop: int
    steps: Encoded
    times: Encoded
    bounds: tuple[float | None, ...]


class _Axis(NamedTuple):
    """Steps and times that several series may have in common."""

    first_step: str
    last_step: str
    last_time: float
    stepped: bool
    pieces: list[_Piece]


def take_pending(grown: Iterable[Series]) -> list[tuple[Series, Chunk]]:
    """The chunks of all points that are pending, which are part of their series from now on.

    Args:
        grown: the series that have such points.
    """
    axes: dict[tuple[int, ...], _Axis] = {}
    found, held = [], []
    for series in grown:
        # The keys of `axes` are addresses: nothing may go before the last series was looked at.
        held.append(series.pending)
        found += [(series, chunk) for chunk in _chunks(series, axes)]
        series.pending = []
    return found


def _chunks(series: Series, axes: dict[tuple[int, ...], _Axis]) -> Iterator[Chunk]:
    parts = series.pending
    shared = tuple([id(column) for part in parts for column in (part.steps, part.times)])
    axis = axes.get(shared)
    if axis is None:
        axis = axes[shared] = _axis(parts)
    values = join_columns([part.values for part in parts])
    for piece in axis.pieces:
        column = values if len(axis.pieces) == 1 else slice_column(values, piece.start, piece.stop)
        numbers = summary_of(column)
        encoded, count = encode_column(column, packed=False), piece.stop - piece.start
        size = sum(size_of(each, count) for each in (piece.steps, piece.times, encoded))
        bounds = (numbers.min, numbers.max) if numbers.finite else (None, None)
        columns = (piece.steps, piece.times, encoded)
        yield Chunk(series.count, count, size, (*piece.bounds, *bounds), columns)
        series.count += count
        series.numbers = series.numbers.merge(numbers)
    series.last = exactjson.dumps(value_at(values, -1))
    series.first_step = axis.first_step if series.first_step is None else series.first_step
    series.last_step, series.last_time = axis.last_step, axis.last_time
    series.stepped = series.stepped or axis.stepped


def _axis(parts: Sequence[Points]) -> _Axis:
    steps = join_columns([part.steps for part in parts])
    times = join_columns([part.times for part in parts])
    count = len(times)
    pieces = []
    for start in range(0, count, _CHUNK_POINTS):
        stop = min(count, start + _CHUNK_POINTS)
        pieces.append(_piece(start, stop, slice_column(steps, start, stop), slice_column(times, start, stop)))
    return _Axis(_json_at(steps, 0), _json_at(steps, -1), value_at(times, -1), _is_stepped(steps), pieces)


def _piece(start: int, stop: int, steps: Column, times: Column) -> _Piece:
    encoded = encode_column(steps, packed=False)
    of_steps = range_of(encoded, stop - start) or bounds_of(steps)
    return _Piece(start, stop, encoded, encode_column(times, packed=False), (*of_steps, *bounds_of(times)))


def _is_stepped(steps: Column) -> bool:
    return steps.code in "dq" or (steps.code == "o" and any(step is not None for step in steps.payload))


def add_statistics(series: Series, points: Points) -> None:
    """Count points that are stored already as the next ones of a series."""
    if not series.count:
        series.first_step = _json_at(points.steps, 0)
    series.count += len(points)
    series.last_step, series.last = _json_at(points.steps, -1), _json_at(points.values, -1)
    series.last_time = value_at(points.times, -1)
    series.stepped = series.stepped or _is_stepped(points.steps)
    series.numbers = series.numbers.merge(summary_of(points.values))


def packed_chunk(first: int, points: Points) -> Chunk:
    """Points as one small chunk."""
    count, columns = len(points), (points.steps, points.times, points.values)
    encoded = (
        encode_column(points.steps, packed=True),
        encode_times(points.times),
        encode_column(points.values, packed=True),
    )
    size = sum(size_of(each, count) for each in encoded)
    bounds = tuple([bound for column in columns for bound in bounds_of(column)])
    return Chunk(first, count, size, bounds, encoded)


def _json_at(column: Column, index: int) -> Any:
    return exactjson.dumps(value_at(column, index))
