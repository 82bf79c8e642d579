"""Charts: columns of one very long series, and of many series, beside decoding all of their chunks."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final

import apsw

from tables import Table
from track_protocol.wire.batch import METRIC
from track_protocol.wire.columns import pack
from track_server.http.frames import columns_frame
from track_server.storage.chunks import decode_chunk
from track_server.storage.contract import Points, SeriesKey
from track_server.storage.outlines import outline_of
from track_server.storage.sqlite.store import SqliteStore, open_store
from track_server.storage.unit_of_work import begin
from track_server.testing.store_support import id_of, trial

__all__ = ["measure"]

_CASES: Final = (
    ((1, 1_000_000, 1_000), (50, 5_000, 200), (50, 100_000, 200)),
    ((1, 100_000, 1_000), (10, 5_000, 200), (5, 100_000, 200)),
)
"""Series, points of each and columns of each; in full, and quick."""

_BATCH: Final = 1_000
_TIMES: Final = 5


def measure(folder: Path, quick: bool) -> None:
    """Cut series into columns in the process of the store, and print the times."""
    again = "again CPU ms"
    charts = Table(
        "series x points -> columns", "CPU ms", again, "KB", "bare CPU ms", "÷ bare", "a tail CPU ms"
    )
    outlines = Table("chunks of", "points", "bytes", "outlines %", "CPU ms to make one")
    for series, points, width in _CASES[quick]:
        store = open_store(folder / f"{series}-{points}.db", exclusive=True)
        keys = [_fill(store, number, points) for number in range(series)]
        while store.maintain(1.0):
            pass
        label = f"{series} x {points:,}"
        chunks = _chunks(store)
        answer = _columns(store, keys, width)
        if sum(each["count"] for each in answer) != series * points:
            raise RuntimeError("the columns have other points than those that were logged")
        # Of another width they were not read before; with more columns outlines may be too coarse.
        widths = count(width - 1, -1)
        seconds = _seconds(lambda: _columns(store, keys, next(widths)))  # noqa: B023 - called at once
        repeated = _seconds(lambda: _columns(store, keys, width))  # noqa: B023 - called at once
        bare = _seconds(lambda: [decode_chunk(chunk) for chunk in chunks])  # noqa: B023 - called at once
        tail = _seconds(lambda: _tails(store, keys, points - 10))  # noqa: B023 - called at once
        charts.add(
            f"{label} -> {width:,}",
            f"{1e3 * seconds:.1f}",
            f"{1e3 * repeated:.1f}",
            f"{len(columns_frame(answer)) / 1e3:.0f}",
            f"{1e3 * bare:.1f}",
            f"{seconds / bare:.2f}",
            f"{1e3 * tail / series:.2f}",
        )
        outlines.add(label, *_outlines(store, chunks))
        store.close()
    charts.print("charts: bare is the decoding of all their chunks, without looking at a point")
    outlines.print("outlines, beside merged chunks of noise")
    print()


def _fill(store: SqliteStore, number: int, points: int) -> SeriesKey:
    """A series of noise: every bit of its values is one, and the times of its points are irregular."""
    noise = random.Random(number)
    at = 1.7e9
    tx = begin(store)
    tx.add_trial(trial(number))
    tx.commit()
    for first in range(0, points, _BATCH):
        times = []
        for _ in range(_BATCH):
            at += 0.01 + 0.001 * noise.random()
            times.append(at)
        values = [noise.gauss(0.0, 1.0) for _ in range(_BATCH)]
        steps = range(first, first + _BATCH)
        tx = begin(store)
        tx.append_points(id_of(number), METRIC, "loss", None, Points(pack(steps), pack(times), pack(values)))
        tx.commit()
    return id_of(number), METRIC, "loss"


def _columns(store: SqliteStore, keys: list[SeriesKey], width: int) -> list[Any]:
    with store.snapshot() as view:
        window = view.chart_window(keys, "step", None, None, width)
        return list(view.chart_columns(keys, window))


def _tails(store: SqliteStore, keys: list[SeriesKey], start: int) -> list[Any]:
    with store.snapshot() as view:
        return [view.tail(key, start, 1_000) for key in keys]


def _chunks(store: SqliteStore) -> list[bytes]:
    db = apsw.Connection(store.path, apsw.SQLITE_OPEN_READONLY)
    found: list[Any] = db.execute("SELECT data FROM chunk").fetchall()
    db.close()
    return [data for (data,) in found]


def _outlines(store: SqliteStore, chunks: list[bytes]) -> list[str]:
    """Points and bytes of a chunk, bytes of outlines in percent, and the time to make one."""
    db = apsw.Connection(store.path, apsw.SQLITE_OPEN_READONLY)
    size = int(db.execute("SELECT sum(length(data)) FROM outline").get)
    db.close()
    total = sum(map(len, chunks))
    columns = decode_chunk(chunks[0])
    seconds = _seconds(lambda: outline_of(*columns))
    return [
        f"{len(columns[1]):,}",
        f"{len(chunks[0]):,}",
        f"{100 * size / total:.1f}",
        f"{1e3 * seconds:.1f}",
    ]


def _seconds(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(_TIMES):
        # Of the processor, since others that use it would change what is shown most of all here.
        began = time.process_time()
        call()
        taken.append(time.process_time() - began)
    return median(taken)
