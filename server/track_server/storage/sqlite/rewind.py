"""Rewinding a trial: points of later steps move from its metrics to its superseded series.

The bounds of its steps tell whether a chunk holds such points; only these are rewritten.  The others of
the same series are read, since mean and deviation of what is left cannot be had exactly from those of the
whole (a loss of 1e20 is just what is rewound), and move up.
"""

from __future__ import annotations

from typing import Any, Final

import apsw

from track_protocol.errors import SeriesDamaged, StoreCorrupt
from track_protocol.wire.batch import METRIC, SUPERSEDED
from track_protocol.wire.columns import Column
from track_server.methods.superseding import divided
from track_server.storage import exactjson
from track_server.storage.chunk_columns import encode_column, size_of
from track_server.storage.chunks import assemble, value_at
from track_server.storage.contract import Points
from track_server.storage.sqlite.append import UPDATE_SERIES, Appender, KnownSeries, is_stepped
from track_server.storage.sqlite.read import read_chunk
from track_server.storage.statistics import bounds_of, summary_of

__all__ = ["Rewinding"]

_AFFECTED: Final = """
SELECT id, name FROM series WHERE trial = ? AND kind = ?
AND EXISTS (SELECT 1 FROM chunk WHERE chunk.series = series.id AND chunk.step_max > ?) ORDER BY id
"""
_CHUNKS: Final = "SELECT id, seq, coalesce(step_max > ?, 0) FROM chunk WHERE series = ? ORDER BY seq"
_READ: Final = "SELECT data FROM chunk WHERE id = ?"
_MOVE_UP: Final = "UPDATE chunk SET seq = ? WHERE id = ?"
_REPLACE: Final = """
UPDATE chunk SET seq = ?, level = min(level, 8), count = ?, size = ?, step_min = ?, step_max = ?,
time_min = ?, time_max = ?, value_min = ?, value_max = ?, data = ? WHERE id = ?
"""
"""A chunk that was full is not any more."""


class Rewinding:
    """Moves the points of one trial that have later steps, within the open transaction.

    Args:
        db: the connection that writes.
        path: of the store, for messages.
        appender: gets the superseded points.
        trial: the trial's id.
        step: the last one that stays.
        before: with it, only points of an earlier time are moved.
    """

    def __init__(
        self,
        db: apsw.Connection,
        path: str,
        appender: Appender,
        trial: bytes,
        step: float,
        before: float | None,
    ) -> None:
        self._db = db
        self._path = path
        self._appender = appender
        self._trial = trial
        self._step = step
        self._before = before

    def run(self, row: int) -> int:
        """Move them; tells how many they were.

        Args:
            row: of the trial.

        Raises:
            SeriesDamaged: a chunk is damaged; nothing was changed.
        """
        self._appender.flush()
        try:
            with self._db:  # a savepoint: what is rejected leaves nothing behind in the transaction
                moved = self._divide_all(row)
        except StoreCorrupt as error:
            self._appender.go_back()
            raise SeriesDamaged(str(error)) from error
        return moved

    def _divide_all(self, row: int) -> int:
        affected: list[Any] = self._db.execute(_AFFECTED, (row, METRIC, self._step)).fetchall()
        return sum([self._divide(series, name) for series, name in affected])

    def _divide(self, series: int, name: str) -> int:
        left, moved = KnownSeries(series), 0
        chunks: list[Any] = self._db.execute(_CHUNKS, (self._step, series)).fetchall()
        for id, seq, is_later in chunks:
            points = Points(*read_chunk(self._path, series, seq, self._db.execute(_READ, (id,)).get))
            kept, later = divided(points, self._step, self._before) if is_later else (points, None)
            if later is not None:
                moved += len(later)
                self._appender.append(self._trial, SUPERSEDED, name, None, later)
                self._keep(id, left.count, kept)
            elif seq != left.count:
                self._db.execute(_MOVE_UP, (left.count, id))
            if kept is not None:
                _learn(left, kept)
        if left.count:
            self._db.execute(UPDATE_SERIES, left.row())
        else:
            self._db.execute("DELETE FROM series WHERE id = ?", (series,))
        self._appender.forget_series(self._trial, METRIC, name)
        return moved

    def _keep(self, id: int, seq: int, points: Points | None) -> None:
        """Leave only these points of a chunk, at this place in its series."""
        if points is None:
            self._db.execute("DELETE FROM chunk WHERE id = ?", (id,))
            return
        count, columns = len(points), (points.steps, points.times, points.values)
        encoded = (
            encode_column(points.steps, packed=True),
            encode_column(points.times, packed=True, smooth=True),
            encode_column(points.values, packed=True),
        )
        size = sum(size_of(each, count) for each in encoded)
        bounds = [bound for column in columns for bound in bounds_of(column)]
        self._db.execute(_REPLACE, (seq, count, size, *bounds, assemble(count, *encoded), id))


def _learn(known: KnownSeries, points: Points) -> None:
    """What is known of a series with some more points."""
    if not known.count:
        known.first_step = _json_at(points.steps, 0)
    known.count += len(points)
    known.last_step, known.last = _json_at(points.steps, -1), _json_at(points.values, -1)
    known.last_time = value_at(points.times, -1)
    known.stepped = known.stepped or is_stepped(points.steps)
    known.numbers = known.numbers.merge(summary_of(points.values))


def _json_at(column: Column, index: int) -> Any:
    return exactjson.dumps(value_at(column, index))
