"""What damage has taken from a spool is told to the trials that the spool has records of.

A record that cannot be read does not say whose it was, so each of these trials is told.  That has a session
of its own, which follows from the spool's: however often a spool and its copies are sent, it is stored once.
"""

from __future__ import annotations

import time
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final

from track.outbox.connecting import OpenLink, close_quietly
from track.outbox.records import CALL, batch_of
from track.spool.reader import Recovered, batch_in
from track.spool.writer import Spool
from track_protocol.errors import CallTimeout, SpoolError
from track_protocol.wire.batch import CallOp, PointsOp
from track_protocol.wire.link import Acked, Refused

__all__ = ["LossReport"]

_MOST_TRIALS: Final = 100


class LossReport:
    """The trials of one damaged spool, which is read before it is sent and gone.

    Args:
        spool: the spool.
        found: what it holds.
    """

    def __init__(self, spool: Spool, found: Recovered) -> None:
        origin = spool.folder.origin
        self._session = sha256(b"losses of " + bytes.fromhex(origin.session)).digest()[:16]
        self._reason = f"damaged on the disk of {origin.host}, where {origin.program} had kept it"
        self._is_open = found.is_cut
        trials: dict[bytes | str, None] = {}
        for each in found.kept:
            # What cannot be read any more is lost, too, which the replay finds.
            with suppress(SpoolError):
                for _, _, payload in spool.read_stretch(each.place):
                    named = [_trial_of(op) for op in batch_in(payload).ops]
                    trials |= dict.fromkeys(trial for trial in named if trial is not None)
            if len(trials) >= _MOST_TRIALS:
                break
        self._trials = list(trials)[:_MOST_TRIALS]

    def send(self, open_link: OpenLink, timeout: float, lost: int) -> None:
        """Tell them, and wait until that is stored.

        Args:
            open_link: makes a link to the server that has the rest.
            timeout: seconds.
            lost: how many log calls are lost; there may be more if nobody knows what came last.

        Raises:
            TrackError: the server does not take it.
        """
        if not self._trials:
            return
        reason = self._reason + (", and perhaps more" if self._is_open else "")
        told = [{"trial": trial, "points": lost, "reason": reason} for trial in self._trials]
        batch = batch_of(1, [(CALL, "log_trial_losses", time.time(), each, 0) for each in told])
        deadline = time.monotonic() + timeout
        link = open_link()
        try:
            if link.open(self._session, timeout).last_seq > 0:
                return
            link.send_batch(batch)
            while (left := deadline - time.monotonic()) > 0:
                for event in link.poll(left):
                    if isinstance(event, Refused):
                        raise event.error
                    if isinstance(event, Acked) and event.last_seq >= batch.last:
                        return
        finally:
            close_quietly(link)
        raise CallTimeout(f"the losses were not stored within {timeout:g} s")


def _trial_of(op: PointsOp | CallOp) -> bytes | str | None:
    """The trial that a log call belongs to, if it does to one."""
    if isinstance(op, PointsOp):
        return op.trial
    trial: Any = op.arguments.get("trial")
    if isinstance(trial, dict):
        trial = trial.get("id")
    return trial if isinstance(trial, bytes | str) else None
