"""A program of the client with one protection removed, for negative controls.

Run as ``python unprotected_client.py PROTECTION PROGRAM …``; PROGRAM is a script, or ``track``, the command.
"""

from __future__ import annotations

import fcntl
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from track import cli
from track.outbox import Outbox
from track.outbox.disk import DiskQueue
from track.spool import reader, writer
from track.spool.folder import SpoolFolder
from track.spool.reader import Recovered
from track_protocol.wire.batch import Batch, PointsOp
from track_protocol.wire.columns import unpack

__all__ = ["PROTECTIONS", "without"]


def _lock_nothing() -> None:
    """Every attempt to lock a spool succeeds."""
    _replace(fcntl, "flock", lambda descriptor, operation: None)


def _stay_in_session() -> None:
    """A forked child continues its parent's session."""
    after_fork_in_child = Outbox.after_fork_in_child

    def with_the_parents_session(self: Outbox) -> None:
        session = self._sender.delivery.session
        after_fork_in_child(self)
        self._sender.delivery.session = session

    _replace(Outbox, "after_fork_in_child", with_the_parents_session)


def _order_by_time() -> None:
    """Records of a spool are sorted by the time of logging."""
    batch_in, end = reader.batch_in, reader._Reading.end
    times: dict[int, float] = {}

    def noting_when(payload: bytes) -> Batch:
        batch = batch_in(payload)
        logged = [unpack(op.times)[0] for op in batch.ops if isinstance(op, PointsOp)]
        times[batch.first] = min(logged, default=0.0)
        return batch

    def by_time(self: reader._Reading) -> Recovered:
        found = end(self)
        found.intact.sort(key=lambda each: times[each.first])
        return found

    _replace(reader, "batch_in", noting_when)
    _replace(reader._Reading, "end", by_time)
    _replace(writer, "EXTENT_RECORDS", 1)


def _trust_what_was_written() -> None:
    """Records of a failed flush count as being on disk."""
    failed = DiskQueue._failed

    def trusting(self: DiskQueue, error: Any) -> None:
        written = self.written
        failed(self, error)
        self.written = written

    _replace(DiskQueue, "_failed", trusting)


def _replace(owner: Any, name: str, by: Any) -> None:
    assert hasattr(owner, name), f"{owner!r} has no {name}: the protection has moved"
    setattr(owner, name, by)


def _trust_the_folder() -> None:
    """A deleted spool folder counts as present."""
    _replace(SpoolFolder, "is_there", True)


PROTECTIONS: dict[str, Callable[[], None]] = {
    "lock": _lock_nothing,
    "session-of-the-child": _stay_in_session,
    "look-at-the-folder": _trust_the_folder,
    "order-of-numbers": _order_by_time,
    "writing-again": _trust_what_was_written,
}


def without(protection: str) -> tuple[str, ...]:
    """Return the arguments of Python that run a program without that protection."""
    assert protection in PROTECTIONS, protection
    return (str(Path(__file__)), protection)


if __name__ == "__main__":
    PROTECTIONS[sys.argv.pop(1)]()
    del sys.argv[0]
    if sys.argv[0] == "track":
        sys.exit(cli.main())
    runpy.run_path(sys.argv[0], run_name="__main__")
