"""Reading all of a SQLite store to check that it is what was written, also while it is in use.

Each batch of series is read in a transaction of its own: a reader that stays would keep the log of
a running server from being emptied.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import apsw

from track_protocol.errors import BadValue, StoreCorrupt
from track_protocol.model.media import MEDIA_KINDS, blob_of
from track_protocol.model.stat import Summary
from track_protocol.wire.columns import Column, unpack
from track_server.storage import exactjson
from track_server.storage.admin import Checked
from track_server.storage.chart_columns import Buckets
from track_server.storage.chunks import BadChunk, decode_chunk
from track_server.storage.contract import Blob
from track_server.storage.numbers import as_float_bytes
from track_server.storage.outlines import BadOutline, Outline, outline_of
from track_server.storage.sql.view import SqlView
from track_server.storage.sqlite.read import SqliteSource
from track_server.storage.sqlite.schema import check_engine, generation_of, inspect, open_reader, translated
from track_server.storage.sqlite.wal_check import check_log_beside_others
from track_server.storage.statistics import bounds_of, summary_of

__all__ = ["check_sqlite", "log_of", "opened_to_read"]

_MAX_FINDINGS: Final = 1_000
_BATCH: Final = 256
_BLOB_BYTES: Final = 2**20
_TOLERANCE: Final = 1e-6

_SERIES: Final = """
SELECT id, kind, name, count, first_step, last_step, last, last_time, stepped, finite, nonfinite,
min, max, mean, m2 FROM series WHERE id > ? AND trial > 0 ORDER BY id LIMIT ?
"""
"""Those of deleted trials are left out: they are garbage, see `track_server.storage.sqlite.compact`."""

_CHUNKS: Final = """
SELECT id, seq, count, step_min, step_max, time_min, time_max, value_min, value_max, chunk.data, outline.data
FROM chunk LEFT JOIN outline ON outline.chunk = chunk.id WHERE series = ? ORDER BY seq
"""
_DANGLING: Final = (
    ("outline {} belongs to no chunk", "SELECT chunk FROM outline WHERE chunk NOT IN (SELECT id FROM chunk)"),
    ("chunk {} belongs to no series", "SELECT id FROM chunk WHERE series NOT IN (SELECT id FROM series)"),
    (
        "series {} belongs to no trial",
        "SELECT id FROM series WHERE trial > 0 AND trial NOT IN (SELECT id FROM trial)",
    ),
    (
        "trial {} names a project that does not exist",
        "SELECT uid FROM trial WHERE project_id IS NOT NULL AND project_id NOT IN (SELECT uid FROM project)",
    ),
    (
        "trial {} names a group that does not exist",
        "SELECT uid FROM trial WHERE group_id IS NOT NULL AND group_id NOT IN (SELECT uid FROM trial_group)",
    ),
    (
        "group {} names a project that does not exist",
        "SELECT uid FROM trial_group WHERE project_id IS NOT NULL "
        "AND project_id NOT IN (SELECT uid FROM project)",
    ),
    (
        "link {} joins a group and a trial of which one does not exist",
        'SELECT id FROM group_trial WHERE "group" NOT IN (SELECT id FROM trial_group) '
        "OR trial NOT IN (SELECT id FROM trial)",
    ),
    (
        "a session has a lease of trial {}, which does not exist",
        "SELECT trial FROM lease WHERE trial NOT IN (SELECT id FROM trial)",
    ),
    ("part {} belongs to no blob", "SELECT id FROM blob_part WHERE blob NOT IN (SELECT id FROM blob)"),
    (
        "a use of blob {} names a blob or a trial that does not exist",
        "SELECT blob FROM blob_use WHERE blob NOT IN (SELECT id FROM blob) "
        "OR trial NOT IN (SELECT id FROM trial)",
    ),
)
_DOCUMENTS: Final = (
    ("project", "SELECT uid, metadata FROM project"),
    ("group", "SELECT uid, metadata FROM trial_group"),
    ("trial", "SELECT uid, tags, parameters, metadata, errors FROM trial"),
)


def check_sqlite(path: Path) -> Checked:
    """Check the store in a file; see `track_server.storage.admin.StoreAdmin.check`."""
    check_engine()
    inspect(str(path))
    checked, at_rest = _check(path)
    if checked.findings and at_rest and log_of(path).exists():
        return _check(path)[0]  # a process has opened it meanwhile
    return checked


@contextmanager
def opened_to_read(path: Path) -> Iterator[tuple[apsw.Connection, bool]]:
    """A connection that leaves nothing behind, and whether no process had the store open."""
    at_rest = not log_of(path).exists()
    with translated(str(path)):
        # Where there is no log, a reader would make one and leave it; immutable, SQLite does not.
        name = f"{path.absolute().as_uri()}?immutable=1"
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        db = apsw.Connection(name, flags) if at_rest else open_reader(str(path))
        try:
            if not at_rest:
                check_log_beside_others(str(path), db)
            yield db, at_rest
        finally:
            db.close()


def log_of(path: Path) -> Path:
    """The file of a store's recent changes, which exists while a process has the store open."""
    return path.with_name(f"{path.name}-wal")


