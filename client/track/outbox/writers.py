"""The functions that log points: checks, one tuple, one append; what is unusual takes a longer way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from track.outbox.queue import RecordQueue
from track.outbox.records import RECORD_BYTES_LIMIT, Shape, estimate_size, plain_step
from track_protocol.errors import BadValue
from track_protocol.model.seriesname import SeriesName, check_series_name
from track_protocol.model.values import MAX_DEPTH, normalise, text_of

__all__ = ["PointWriters", "Write"]

Write = Callable[[Any, Mapping[str, Any]], None]
"""Takes a step (None for none) and values by name; the mapping must not be changed afterwards."""

_PLAIN: Final = frozenset({float, int, bool, type(None)})
_STEPS: Final = frozenset({int, float, type(None)})
_MAX_SHAPES: Final = 1_024
_MAX_NAMES: Final = 1_024
_MAX_WRITERS: Final = 1_024


class PointWriters:
    """Makes the functions that log points, one for each trial, kind and aggregator.

    Args:
        queue: where they leave their records.
        sync: called behind each log call, to wait until it is on disk; None where it need not be.
    """

    def __init__(self, queue: RecordQueue, sync: Callable[[], None] | None) -> None:
        self._queue = queue
        self._sync = sync
        self._made = lru_cache(_MAX_WRITERS)(self._make_writer)

    def writer(self, trial: bytes, kind: str, aggregator: list[Any] | None) -> Write:
        """The function that logs points of one trial, the same one each time.

        Args:
            trial: the trial's 16-byte id.
            kind: `METRIC` or `CHRONO`.
            aggregator: wire form of how the series read back; None for the default of their kind.
        """
        return self._made(trial, kind, None if aggregator is None else tuple(aggregator))

    def log(self, trial: bytes, kind: str, name: str, points: Iterable[tuple[Any, float, Any]]) -> None:
        """Log points of one series that were observed earlier, each with the time that it had.

        Args:
            trial: the trial's 16-byte id.
            kind: `METRIC` or `CHRONO`.
            name: of the series.
            points: step, time in seconds since the epoch, and value of each.
        """
        shapes: dict[tuple[str, ...], Shape] = {}
        for step, at, value in points:
            self._log_carefully(shapes, trial, kind, None, step, {name: value}, at)
        if self._sync is not None:
            self._sync()

    def _make_writer(self, trial: bytes, kind: str, aggregator: tuple[Any, ...] | None) -> Write:
        shapes: dict[tuple[str, ...], Shape] = {}
        spec = None if aggregator is None else list(aggregator)
        # Everything a log call touches is a local of this closure: that is what makes it fast.
        queue = self._queue
        records, gate, on_watermark, careful = (
            queue.records,
            queue.gate,
            queue.on_watermark,
            self._log_carefully,
        )
        append, shape_of, now, plain, plain_steps = records.append, shapes.get, time.time, _PLAIN, _STEPS

        def write(step: Any, values: Mapping[str, Any]) -> None:
            shape = shape_of(tuple(values))
            if shape is None or type(step) not in plain_steps:
                careful(shapes, trial, kind, spec, step, values)
                return
            for value in values.values():
                # The first question is the quick one.
                if type(value) is not float and type(value) not in plain:
                    careful(shapes, trial, kind, spec, step, values)
                    return
            append((shape, step, now(), values))
            if len(records) >= gate.watermark:
                on_watermark()

        return write if self._sync is None else _durable(write, self._sync)

    def _log_carefully(
        self,
        shapes: dict[tuple[str, ...], Shape],
        trial: bytes,
        kind: str,
        spec: list[Any] | None,
        step: Any,
        values: Mapping[str, Any],
        at: float | None = None,
    ) -> None:
        """Log names for the first time, or values that have to be made plain at once."""
        try:
            step = plain_step(step)
        except BadValue as error:
            self._queue.drops.drop(len(values), str(error), trial)
            return
        plain = {}
        # What was observed earlier is stored as it was then.
        for name, value in values.items() if at is not None else _flat(values.items()):
            try:
                series = check_series_name(name, kind)
                if series in plain:
                    raise BadValue(f"{series} was given twice in one call: rename one of them")
                number = normalise(value, series)
                # What is masked is missing, and a series says so as it does for numbers: by NaN.
                plain[series] = math.nan if number is None and value is not None else number
            except BadValue as error:
                self._queue.drops.drop(1, str(error), trial)
        at = time.time() if at is None else at
        names = list(plain)
        for start in range(0, len(names), _MAX_NAMES):
            part = tuple(names[start : start + _MAX_NAMES])
            shape = shapes.get(part)
            if shape is None:
                if len(shapes) >= _MAX_SHAPES:
                    shapes.clear()
                shape = Shape(trial, kind, part, None if spec is None else [spec] * len(part))
                shapes[part] = shape
            self._append_points(shape, step, at, {name: plain[name] for name in part})

    def _append_points(self, shape: Shape, step: Any, at: float, values: dict[str, Any]) -> None:
        if all(type(value) in _PLAIN for value in values.values()) and type(step) in _STEPS:
            self._queue.append((shape, step, at, values))
            return
        nbytes = shape.record_bytes + estimate_size(step) + estimate_size(list(values.values()))
        if nbytes <= RECORD_BYTES_LIMIT:
            self._queue.append_sized((shape, step, at, values, nbytes))
        elif len(values) > 1:
            for name, value in values.items():
                aggregators = shape.aggregators and shape.aggregators[:1]
                self._append_points(
                    Shape(shape.trial, shape.kind, [name], aggregators), step, at, {name: value}
                )
        else:
            reason = f"{shape.names[0]}: more than {RECORD_BYTES_LIMIT:,} bytes in one value"
            self._queue.drops.drop(1, reason, shape.trial)


def _flat(values: Iterable[tuple[Any, Any]], prefix: str = "", depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """The values of nested dicts by names with dots, as ``train.loss``; an empty one is a value."""
    for key, value in values:
        name = f"{prefix}{key if isinstance(key, str) else text_of(key)}" if prefix else key
        items = _items(value) if depth < MAX_DEPTH and isinstance(name, str) else ()
        if items:
            series = SeriesName(name)
            for path, leaf in _flat(items, f"{series.name}.", depth + 1):
                yield (SeriesName(path, series.context).text if series.context else path), leaf
        else:
            yield name, value


def _items(value: Any) -> Sequence[tuple[Any, Any]]:
    """Those of a dict that is no larger than a record of points."""
    try:
        return list(value.items()) if isinstance(value, Mapping) and len(value) <= _MAX_NAMES else ()
    except Exception:  # noqa: BLE001  # foreign code may raise anything: it is a value then, which is refused
        return ()


def _durable(write: Write, sync: Callable[[], None]) -> Write:
    """The same, but it returns when what it logged is on disk."""

    def write_durably(step: Any, values: Mapping[str, Any]) -> None:
        write(step, values)
        sync()

    return write_durably
