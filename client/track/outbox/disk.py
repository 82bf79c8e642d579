"""The queue on disk: records that survive a killed process or an unreachable server.

Every batch is appended to the spool when it gets its numbers, before it is sent.  What is durable there
leaves memory when others need the room, and is read again from the backlog's cursor on.  While the disk
cannot be written, the backlog is in memory only, and is appended as soon as the disk works again, in order.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from track.outbox.backlog import Backlog, Entry, NumberedCall
from track.outbox.drops import DropAccount
from track.outbox.records import Found, coalesced
from track.spool.folder import Checkpoint, SpoolFolder, SpoolMetadata
from track.spool.options import SpoolOptions, SpoolSync
from track.spool.reader import Extent, ExtentIndex, batch_in
from track.spool.writer import Location, Spool
from track_protocol.errors import SpoolError
from track_protocol.wire.batch import Batch, batch_to_wire
from track_protocol.wire.codec import encode
from track_protocol.wire.counts import Counts

__all__ = ["DiskQueue", "metadata_of"]

_log: Final = logging.getLogger("track")

_SYNC_INTERVAL_S: Final = 1.0
"""Seconds after which what was written is flushed to the disk."""

_RETRY_INTERVAL_S: Final = 5.0
"""Seconds after which a disk that could not be written is tried again."""

_MAX_MEMORY_BYTES: Final = 4 * 1024 * 1024
"""Bytes of recent batches that stay in memory though they are on disk, so that sending need not read them."""


class DiskQueue:
    """Appends a backlog to a spool, and reads it from there.

    Only the sender uses it.

    Args:
        backlog: what is numbered and not confirmed.
        options: where and how.
        server: the address that goes with the records, without secrets.
        drops: reports failures.
        spool: that of an ended process, to be sent by this one; by default a new one, made
            when there is something to write.

    Attributes:
        written: the last record that a killed process does not lose.
        synced: the last record that a power cut does not lose.
        problem: why the disk cannot be written at present.
    """

    def __init__(
        self,
        backlog: Backlog,
        options: SpoolOptions,
        server: str,
        drops: DropAccount,
        spool: Spool | None = None,
    ) -> None:
        self._backlog = backlog
        self._options = options
        self._server = server
        self._drops = drops
        self._spool = spool
        self._may_renew = spool is None
        self.written = backlog.next_seq - 1
        self.synced = self.written
        self.problem: SpoolError | None = None
        self._sync_at = 0.0
        self._again_at = 0.0
        self._note_at = 0.0

    @property
    def folder(self) -> Path | None:
        """Where it is; None while nothing had to be written."""
        return None if self._spool is None else self._spool.folder.path

    @property
    def fully_synced(self) -> bool:
        """Whether everything that is numbered is on disk."""
        spool = self._spool
        there = spool is None or spool.folder.is_there
        return there and self.problem is None and self.written >= self._backlog.next_seq - 1

    # -- writing ---------------------------------------------------------------------------------

    def write(self, session: bytes) -> None:
        """Append what is not there yet, and flush it when it is time to.

        Args:
            session: whose records these are.
        """
        now = time.monotonic()
        if self.problem is not None and now < self._again_at:
            return
        if self._spool is not None and self._may_renew and not self._spool.folder.is_there:
            self._renew(self._spool)
        try:
            self._write_all(session, now)
            if self._must_sync(now):
                self.sync()
        except SpoolError as error:
            self._failed(error)
        else:
            self._works()

    def _must_sync(self, now: float) -> bool:
        if self._options.sync is SpoolSync.INTERVAL:
            return (self.due is not None and now >= self.due) or self._has_too_much
        return self._options.sync is SpoolSync.ALWAYS

    @property
    def _has_too_much(self) -> bool:
        return self._backlog.recent_nbytes > _MAX_MEMORY_BYTES

    def sync(self) -> None:
        """Flush what was written.

        Raises:
            SpoolError: it is unknown what of it is there.
        """
        if self._spool is not None and self.synced < self.written:
            self._spool.sync()
        self._is_synced()

    @property
    def due(self) -> float | None:
        """When `write` has something to do though nothing new comes (monotonic clock); None for never."""
        if self.problem is not None:
            return self._again_at
        if self._options.sync is SpoolSync.INTERVAL and self._backlog.acked < self.written > self.synced:
            return self._sync_at
        return None

    def _write_all(self, session: bytes, now: float) -> None:
        for entry in self._backlog.in_memory_after(self.written):
            if self._spool is None:
                folder = SpoolFolder.create(self._options.root, metadata_of(session, self._server))
                self._spool = Spool(folder, self._options)
            if self.written <= self.synced:
                self._sync_at = now + _SYNC_INTERVAL_S
            location = self._spool.append(entry.first, entry.last, encode(batch_to_wire(_lasting(entry))))
            entry.extent = Extent(entry.first, entry.last, entry.counts, location)
            self.written = entry.last
        if self._options.sync is SpoolSync.NONE:
            self._is_synced()

    def _is_synced(self) -> None:
        """Records that are safely flushed need not stay in memory."""
        self.synced = self.written
        if self._has_too_much:
            self._backlog.evict(self.synced)

    def _renew(self, spool: Spool) -> None:
        """The folder was deleted or moved: unconfirmed records go to a new one."""
        self._spool = None
        spool.close()
        spool.folder.close()
        lost = self._backlog.discard_unread()
        self.written = self.synced = self._backlog.acked
        self._drops.warn(
            f"{spool.folder.path} was deleted or moved: unconfirmed records are written to a new one"
        )
        self._drops.drop_unread(lost, f"{spool.folder.path} was deleted with records that had no other copy")

    def _failed(self, error: SpoolError) -> None:
        """What was not flushed yet has to be written again, if it is possible: it is still in memory."""
        self.written = self.synced = max(self.synced, self._backlog.acked)
        self._again_at = time.monotonic() + _RETRY_INTERVAL_S
        self._drops.warn(f"log calls are queued in memory only: {error}", again=self.problem is None)
        self.problem = error

    def _works(self) -> None:
        if self.problem is not None:
            self.problem = None
            _log.info("log calls are queued in %s again", self.folder)

    # -- reading ---------------------------------------------------------------------------------

    def read(self, extent: Extent) -> list[Entry]:
        """What an extent holds, in few batches; what is damaged counts as lost.

        Raises:
            SpoolError: it cannot be read.
        """
        assert self._spool is not None, "what is on disk only was written"
        records = [
            Found(batch_in(payload), location)
            for _, location, payload in self._spool.read_extent(extent.location)
        ]
        entries = [self._entry_of(*found) for found in coalesced(records)]
        lost = extent.counts - sum((entry.counts for entry in entries), Counts())
        self._drops.drop_unread(
            lost, f"{self.folder} is damaged; the damaged bytes are in its subfolder damaged"
        )
        return entries

    def _entry_of(self, batch: Batch, location: Location, records: int) -> Entry:
        """A batch that was read, or the call that has its number and waits for an answer."""
        call = self._backlog.calls.get(batch.first)
        item = batch if call is None else NumberedCall(batch.first, call)
        extent = Extent(batch.first, batch.last, batch.counts, location, records)
        return Entry(item, location.length, batch.counts, extent)

    def stored_after(self, last_seq: int) -> list[Extent]:
        """What the server had confirmed once and comes before the backlog, as far as it is still on disk."""
        if self._spool is None:
            return []
        index, end = ExtentIndex(), self._backlog.begin
        for first, location, payload in self._spool.retained_after(last_seq, self._cannot_send_again):
            if first < end and (batch := batch_in(payload)).last > last_seq:
                index.add(batch, location)
        return index.extents

    def _cannot_send_again(self, error: SpoolError) -> None:
        self._drops.warn(f"records that the server has lost cannot be sent again: {error}")

    # -- confirmed -------------------------------------------------------------------------------

    def acknowledge(self, generation: str | None) -> None:
        """The server has confirmed more: remove what is not needed any more.

        Args:
            generation: of the server's store.
        """
        now = time.monotonic()
        if self._spool is None or (now < self._note_at and not self._spool.is_pressed):
            return
        self._note_at = now + _SYNC_INTERVAL_S
        checkpoint = Checkpoint(self._backlog.acked, generation)
        try:
            # Recorded first, then removed: a later reader must not take confirmed records for damage.
            # On a full disk it cannot be said before there is room.
            with contextlib.suppress(OSError):
                self._spool.folder.write_checkpoint(checkpoint)
            self._spool.acknowledge(checkpoint.acked)
        except OSError as error:
            self._drops.warn(f"{self.folder}: confirmed segments cannot be removed: {error}")

    def renumber(self, session: bytes) -> None:
        """Give everything unconfirmed to a new session: written there before it leaves the old one.

        Args:
            session: the new one.

        Raises:
            SpoolError: it cannot be written; everything is as it was.
        """
        backlog, unread_calls = Backlog(), dict(self._backlog.calls)
        fresh = DiskQueue(backlog, self._options, self._server, self._drops)
        try:
            for each in self._backlog:
                for entry in [each] if isinstance(each, Entry) else self._read_or_drop(each):
                    unread_calls.pop(entry.first, None)
                    backlog.add(replace(entry.item, first=backlog.next_seq), entry.nbytes, entry.counts)
                    fresh._write_or_raise(session)
            for call in unread_calls.values():
                backlog.add(NumberedCall(backlog.next_seq, call), 0)
            fresh._write_or_raise(session)
            fresh.sync()
        except SpoolError:
            fresh.start_over()
            raise
        old, self._spool = self._spool, fresh._spool
        self._backlog.become(backlog)
        self._sync_at, self.problem = fresh._sync_at, None
        self.written, self.synced = fresh.written, fresh.synced
        _remove(old)

    def _write_or_raise(self, session: bytes) -> None:
        self.write(session)
        if self.problem is not None:
            raise self.problem

    def _read_or_drop(self, extent: Extent) -> list[Entry]:
        try:
            return self.read(extent)
        except SpoolError as error:
            self._drops.drop_unread(extent.counts, str(error))
            return []

    def start_over(self) -> None:
        """The session ends, and its spool is not needed any more."""
        spool, self._spool = self._spool, None
        self.written = self.synced = 0
        _remove(spool)

    # -- its end ---------------------------------------------------------------------------------

    def finish(self, generation: str | None, problem: str | None) -> None:
        """The sender stops: the spool retains only what the server does not have.

        Args:
            generation: of the server's store.
            problem: why something is left.
        """
        spool = self._spool
        if spool is None:
            return
        try:
            if self._backlog.resolved_through == self._backlog.next_seq - 1:
                self._spool = None
                spool.remove()
                return
            if self._options.sync is not SpoolSync.NONE:
                self.sync()
            spool.folder.write_checkpoint(Checkpoint(self._backlog.acked, generation, problem))
        except (OSError, SpoolError) as error:
            _log.error("%s: %s", spool.folder.path, error)


def _remove(spool: Spool | None) -> None:
    if spool is None:
        return
    try:
        spool.remove()
    except OSError as error:
        _log.error("%s is obsolete and cannot be removed: %s", spool.folder.path, error)


def metadata_of(session: bytes, server: str) -> SpoolMetadata:
    """What a person needs to know of the owner of a spool's records."""
    # A program that embeds Python, or that is about to end, may have none.
    program = (getattr(sys, "argv", None) or [""])[0] or "python"
    return SpoolMetadata(session.hex(), server, program, socket.gethostname(), os.getpid(), time.time())


def _lasting(entry: Entry) -> Batch:
    """What another process could still do of it: no caller is left there to receive a call's answer."""
    return Batch(entry.first, 1, []) if isinstance(entry.item, NumberedCall) else entry.item
