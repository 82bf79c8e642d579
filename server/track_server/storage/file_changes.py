"""Changes of a store as bytes, and back: what a journal's frame holds.

A transaction is a msgpack array of changes; each change is an array of its kind and the arguments of
the primitive that made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgpack

from track_protocol.errors import StoreCorrupt, TrackError
from track_protocol.model.rejected import Rejected, rejected_from_document, rejected_to_document
from track_protocol.wire.codec import decode_own, encode
from track_protocol.wire.columns import Column
from track_server.storage.contract import Document, Lease, Points, SessionState, Transaction
from track_server.storage.journal import Frame
from track_server.storage.memory import MemoryTransaction
from track_server.storage.memory_series import FULL_CHUNK, joined
from track_server.storage.memory_tables import Tables

__all__ = ["RecordingTransaction", "replay"]

_PROJECT: Final = "project"
_GROUP: Final = "group"
_TRIAL: Final = "trial"
_UPDATE: Final = "update"
_DELETE: Final = "delete"
_LINK: Final = "link"
_POINTS: Final = "points"
_REWIND: Final = "rewind"
_SESSION: Final = "session"
_REJECTED: Final = "rejected"
_LEASE: Final = "lease"
_NO_LEASE: Final = "no lease"
_BLOB: Final = "blob"
_CUT_BLOB: Final = "cut blob"
_NO_BLOB: Final = "no blob"
_USE: Final = "use"
_NO_USES: Final = "no uses"

_SEE_POINTS: Final = frozenset({_DELETE, _REWIND})
"""What comes out otherwise if points before it come behind it."""


class RecordingTransaction(MemoryTransaction):
    """A transaction in memory that is written down before it is committed.

    Each change is encoded before it is made: one that cannot be written down changes nothing, and
    what the caller does with a document later has no effect.

    Args:
        tables: as for `MemoryTransaction`.
        ended: as for `MemoryTransaction`.
        write: takes the bytes of a transaction that changes something; when it raises, the
            transaction is rolled back.
    """

    def __init__(self, tables: Tables, ended: Callable[[], None], write: Callable[[bytes], None]) -> None:
        super().__init__(tables, ended)
        self._write = write
        self._changes: list[bytes] = []

    def put_project(self, document: Document) -> None:
        """Insert or replace by ``uid``; ``groups`` and ``trials`` are ignored."""
        change = encode([_PROJECT, document])
        super().put_project(document)
        self._changes.append(change)

    def put_group(self, document: Document) -> None:
        """Insert or replace by ``uid``; ``trials`` is ignored."""
        change = encode([_GROUP, document])
        super().put_group(document)
        self._changes.append(change)

    def add_trial(self, document: Document) -> None:
        """Insert a trial; its ``id`` and ``uid`` are new. ``metrics`` and ``chronos`` are ignored."""
        change = encode([_TRIAL, document])
        super().add_trial(document)
        self._changes.append(change)

    def update_trial(self, id: bytes, changes: Mapping[str, Any]) -> None:
        """Replace some top-level fields (any but id, metrics, chronos) of an existing trial."""
        change = encode([_UPDATE, id, dict(changes)])
        super().update_trial(id, changes)
        self._changes.append(change)

    def delete_trial(self, id: bytes) -> None:
        """Delete a trial with its series, links and leases."""
        change = encode([_DELETE, id])
        super().delete_trial(id)
        self._changes.append(change)

    def link(self, group_uid: str, trial: bytes) -> None:
        """Put a trial into a group; harmless when it is in already."""
        change = encode([_LINK, group_uid, trial])
        super().link(group_uid, trial)
        self._changes.append(change)

    def append_points(
        self, trial: bytes, kind: str, name: str, aggregator: list[Any] | None, points: Points
    ) -> None:
        """Append to a series of an existing trial, which the first points create."""
        columns = [list(column) for column in (points.steps, points.times, points.values)]
        change = encode([_POINTS, trial, kind, name, aggregator, *columns])
        super().append_points(trial, kind, name, aggregator, points)
        self._changes.append(change)

    def rewind(self, trial: bytes, step: float, before: float | None = None) -> int:
        """Move the points of later steps from a trial's metrics to its superseded series."""
        change = encode([_REWIND, trial, step, before])
        moved = super().rewind(trial, step, before)
        self._changes.append(change)
        return moved

    def put_session(self, state: SessionState) -> None:
        """Insert or replace by ``sid``."""
        reply = None if state.last_reply is None else list(state.last_reply)
        change = encode([_SESSION, state.sid, state.user, state.epoch, state.last_seq, reply])
        super().put_session(state)
        self._changes.append(change)

    def put_rejected(self, record: Rejected) -> None:
        """Keep what can never be stored, behind what was kept before."""
        change = encode([_REJECTED, rejected_to_document(record)])
        super().put_rejected(record)
        self._changes.append(change)

    def put_lease(self, lease: Lease) -> None:
        """Insert or replace by ``trial``, which exists, and ``sid``."""
        change = encode([_LEASE, lease.trial, lease.sid, lease.rank, lease.superseded])
        super().put_lease(lease)
        self._changes.append(change)

    def drop_lease(self, trial: bytes, sid: bytes) -> None:
        """Remove a lease; harmless when there is none."""
        change = encode([_NO_LEASE, trial, sid])
        super().drop_lease(trial, sid)
        self._changes.append(change)

    def add_blob_data(self, digest: str, size: int, data: bytes, time: float) -> None:
        """Append bytes to a blob, which the first ones (or none) create, and note when."""
        change = encode([_BLOB, digest, size, data, time])
        super().add_blob_data(digest, size, data, time)
        self._changes.append(change)

    def cut_blob(self, digest: str, stored: int) -> None:
        """Forget the bytes of a blob from an offset on, of which there are some."""
        change = encode([_CUT_BLOB, digest, stored])
        super().cut_blob(digest, stored)
        self._changes.append(change)

    def drop_blob(self, digest: str) -> None:
        """Forget a blob; harmless when there is none."""
        change = encode([_NO_BLOB, digest])
        super().drop_blob(digest)
        self._changes.append(change)

    def use_blob(self, digest: str, trial: bytes) -> None:
        """Note that an existing trial refers to an existing blob; harmless when repeated."""
        change = encode([_USE, digest, trial])
        super().use_blob(digest, trial)
        self._changes.append(change)

    def release_blobs(self, trial: bytes) -> None:
        """Note that a trial refers to no blob any more."""
        change = encode([_NO_USES, trial])
        super().release_blobs(trial)
        self._changes.append(change)

    def commit(self) -> None:
        """Write it down, then make it the committed state."""
        try:
            if self._changes:
                self._write(msgpack.Packer().pack_array_header(len(self._changes)) + b"".join(self._changes))
        except BaseException:
            self.rollback()
            raise
        super().commit()


