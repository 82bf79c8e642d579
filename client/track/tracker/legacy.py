"""Databases that the older system wrote: one SQLite file for an experiment, opened only to read.

The file is never written to, and nothing appears beside it, so it may be on read-only media.  What SQLite
made of values that were no plain numbers is read as what was meant: NumPy's scalars were stored as their
bytes, and NaN as NULL.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from weakref import finalize

from track.tracker.records import RecordInfo, RunInfo, by_step, ends_of, step_of, time_shown
from track_protocol.errors import StoreCorrupt, StoreError
from track_protocol.model.stat import Summary

__all__ = ["HISTOGRAMS", "IMAGES", "TEXTS", "LegacyDatabase", "LegacyRun", "Point"]

HISTOGRAMS: Final = "histograms"
IMAGES: Final = "images"
TEXTS: Final = "texts"
"""Tables of the newer ones of these databases."""

_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    HISTOGRAMS: ("bucket_edges", "bucket_counts"),
    IMAGES: ("width", "height", "channels", "image_data"),
    TEXTS: ("content",),
}

Point = tuple[Any, float | None, Any]
"""Step, time in seconds since the epoch (None when it is not known) and value."""

_TABLES: Final = frozenset(("runs", "metrics", "records"))
_MAGIC: Final = b"SQLite format 3\0"
_HEADER: Final = 100
_APPLICATION: Final = slice(68, 72)
_WAL: Final = 2
_READ_VERSION: Final = 19
_BYTES_OF_FLOATS: Final[Mapping[int, str]] = {2: "<e", 4: "<f", 8: "<q", 1: "<b"}
_BYTES_OF_INTEGERS: Final[Mapping[int, str]] = {1: "<b", 2: "<h", 4: "<i", 8: "<q"}

_RECORDS: Final = """
SELECT coalesce(m.name, 'metric_' || r.metric_id), r.step, r.wall_time, r.value
FROM records r LEFT JOIN metrics m ON r.metric_id = m.id WHERE r.run_id = ?"""


@dataclass(frozen=True, slots=True)
class LegacyRun:
    """A run as the database has it.

    Attributes:
        run_id: its number.
        name: need not be unique.
        created_at: seconds since the epoch; None when the database does not say.
        status: running, completed or failed.
        config_text: JSON, as it was stored.
    """

    run_id: int
    name: str
    created_at: float | None
    status: str
    config_text: str | None

    @property
    def config(self) -> dict[str, Any]:
        """The hyper-parameters; what is no JSON object is found under ``config``."""
        if not self.config_text:
            return {}
        try:
            config = json.loads(self.config_text)
        except ValueError:
            config = self.config_text
        return config if isinstance(config, dict) else {"config": config}


class LegacyDatabase:
    """An experiment's database.

    Args:
        path: of the file.

    Raises:
        StoreError: it cannot be read, or is no such database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: dict[str, frozenset[str]] = {}
        with self._explained():
            self._db = self._connected()
            finalize(self, self._db.close)
            tables = _tables(self._db)
            self._columns = {table: _columns(self._db, table) for table in tables}
        if not tables >= _TABLES:
            raise StoreError(
                f"{path} contains no runs of an older tracker (the tables {', '.join(sorted(_TABLES))}): "
                "choose another file"
            )

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether there is such a database; no other SQLite file is opened by this."""
        try:
            with path.open("rb") as file:
                header = file.read(_HEADER)
        except OSError:
            return False
        if not header.startswith(_MAGIC) or any(header[_APPLICATION]):
            return False
        try:
            LegacyDatabase(path)
        except StoreError:
            return False
        return True

    # -- as `ExperimentDBManager` shows it -------------------------------------------------------

    def get_all_runs(self) -> list[RunInfo]:
        """Every run, newest first."""
        counts = self.counts()
        runs = sorted(self.runs(), key=lambda run: (run.created_at or 0.0, run.run_id), reverse=True)
        return [_info(run, counts.get(run.run_id, {})) for run in runs]

    def get_run(self, run_id: int) -> RunInfo | None:
        """A run, or None."""
        found = self.runs(run_id)
        return _info(found[0], self.counts(run_id).get(run_id, {})) if found else None

    def get_metrics(self, run_id: int) -> list[str]:
        """Names of a run's metrics, in the order in which they were first recorded."""
        return list(self.counts(run_id).get(run_id, {}))

    def get_records(self, run_id: int, metric_name: str) -> list[RecordInfo]:
        """The points of a metric, by step."""
        found = [
            RecordInfo(step=step, value=value, log_time=math.nan if time is None else time)
            for name, (step, time, value) in self.points(run_id)
            if name == metric_name
        ]
        return sorted(found, key=by_step)

    def get_metric_summary(self, run_id: int) -> dict[str, dict[str, Any]]:
        """Statistics of each metric of a run; here all its points have to be read for that."""
        series: dict[str, list[Point]] = {}
        for name, point in self.points(run_id):
            series.setdefault(name, []).append(point)
        return {name: _summarised(points) for name, points in series.items()}

    def get_metric_summaries(self) -> dict[int, dict[str, dict[str, Any]]]:
        """The same of every run."""
        return {run.run_id: self.get_metric_summary(run.run_id) for run in self.runs()}

    def get_comp_graph(self, graph_id: int) -> dict[str, Any] | None:
        """The graph of that id, or None."""
        found = list(self._rows("graphs", "SELECT graph_json FROM graphs WHERE id = ?", graph_id))
        return dict(json.loads(found[0][0])) if found else None

    def get_comp_graphs(self, run_id: int) -> list[dict[str, Any]]:
        """The graphs of a run, oldest first."""
        query = "SELECT id, graph_json, created_at FROM graphs WHERE run_id = ? ORDER BY created_at, id"
        return [
            {"id": row[0], "graph": json.loads(row[1]), "created_at": row[2]}
            for row in self._rows("graphs", query, run_id)
        ]

    def get_histograms(self, run_id: int) -> dict[str, list[dict[str, Any]]]:
        """The histograms of a run by name; none where the database is older than they are."""
        return _grouped(self.media(HISTOGRAMS, run_id))

    def get_images(self, run_id: int) -> dict[str, list[dict[str, Any]]]:
        """The images of a run by name; none where the database is older than they are."""
        found = _grouped(self.media(IMAGES, run_id))
        for image in (image for images in found.values() for image in images):
            data = image["image_data"]
            image["data_b64"] = base64.b64encode(data).decode() if isinstance(data, bytes) else None
        return found

    def get_texts(self, run_id: int) -> dict[str, list[dict[str, Any]]]:
        """The texts of a run by name; none where the database is older than they are."""
        return _grouped(self.media(TEXTS, run_id))

    # -- as it is, to be imported ----------------------------------------------------------------

    def runs(self, run_id: int | None = None) -> list[LegacyRun]:
        """All runs in order of their numbers, or the one of that number."""
        query = "SELECT id, name, created_at, status, config FROM runs"
        if run_id is None:
            rows = self._rows("runs", f"{query} ORDER BY id")
        else:
            rows = self._rows("runs", f"{query} WHERE id = ?", run_id)
        return [
            LegacyRun(int(row[0]), str(row[1]), _number(row[2], _BYTES_OF_FLOATS), str(row[3]), _text(row[4]))
            for row in rows
        ]

    def counts(self, run_id: int | None = None) -> dict[int, dict[str, int]]:
        """How many records each metric of each run, or of one, has; metrics in the order of their first."""
        where, given = ("", ()) if run_id is None else ("WHERE r.run_id = ?", (run_id,))
        query = f"""
        SELECT r.run_id, coalesce(m.name, 'metric_' || r.metric_id), count(*)
        FROM records r LEFT JOIN metrics m ON r.metric_id = m.id {where}
        GROUP BY r.run_id, r.metric_id ORDER BY r.run_id, min(r.id)"""  # noqa: S608 - of constants only
        found: dict[int, dict[str, int]] = {}
        for run, name, count in self._rows("records", query, *given):
            counted = found.setdefault(run, {})
            counted[name] = counted.get(name, 0) + count
        return found

    def points(self, run_id: int) -> Iterator[tuple[str, Point]]:
        """Every record of a run in the order in which it was made: name of the metric, and the point."""
        for name, step, time, value in self._rows("records", f"{_RECORDS} ORDER BY r.id", run_id):
            point = (
                _number(step, _BYTES_OF_INTEGERS),
                _number(time, _BYTES_OF_FLOATS),
                math.nan if value is None else _number(value, _BYTES_OF_FLOATS),
            )
            yield str(name), point

    def media(self, table: str, run_id: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """What a run has in one of the newer tables, in the order in which it was made.

        Args:
            table: `HISTOGRAMS`, `IMAGES` or `TEXTS`.
            run_id: the run.

        Returns:
            the name, and ``step``, ``wall_time``, ``log_time`` and the fields of the table by their names.
        """
        columns, fields = self._columns.get(table, frozenset()), _FIELDS[table]
        if not columns >= {"run_id", "name", "step", *fields}:
            return
        time = next((each for each in ("wall_time", "created_at") if each in columns), "NULL")
        query = (
            f"SELECT name, step, {time}, {', '.join(fields)} FROM {table} "  # noqa: S608 - of constants only
            "WHERE run_id = ? ORDER BY rowid"
        )
        for name, step, wall_time, *values in self._rows(table, query, run_id):
            record = dict(zip(fields, values, strict=True))
            if table == HISTOGRAMS:
                record = {field: _listed(value) for field, value in record.items()}
            yield (
                str(name),
                {
                    "step": _number(step, _BYTES_OF_INTEGERS),
                    "wall_time": wall_time,
                    "log_time": wall_time,
                    **record,
                },
            )

    # -- inside ----------------------------------------------------------------------------------

    def _rows(self, table: str, query: str, *given: Any) -> Iterator[Any]:
        if table in self._columns:
            with self._explained():
                yield from self._db.execute(query, given)

    def _connected(self) -> sqlite3.Connection:
        """A connection to the file, or to a copy of it when SQLite would have to write in order to read."""
        try:
            with self.path.open("rb") as file:
                header = file.read(_HEADER)
            if header[_READ_VERSION : _READ_VERSION + 1] != bytes([_WAL]):
                return _connection(self.path)
        except sqlite3.OperationalError:
            pass  # its program was killed in the middle of a write, which has to be undone first
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read ({error.strerror}): correct the path") from error
        folder = Path(tempfile.mkdtemp(prefix="track-"))
        finalize(self, shutil.rmtree, folder, ignore_errors=True)
        for suffix in ("", "-journal", "-wal"):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                shutil.copyfile(part, folder / part.name)
        copied = folder / self.path.name
        with contextlib.closing(sqlite3.connect(copied)) as db:
            db.execute("PRAGMA journal_mode=DELETE").fetchall()
        return _connection(copied)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"{self.path} cannot be read ({error}): check whether its program still writes to it"
            ) from error
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(
                f"{self.path} is not a database, or it is damaged ({error}): restore a copy of it"
            ) from error