def _check(path: Path) -> tuple[Checked, bool]:
    with opened_to_read(path) as (db, at_rest):
        return _Check(db, str(path)).run(), at_rest


class _Check:
    def __init__(self, db: apsw.Connection, path: str) -> None:
        self._db = db
        self._path = path
        self._findings: list[str] = []
        self._series = self._points = self._trials = self._rejected = 0
        self._generation: str | None = None

    def run(self) -> Checked:
        steps = (
            self._integrity,
            self._tables,
            self._rejected_records,
            self._references,
            self._documents,
            self._blobs,
            self._all_series,
        )
        for step in steps:
            self._guarded(step)
        kept = list(dict.fromkeys(self._findings))
        if len(kept) > _MAX_FINDINGS:
            kept[_MAX_FINDINGS:] = [f"and {len(kept) - _MAX_FINDINGS} more findings"]
        counts = (self._trials, self._series, self._points)
        return Checked(self._generation, *counts, tuple(kept), self._rejected)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Pages that cannot be read hide what is behind them, but not from the other steps."""
        try:
            step()
        except (apsw.CorruptError, apsw.SQLError) as error:
            self._findings.append(f"tables cannot be read: {error}")
        except StoreCorrupt as error:
            self._findings.append(str(error))

    def _integrity(self) -> None:
        for (text,) in self._db.execute("PRAGMA integrity_check"):
            if text != "ok":
                self._findings.append(f"SQLite: {text}")

    def _tables(self) -> None:
        self._generation = generation_of(self._db, self._path)
        self._trials = int(self._db.execute("SELECT count(*) FROM trial").get)

    def _rejected_records(self) -> None:
        for id, runs, names in self._db.execute("SELECT id, runs, names FROM rejected ORDER BY id"):
            try:
                self._rejected += sum(last - first + 1 for first, last in exactjson.loads(runs))
                exactjson.loads(names)
            except (BadValue, TypeError, ValueError):
                self._findings.append(f"rejected record {id} has text that is not valid")

    def _references(self) -> None:
        for text, statement in _DANGLING:
            self._findings += [text.format(row) for (row,) in self._db.execute(statement)]

    def _blobs(self) -> None:
        view = SqlView(SqliteSource(self._db, self._path))
        for (digest,) in self._db.execute("SELECT digest FROM blob").fetchall():
            with self._db:
                blob = view.blob(str(digest))
                found = blob and _fault_of(view, blob)
            if found:
                self._findings.append(found)

    def _documents(self) -> None:
        for kind, statement in _DOCUMENTS:
            for uid, *texts in self._db.execute(statement):
                if not all(map(_is_json, texts)):
                    self._findings.append(f"{kind} {uid} has text that is not JSON")

    def _all_series(self) -> None:
        last = 0
        while True:
            with self._db:  # a savepoint, so that what is compared is of one moment
                rows: list[Any] = self._db.execute(_SERIES, (last, _BATCH)).fetchall()
                for row in rows:
                    self._one_series(*row)
            if not rows:
                return
            last = rows[-1][0]

    def _one_series(self, id: int, kind: str, name: str, count: int, *stored: Any) -> None:
        label = f"series {id} ({kind} {name!r})"
        seen = _Seen()
        for chunk, seq, points, *bounds, data, outline in self._db.execute(_CHUNKS, (id,)):
            try:
                columns = decode_chunk(data)
            except BadChunk as error:
                self._findings.append(f"{label}: chunk {chunk} at point {seq} is damaged: {error}")
                seen.whole = False
                continue
            if seen.whole and seq != seen.count:
                self._findings.append(f"{label}: chunk {chunk} starts at point {seq}, not at {seen.count}")
            if len(columns[1]) != points:
                self._findings.append(f"{label}: chunk {chunk} has {len(columns[1])} points, not {points}")
            if not _same_numbers(bounds, [bound for column in columns for bound in bounds_of(column)]):
                self._findings.append(f"{label}: chunk {chunk} has bounds that differ from its points")
            if outline is not None and (fault := _fault_of_outline(outline, columns)):
                self._findings.append(f"{label}: chunk {chunk} has an outline that {fault}")
            if kind in MEDIA_KINDS:
                view = SqlView(SqliteSource(self._db, self._path))
                self._findings += [f"{label}: {each}" for each in _missing_in(columns[2], view)]
            seen.take(columns)
        self._series += 1
        self._points += seen.count
        if seen.whole:
            self._findings += [f"{label}: {each}" for each in seen.differences(count, stored)]


class _Seen:
    """What the chunks of one series add up to."""

    def __init__(self) -> None:
        self.whole = True
        self.count = 0
        self._numbers = Summary()
        self._first_step: str | None = None
        self._last: tuple[str, str, float | None] | None = None
        self._stepped = False

    def take(self, columns: tuple[Column, Column, Column]) -> None:
        steps, times, values = map(unpack, columns)
        if not len(times):
            return
        if self._first_step is None:
            self._first_step = exactjson.dumps(steps[0])
        # SQLite keeps a time that is no number as NULL.
        time = None if math.isnan(times[-1]) else times[-1]
        self._last = exactjson.dumps(steps[-1]), exactjson.dumps(values[-1]), time
        self._stepped = self._stepped or any(step is not None for step in steps)
        self._numbers = self._numbers.merge(summary_of(columns[2]))
        self.count += len(times)

    def differences(self, count: int, stored: tuple[Any, ...]) -> Iterator[str]:
        if count != self.count:
            yield f"its chunks have {self.count} points, and {count} were counted"
            return
        first_step, last_step, last, last_time, stepped, finite, nonfinite, *statistics = stored
        if self._last is None:
            return
        if (first_step, last_step, last, last_time) != (
            self._first_step,
            self._last[0],
            self._last[1],
            self._last[2],
        ) or bool(stepped) != self._stepped:
            yield "its first or last point differs from its summary"
        known = self._numbers
        if (finite, nonfinite) != (known.finite, known.nonfinite):
            yield "the number counts of its summary differ from its points"
        elif finite and not _near(statistics, known):
            yield "its minimum, maximum, mean or deviation differs from its points"


def _near(stored: list[float | None], known: Summary) -> bool:
    low, high, mean, m2 = stored
    if (low, high) != (float(known.min), float(known.max)):
        return False
    if mean is None or m2 is None or not (math.isfinite(known.mean) and math.isfinite(known.m2)):
        return True  # sums that overflow depend on how the points were divided
    # How the points were divided when they arrived decides the last digits.
    scale = max(abs(known.min), abs(known.max))
    return math.isclose(mean, known.mean, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE * scale) and math.isclose(
        math.sqrt(max(m2, 0) / known.finite), math.sqrt(known.m2 / known.finite), abs_tol=_TOLERANCE * scale
    )


def _same_numbers(stored: list[Any], found: list[Any]) -> bool:
    return [None if each is None else float(each) for each in stored] == [
        None if each is None else float(each) for each in found
    ]


def _fault_of_outline(data: bytes, points: tuple[Column, Column, Column]) -> str | None:
    """What is wrong with the outline of a chunk; None if nothing is."""
    made = outline_of(*points)
    if made is None:
        return "belongs to a larger one"
    count = len(points[1])
    expected = Outline(made, count)
    try:
        found = Outline(data, count)
        same = found.traits == expected.traits and _same_buckets(found.buckets(), expected.buckets())
    except BadOutline as error:
        return f"is damaged: {error}"
    return None if same else "differs from its points"


def _same_buckets(found: Buckets, expected: Buckets) -> bool:
    """Whether they are the same; sums depend on the version of Python, and so do the last digits of means."""
    for name, one, other in zip(Buckets._fields, found, expected, strict=True):
        if len(one) != len(other):
            return False
        if name != "means":
            same = as_float_bytes(one) == as_float_bytes(other)
        else:
            scale = max(map(abs, other))
            same = all(
                math.isclose(left, right, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE * scale)
                for left, right in zip(one, other, strict=True)
            )
        if not same:
            return False
    return True


def _is_json(text: Any) -> bool:
    try:
        exactjson.loads(text)
    except (BadValue, TypeError):
        return False
    return True


def _fault_of(view: SqlView, blob: Blob) -> str | None:
    """What is wrong with a blob; None if nothing is, or if it is incomplete."""
    digest, size, stored = blob.digest, blob.size, blob.stored
    if not 0 <= stored <= size:
        return f"blob {digest} has {stored} bytes of {size}"
    found, at = hashlib.sha256(), 0
    try:
        while at < stored:
            data = view.blob_data(digest, at, _BLOB_BYTES)
            if not data:
                return f"blob {digest} lacks its bytes from {at} on"
            found.update(data)
            at += len(data)
    except StoreCorrupt as error:
        return str(error)
    return f"blob {digest} has another SHA-256" if stored == size and found.hexdigest() != digest else None


def _missing_in(values: Column, view: SqlView) -> Iterator[str]:
    """What some documents of media, the values of a series, refer to and is not there."""
    for number, value in enumerate(unpack(values)):
        digest = blob_of(value) if isinstance(value, dict) else None
        blob = None if digest is None else view.blob(digest)
        if digest is not None and (blob is None or not blob.is_complete or blob.size != value.get("size")):
            yield f"point {number} refers to the blob {digest}, which is missing or incomplete"
