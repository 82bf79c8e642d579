"""Columns of series that were read before."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

from track_server.storage.contract import ChartWindow, Document

__all__ = ["KnownCharts", "identity_of"]

_MOST_BYTES: Final = 16 * 1024 * 1024
"""Of all that are retained: of the charts in sight of one page."""

_OVERHEAD_BYTES: Final = 2_048
"""What one takes besides its arrays, about."""

_CHECKSUM_BYTES: Final = 4
_DIGEST_BYTES: Final = 16


def identity_of(
    series: Sequence[Any], chunks: Sequence[tuple[Any, ...]], window: ChartWindow
) -> bytes | None:
    """What the columns of a series follow from; None if it takes more than was read.

    Args:
        series: what is known of the series.
        chunks: their rows, which end in the outline and the chunk itself, as far as they were read; each of
            the two ends in its checksum.
        window: the window.
    """
    marks = []
    for *row, outline, data in chunks:
        content = outline or data
        if content is None:
            return None
        marks.append((row, content[-_CHECKSUM_BYTES:]))
    places = [(grid.low, grid.high, grid.width) for grid in (window.grid, window.ordinals)]
    described = repr((series, marks, window.axis, places, window.in_full))
    return blake2b(described.encode(), digest_size=_DIGEST_BYTES).digest()


class KnownCharts:
    """Retains columns, those that were asked for last; for any thread.

    Most series of a store have ended, and whoever opens a page again, or zooms out, asks for columns as they
    were.  To look whether a series is as it was costs a twentieth of dividing its points.
    """

    def __init__(self) -> None:
        self._found: OrderedDict[bytes, Document] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, identity: bytes) -> Document | None:
        """The columns, which must not be changed; None if they are not known."""
        with self._lock:
            found = self._found.get(identity)
            if found is not None:
                self._found.move_to_end(identity)
            return found

    def add(self, identity: bytes, columns: Document) -> None:
        """Retain columns."""
        with self._lock:
            if identity in self._found:
                return
            self._found[identity] = columns
            self._bytes += _size(columns)
            while self._bytes > _MOST_BYTES:
                _, oldest = self._found.popitem(last=False)
                self._bytes -= _size(oldest)


def _size(columns: Document) -> int:
    return _OVERHEAD_BYTES + sum(len(value) for value in columns.values() if isinstance(value, bytes))
