"""The engine: every change goes through a writer thread, many changes to a commit; reads run beside it.

`DESIGN.md` beside this room gives the reasoning.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from zlib import crc32

from track_protocol.errors import StoreCorrupt, StoreError, StoreFailed, StoreFull, TrackError
from track_protocol.wire.batch import Batch
from track_server.engine.jobs import (
    Attached,
    AttachJob,
    BatchJob,
    CallJob,
    ChangeJob,
    Job,
    LeaveJob,
    Outcome,
    Writer,
    session_of,
)
from track_server.engine.lane import Lane
from track_server.engine.readers import Peer, ReaderPool, Rest
from track_server.engine.recovery import Recovery
from track_server.methods.blobs import BlobCollector
from track_server.storage.contract import SessionState, Store
from track_server.storage.unit_of_work import UnitOfWork
from track_server.storage.write_limits import WriteLimits

__all__ = ["Engine"]

_log = logging.getLogger(__name__)


class Engine:
    """Makes every change of one store, in order for each session.

    Args:
        store: an open store; the engine owns it from now on and closes it.
        readers: threads that answer reads, each on a snapshot of its own.
        read_seconds: how long the statements of one page of a read may run; None for the store's own limit.
        limits: of what is written.
    """

    def __init__(
        self,
        store: Store,
        readers: int = 3,
        read_seconds: float | None = None,
        limits: WriteLimits | None = None,
    ) -> None:
        self.store = store
        self._recovery = Recovery(store)
        self._collector = BlobCollector(store)
        self._lock = threading.Lock()
        self._failure: StoreFailed | None = None
        self._on_failure: Callable[[TrackError], None] | None = None
        self._on_commit: Callable[[], None] = _nothing
        self._on_pause: Callable[[], None] = _nothing
        self._readers = ReaderPool(store, self._recovery, readers, read_seconds)
        self._other_readers: list[ReaderPool] = []
        # Background work is the first lane's.
        work = [self._maintain, *[lambda _seconds: False] * (store.lanes - 1)]
        self._lanes = [
            Lane(
                f"track-writer-{number}",
                store,
                self._recovery,
                maintain,
                self._is_reading,
                self._fail,
                self._committed,
                limits or WriteLimits(),
            )
            for number, maintain in enumerate(work)
        ]

    # -- requests, from any thread ------------------------------------------------------

    def submit_attach(
        self, sid: bytes, user: str, done: Callable[[Outcome], None], ended: float | None = None
    ) -> None:
        """Take a session over: what an older holder hands in from now on is refused.

        While the disk is full or the store damaged no holder can write, and the new one is let in as if it
        were the older one: it may read, and its records wait.

        Args:
            sid: the session's id.
            user: who it belongs to.
            done: called behind everything the older holder had handed in, once the takeover is durable,
                with an `Attached` or with the `TrackError` that prevented it.
            ended: see `SessionState.ended`.
        """
        writer = Writer(sid, user)

        def answer(outcome: Outcome) -> None:
            readable = isinstance(outcome, StoreFull | StoreCorrupt)
            done(self._attached_as_before(writer) if readable else outcome)

        self._submit(AttachJob(writer, answer, ended))

    def submit_batch(self, writer: Writer, batch: Batch, done: Callable[[Outcome], None]) -> None:
        """Store a batch.

        Args:
            writer: the session it belongs to.
            batch: its records.
            done: called on a writer thread, once the batch is durable, with an `Acked`, or with
                the `TrackError` that prevented it.
        """
        self._submit(BatchJob(writer, batch, done))

    def submit_call(
        self,
        writer: Writer,
        seq: int,
        method: str,
        arguments: dict[str, Any],
        done: Callable[[Outcome], None],
    ) -> None:
        """Execute a write with an answer; a repeated `seq` gets the answer it got before.

        Args:
            writer: the session that calls.
            seq: the call's record number in it.
            method: a name of the method table.
            arguments: what the peer sent; checked here.
            done: called once the change is durable, with the encoded value or a `TrackError`.
        """
        self._submit(CallJob(writer, seq, method, arguments, done, saves=method == "commit"))

    def submit_leave(self, writer: Writer) -> None:
        """Shrink a session whose client said goodbye, behind everything that it handed in.

        It keeps its owner, its epoch and its last number permanently; the answer to its last call is deleted.

        Args:
            writer: the session's holder that said goodbye; an older one changes nothing.
        """
        self._submit(LeaveJob(writer, _log_failed_leave))

    def submit_change(self, change: Callable[[UnitOfWork], Any], done: Callable[[Outcome], None]) -> None:
        """Make a change of the server's own.

        Args:
            change: makes it, on a writer thread; again if its transaction fails.
            done: called once it is durable, with what `change` returned or the `TrackError` that
                prevented it.
        """
        self._submit(ChangeJob(change, done))

    def submit_read(
        self,
        method: str,
        arguments: dict[str, Any],
        done: Callable[[Outcome], None],
        peer: Peer = (None, None),
    ) -> None:
        """Answer a read from a snapshot; see `ReaderPool.submit`."""
        self._readers.submit(method, arguments, done, peer)

    def submit_rest(self, rest: Rest, done: Callable[[Outcome], None], peer: Peer = (None, None)) -> None:
        """Make the next page of a read's answer; see `ReaderPool.submit_rest`."""
        self._readers.submit_rest(rest, done, peer)

    def open_readers(self, threads: int, seconds: float) -> ReaderPool:
        """Readers beside the engine's own, for reads that must not take their turns; the engine closes them.

        Args:
            threads: how many.
            seconds: how long the statements of one page of a read may run.
        """
        self._other_readers.append(ReaderPool(self.store, self._recovery, threads, seconds))
        return self._other_readers[-1]

    def last_seq(self, writer: Writer) -> int:
        """The session's last durable record; 0 if it never wrote.

        Raises:
            PermissionDenied: it belongs to another user.
            StoreFailed: the disk has failed, so the result is unknown.
        """
        return self._durable_session(writer).last_seq

    def _durable_session(self, writer: Writer) -> SessionState:
        """The session as it is stored, and not only as a disk that has failed pretends."""
        failures = self._recovery.check_durable()
        try:
            with self.store.snapshot() as view:
                state = session_of(view, writer)
        except StoreError as error:
            self._recovery.record_failure(error, reading=True)
            raise
        return state if self._recovery.check_durable() == failures else self._durable_session(writer)

    def on_failure(self, tell: Callable[[TrackError], None]) -> None:
        """Register a callback, called on any thread, for the death of a writer thread.

        Args:
            tell: called once, at once if one is dead already.
        """
        with self._lock:
            self._on_failure = tell
            failed = self._failure
        if failed is not None:
            tell(failed)

    def on_commit(self, tell: Callable[[], None]) -> None:
        """Register a callback for each commit, in the place of an earlier one.

        Args:
            tell: called on a writer thread, which waits for it, before the commit's jobs are answered.
        """
        self._on_commit = tell

    def on_pause(self, work: Callable[[], None]) -> None:
        """Register short background work, in the place of other work.

        Args:
            work: called on a writer thread, every second or so, and between two transactions if it is busy.
        """
        self._on_pause = work

    @property
    def fault(self) -> str | None:
        """See `Recovery.fault`."""
        return self._recovery.fault

    def close(self, *, tidy: bool = True) -> None:
        """Finish what was submitted, then close the store; harmless when repeated.

        A store whose disk has failed, or that is damaged, is left as it is.

        Args:
            tidy: see `Store.close`.
        """
        for lane in self._lanes:
            lane.close()
        for readers in (self._readers, *self._other_readers):
            readers.close()
        if self._recovery.blocked or self._failure is not None:
            self.store.abandon()
        else:
            self.store.close(tidy=tidy)

    def _attached_as_before(self, writer: Writer) -> Outcome:
        try:
            state = self._durable_session(writer)
        except TrackError as error:
            return error
        return Attached(replace(writer, epoch=state.epoch), state.last_seq)

    def _submit(self, job: Job) -> None:
        """Hand a job to its lane: that of its session, whose jobs are done in their order."""
        number = 0 if job.writer is None else crc32(job.writer.sid) % len(self._lanes)
        self._lanes[number].submit(job)

    def _committed(self) -> None:
        self._on_commit()

    def _maintain(self, seconds: float) -> bool:
        self._on_pause()
        self._collector.collect()
        return self.store.maintain(seconds)

    def _is_reading(self) -> bool:
        return any(readers.is_reading for readers in (self._readers, *self._other_readers))

    def _fail(self, failure: StoreFailed) -> None:
        with self._lock:
            self._failure, tell = failure, self._on_failure
        if tell is not None:
            tell(failure)


def _nothing() -> None:
    """Nothing is registered."""


def _log_failed_leave(outcome: Outcome) -> None:
    if isinstance(outcome, TrackError):
        _log.debug("the last answer of an ended session could not be deleted: %s", outcome)
