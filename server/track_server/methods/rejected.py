"""What becomes of a record that can never be stored: it is quarantined, counted and reported."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from track_protocol.errors import BadValue, RPCCallFailure, StoreError
from track_protocol.model.rejected import Rejected
from track_protocol.wire.batch import Batch, CallOp, Op, PointsOp, batch_to_wire
from track_protocol.wire.codec import encode
from track_protocol.wire.link import Rejection
from track_server.methods.trial_metadata import add_dropped_points
from track_server.storage.unit_of_work import UnitOfWork

__all__ = [
    "MAX_CONTENT_BYTES",
    "POINTS",
    "known_rejections",
    "quarantine",
    "rejected",
    "rejections_of",
    "runs_of",
]

_log = logging.getLogger(__name__)

POINTS: Final = "points"
"""The `method` of rejected points, which are not a call."""

MAX_CONTENT_BYTES: Final = 64 * 1024
"""Maximum bytes of a rejected record's content that are stored."""

_THINNED: Final = "very many records of its session were rejected, and the reason of this one is not stored"

_REASON_CHARS: Final = 2_048
"""Maximum characters of a reason that are stored and reported."""


def rejected(tx: UnitOfWork, sid: bytes, user: str, first: int, op: Op, error: RPCCallFailure) -> Rejected:
    """What is quarantined of an operation that can never be stored.

    Args:
        tx: the transaction that stores what is around it.
        sid, user: the session, and whose it is.
        first: sequence number of the first record of the operation's batch.
        op: the operation, in which nothing is that was stored before.
        error: why it cannot be stored.
    """
    content = _encoded(op)
    return Rejected(
        session=sid,
        user=user,
        runs=runs_of(first + offset for offset in _offsets(op)),
        method=op.method if isinstance(op, CallOp) else POINTS,
        trial=_trial_of(tx, op),
        names=tuple(op.names) if isinstance(op, PointsOp) else (),
        points=len(op) * len(op.names) if isinstance(op, PointsOp) else 1,
        code=error.code,
        reason=str(error)[:_REASON_CHARS],
        time=time.time(),
        content=content[:MAX_CONTENT_BYTES],
        size=len(content),
    )


def quarantine(tx: UnitOfWork, record: Rejected) -> None:
    """Quarantine what can never be stored, and count it in its trial's dropped points."""
    tx.put_rejected(record)
    _count(tx, record)


def rejections_of(records: list[Rejected], first: int, last: int) -> list[Rejection]:
    """The rejections of records `first` to `last` for the client, each by its own number."""
    return [
        Rejection(seq, record.code, record.reason) for record in records for seq in record.within(first, last)
    ]


def runs_of(seqs: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Ascending numbers as pairs of the first and the last of consecutive ones."""
    runs: list[tuple[int, int]] = []
    for seq in seqs:
        if runs and seq == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], seq)
        else:
            runs.append((seq, seq))
    return tuple(runs)


def known_rejections(tx: UnitOfWork, sid: bytes, first: int, last: int) -> list[Rejection]:
    """The rejections of records `first` to `last` of a session, as far as they were stored before."""
    return [
        *rejections_of(tx.rejected_of(sid, first, last), first, last),
        *[
            Rejection(seq, each.code, _THINNED)
            for each in tx.thinned_of(sid, first, last)
            for seq in range(max(each.first, first), min(each.last, last) + 1)
        ],
    ]


@contextmanager
def _blocking_nothing(what: str) -> Iterator[None]:
    """What is wrong with a trial may be why the record is here: it must not fail on that again."""
    try:
        yield
    except StoreError:
        raise
    except Exception:  # noqa: BLE001 - whatever it is
        _log.exception("a rejected record was quarantined, but %s", what)


def _count(tx: UnitOfWork, record: Rejected) -> None:
    with _blocking_nothing("its dropped points could not be counted in its trial"):
        document = None if record.trial is None else tx.trial_fields(record.trial)
        if document is not None:
            add_dropped_points(tx, document, record.points, record.reason)


def _trial_of(tx: UnitOfWork, op: Op) -> bytes | None:
    named = op.trial if isinstance(op, PointsOp) else op.arguments.get("trial")
    if type(named) is bytes and len(named) == 16:
        return named
    with _blocking_nothing("its trial could not be found"):
        return tx.trial_id(named) if type(named) is str else None
    return None


def _offsets(op: Op) -> list[int]:
    if isinstance(op, CallOp):
        return [op.offset]
    if isinstance(op.offsets, int):
        return list(range(op.offsets, op.offsets + len(op)))
    return op.offsets.tolist()


def _encoded(op: Op) -> bytes:
    """As it travels; an operation of this process, which never travelled, may hold what cannot be."""
    try:
        return encode(batch_to_wire(Batch(1, 1, [op]))[2][0])
    except BadValue:
        return repr(op)[: 2 * MAX_CONTENT_BYTES].encode(errors="backslashreplace")