def _connection(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing.

    Raises:
        sqlite3.OperationalError: the file cannot be read without changing something.
    """
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0, check_same_thread=False
    )
    try:
        db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.DatabaseError:
        db.close()
        raise
    # What is no UTF-8 in one text must not hinder the rest from being read.
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db


def _tables(db: sqlite3.Connection) -> frozenset[str]:
    return frozenset(name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))


def _columns(db: sqlite3.Connection, table: str) -> frozenset[str]:
    return frozenset(name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,)))


def _info(run: LegacyRun, counts: Mapping[str, int]) -> RunInfo:
    return RunInfo(
        run_id=run.run_id,
        name=run.name,
        created_at=time_shown(run.created_at),
        status=run.status,
        config=run.config,
        num_records=list(counts.values()),
        metrics=list(counts),
        full_status=run.status,
    )


def _grouped(media: Iterator[tuple[str, dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """By name, each by step."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, record in media:
        found.setdefault(name, []).append(record)
    return {name: sorted(some, key=step_of) for name, some in found.items()}


def _number(raw: Any, formats: Mapping[int, str]) -> Any:
    """What was meant by a value that SQLite holds: of a scalar of NumPy it has the bytes."""
    if isinstance(raw, bytes):
        wanted = formats.get(len(raw))
        return raw if wanted is None else struct.unpack(wanted, raw)[0]
    if isinstance(raw, str):
        return _parsed(raw, float) if formats is _BYTES_OF_FLOATS else _parsed(raw, int)
    return raw


def _parsed(text: str, convert: Callable[[str], Any]) -> Any:
    try:
        return convert(text)
    except ValueError:
        return text


def _text(raw: Any) -> str | None:
    if isinstance(raw, bytes):
        return raw.decode("utf-8", "replace")
    return None if raw is None else str(raw)


def _listed(raw: Any) -> list[Any]:
    """A list that was stored as JSON; bytes that are none are doubles, as NumPy has them."""
    if isinstance(raw, bytes):
        try:
            return list(json.loads(raw))
        except ValueError:
            return list(struct.unpack(f"<{len(raw) // 8}d", raw[: len(raw) // 8 * 8]))
    return list(json.loads(raw)) if isinstance(raw, str) else []


def _summarised(points: list[Point]) -> dict[str, Any]:
    numbers = [float(value) for _, _, value in points if isinstance(value, int | float)]
    summary = Summary.of(numbers)
    known = bool(summary.finite)
    last, first_step, last_step = ends_of([step for step, _, _ in points], [value for _, _, value in points])
    return {
        "min": summary.min if known else None,
        "max": summary.max if known else None,
        "mean": summary.mean if known else None,
        "std": summary.sd if known else None,
        "last": last,
        "n": len(points),
        "first_step": first_step,
        "last_step": last_step,
    }
