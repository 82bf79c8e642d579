"""Relying on this machine's disk: whether what waits is kept there, and how long to wait for that."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from track.outbox.drops import Losses
from track.outbox.futures import KeepTicket, Ticket
from track.outbox.records import Row
from track.outbox.sender import Sender
from track_protocol.errors import TrackError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Keeping"]

_log: Final = logging.getLogger("track")

_IN_TIME: Final = 1.0
"""Seconds that somebody waits for the disk."""

_SLOW: Final = 5.0
"""Seconds that somebody waits, while all is on disk, for a store that is there and does not answer."""


class Keeping:
    """What the threads of a training process may expect of the copy on disk.

    Args:
        sender: whose copy it is; there may be none.
        rows: that wait to be numbered.
        name: of the store, for messages.
        losses: told of a disk that does not answer.
    """

    def __init__(self, sender: Sender, rows: deque[Row], name: str, losses: Losses) -> None:
        self._sender = sender
        self._rows = rows
        self._name = name
        self._losses = losses
        self._late: KeepTicket | None = None

    @property
    def folder(self) -> Path | None:
        """Where it is; None while there is none."""
        disk = self._sender.disk
        return None if disk is None else disk.folder

    @property
    def _place(self) -> str:
        return str(self.folder or "the disk")

    @property
    def is_whole(self) -> bool:
        """Whether what waits is on disk, so that nobody needs to stand by until it is sent."""
        disk = self._sender.disk
        # In this order: what leaves the rows is first packed, and then numbered.
        return disk is not None and not self._rows and not self._sender.packing and disk.is_whole

    def keep(self, enqueue: Callable[[Ticket], None]) -> None:
        """Wait until everything logged is on disk, but not again for a disk that did not answer in time.

        Args:
            enqueue: puts a ticket behind what was logged.
        """
        late = self._late
        if late is not None and not late.wait(0.0):
            return
        ticket = KeepTicket()
        enqueue(ticket)
        self._late = None if ticket.wait(_IN_TIME) else ticket
        if self._late is not None:
            self._losses.warn(
                f"what was logged is not on disk after {_IN_TIME:g} s, and training goes on without "
                f"knowing when it is: see whether {self._place} answers"
            )

    def shortened(self, patience: float) -> float:
        """How long to wait for a store, when one would without a disk wait for so many seconds."""
        if not self.is_whole:
            return patience
        # Nobody waits for one that is away: a loop of short trials would at the end of each of them.
        return 0.0 if self._sender.line.is_away else min(patience, _SLOW)

    def tell_what_is_left(self, error: TrackError | str, waiting: int, *, meant: bool) -> None:
        """The process ends: tell in one line what the store does not have.

        Args:
            error: what stood in the way.
            waiting: how many log calls are not known to be durable.
            meant: nothing was meant to be sent.
        """
        unsent, folder = self._sender.unsent, self.folder
        told = f"{unsent} {'is' if unsent.total == 1 else 'are'}"
        if self.is_whole and unsent and meant:
            _log.warning(
                "%s kept for %s in %s, as offline=require says: it is sent by: track sync %s",
                told,
                self._name,
                folder,
                folder,
            )
        elif self.is_whole and unsent:
            _log.error(
                "%s not at %s yet (%s), but kept in %s: the next start here sends what is there, "
                "or now: track sync %s",
                told,
                self._name,
                self._sender.line.problem or error,
                folder,
                folder,
            )
        elif waiting and folder is not None:
            _log.error(
                "of %s log calls that %s does not have (%s), only a part is kept in %s: the next start here "
                "sends that part, or now: track sync %s",
                f"{waiting:,}",
                self._name,
                self._sender.line.problem or error,
                folder,
                folder,
            )
        elif waiting:
            _log.error("%s log calls were not saved: %s", f"{waiting:,}", error)
