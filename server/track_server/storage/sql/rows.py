"""What is written as rows of tables, and series as they are read from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from track_protocol.model.rejected import Rejected
from track_protocol.model.stat import Summary
from track_server.storage import exactjson
from track_server.storage.contract import Chunk, Document, Lease, Series, SessionState
from track_server.storage.sql.view import TRIAL_JSON

__all__ = [
    "chunk_row",
    "common_row",
    "identity_row",
    "lease_row",
    "loaded_series",
    "rejected_row",
    "session_row",
    "statistics_row",
    "trial_columns",
]

_PLAIN: Final = frozenset(
    {"uid", "hash", "revision", "name", "description", "version", "project_id", "group_id"}
    | {"created", "started", "ended"}
)


def loaded_series(
    trial: bytes,
    kind: str,
    name: str,
    id: int,
    count: int,
    first_step: str | None,
    last_step: str | None,
    last: str | None,
    last_time: float | None,
    stepped: int,
    finite: int,
    nonfinite: int,
    low: float | None,
    high: float | None,
    mean: float | None,
    m2: float | None,
) -> Series:
    """A series, from the row that was loaded."""
    numbers = Summary(finite + nonfinite, nonfinite)
    if finite:
        # A NaN, which an overflow may have left, is stored as NULL.
        known = [math.nan if each is None else each for each in (mean, m2, low, high)]
        numbers = Summary(finite + nonfinite, nonfinite, *known)
    steps = (first_step, last_step, last, last_time, bool(stepped))
    return Series(trial, kind, name, None, id, count, *steps, numbers)


def statistics_row(series: Series) -> tuple[Any, ...]:
    """What is known of a series."""
    known = series.numbers
    numbers = (known.min, known.max, known.mean, known.m2) if known.finite else (None,) * 4
    return (
        *(series.count, series.first_step, series.last_step, series.last, series.last_time, series.stepped),
        *(known.finite, known.nonfinite, *numbers),
    )


def identity_row(series: Series) -> tuple[Any, ...]:
    """What a series is."""
    spec = None if series.aggregator is None else exactjson.dumps(series.aggregator)
    return series.trial, series.kind, series.name, spec


def chunk_row(chunk: Chunk) -> tuple[Any, ...]:
    """A chunk."""
    return (chunk.first, chunk.count, chunk.size, *chunk.bounds, chunk.data)


def lease_row(lease: Lease) -> tuple[Any, ...]:
    """A lease."""
    return lease.trial, lease.sid, lease.rank, lease.superseded


def session_row(state: SessionState) -> tuple[Any, ...]:
    """A session."""
    reply = state.last_reply or (None, None)
    return state.sid, state.user, state.epoch, state.last_seq, *reply, state.partial, state.ended


def rejected_row(record: Rejected) -> tuple[Any, ...]:
    """What was rejected."""
    runs, names = exactjson.dumps([list(run) for run in record.runs]), exactjson.dumps(list(record.names))
    where = (record.first, record.last, record.session, record.user, runs, record.method, record.trial)
    why = (record.points, record.code, record.reason, record.time, record.content, record.size)
    return (*where, names, *why)


def common_row(document: Document) -> tuple[Any, ...]:
    """What projects and groups have in common."""
    metadata = exactjson.dumps(document["metadata"])
    return document["uid"], document["name"], document["description"], metadata


def trial_columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a trial document as columns of its table."""
    columns: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _PLAIN:
            columns[name] = value
        elif name in TRIAL_JSON:
            columns[name] = exactjson.dumps(value)
        elif name == "status":
            columns["status_value"], columns["status_name"] = value["value"], value["name"]
    return columns