def replay(frames: Iterable[Frame], tx: Transaction, number: int, path: Path) -> int:
    """Make the changes of recorded transactions once more, all in one, which the caller ends.

    Args:
        frames: of a journal, in order; those up to `number` are left out.
        tx: takes the changes.
        number: of the last transaction that is there already.
        path: of the document that the journal belongs to, for messages.

    Returns:
        the number of the last transaction that is there now.

    Raises:
        StoreCorrupt: a transaction does not continue what is there, or means nothing.
    """
    replaying = _Replay(tx)
    for frame in frames:
        if frame.number > number:
            with _fitting(frame.number, path):
                if frame.number != number + 1:
                    raise ValueError(f"transaction {number} comes before it")
                replaying.take(frame.payload)
            number = frame.number
    with _fitting(number, path):
        replaying.finish()
    return number


@contextmanager
def _fitting(number: int, path: Path) -> Iterator[None]:
    try:
        yield
    except (TrackError, ValueError, TypeError, LookupError) as error:
        raise StoreCorrupt(
            f"{path}.journal does not fit {path} at transaction {number} ({error}): "
            "restore both from one copy"
        ) from error


class _Replay:
    """Makes the changes of recorded transactions once more, in another transaction.

    Journals hold very many short pieces of few series.  Neighbouring pieces of one are appended at once, so
    that a journal is read several times as fast; `finish` has to be called behind the last change.

    Args:
        tx: takes the changes.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._pieces: dict[tuple[bytes, str, str], _Pieces] = {}

    def take(self, payload: bytes) -> None:
        """Make the changes of one transaction."""
        for kind, *arguments in decode_own(payload):
            if kind == _POINTS:
                self._take_points(*arguments)
                continue
            if kind in _SEE_POINTS:
                self.finish()
            _REPLAYS[kind](self._tx, *arguments)

    def finish(self) -> None:
        """Append what is held together, series by series as they came first."""
        held, self._pieces = self._pieces, {}
        for series, pieces in held.items():
            self._tx.append_points(*series, pieces.aggregator, joined(pieces.parts))

    def _take_points(
        self,
        trial: bytes,
        kind: str,
        name: str,
        aggregator: list[Any] | None,
        steps: list[Any],
        times: list[Any],
        values: list[Any],
    ) -> None:
        points = Points(Column(*steps), Column(*times), Column(*values))
        series = (trial, kind, name)
        held = self._pieces.get(series)
        if held is not None and (held.count >= FULL_CHUNK or not held.resemble(points)):
            self.finish()
            held = None
        if held is None:
            held = self._pieces[series] = _Pieces(aggregator)
        held.parts.append(points)
        held.count += len(points)


@dataclass(slots=True)
class _Pieces:
    """Points of one series, in order, whose columns are of the same kinds.

    Attributes:
        aggregator: that came with the first of them.
        parts: themselves.
        count: of all points.
    """

    aggregator: list[Any] | None
    parts: list[Points] = field(default_factory=list)
    count: int = 0

    def resemble(self, points: Points) -> bool:
        """Whether joining leaves the columns of these, too, as they are."""
        first = self.parts[0]
        return (first.steps.code, first.times.code, first.values.code) == (
            points.steps.code,
            points.times.code,
            points.values.code,
        )


def _replay_session(
    tx: Transaction, sid: bytes, user: str, epoch: int, last_seq: int, reply: list[Any] | None
) -> None:
    last_reply = None if reply is None else (reply[0], reply[1])
    tx.put_session(SessionState(sid, user, epoch, last_seq, last_reply))


_REPLAYS: Final[Mapping[str, Callable[..., None]]] = {
    _PROJECT: lambda tx, document: tx.put_project(document),
    _GROUP: lambda tx, document: tx.put_group(document),
    _TRIAL: lambda tx, document: tx.add_trial(document),
    _UPDATE: lambda tx, id, changes: tx.update_trial(id, changes),
    _DELETE: lambda tx, id: tx.delete_trial(id),
    _LINK: lambda tx, group_uid, trial: tx.link(group_uid, trial),
    _REWIND: lambda tx, *arguments: tx.rewind(*arguments),
    _SESSION: _replay_session,
    _REJECTED: lambda tx, document: tx.put_rejected(rejected_from_document(document)),
    _LEASE: lambda tx, *fields: tx.put_lease(Lease(*fields)),
    _NO_LEASE: lambda tx, trial, sid: tx.drop_lease(trial, sid),
    _BLOB: lambda tx, *arguments: tx.add_blob_data(*arguments),
    _CUT_BLOB: lambda tx, digest, stored: tx.cut_blob(digest, stored),
    _NO_BLOB: lambda tx, digest: tx.drop_blob(digest),
    _USE: lambda tx, digest, trial: tx.use_blob(digest, trial),
    _NO_USES: lambda tx, trial: tx.release_blobs(trial),
}
