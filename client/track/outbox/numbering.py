"""Numbering: rows become batches of the backlog, in order, with numbers that they keep for life."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from track.outbox.backlog import Backlog
from track.outbox.drops import Losses
from track.outbox.records import CALL, Row, batch_of, salvaged, trial_of, values_in
from track_protocol.errors import BadValue, PermissionDenied
from track_protocol.wire.batch import PointsOp

__all__ = ["Numbering"]

_OVERHEAD: Final = 1_024
"""Bytes of memory that an operation takes beside its columns, about."""

_MOST_TRIALS: Final = 1_000
"""How many trials of one process are told when a store that was set back has lost something of it."""


class Numbering:
    """Puts what was logged into the backlog, but for what cannot be stored.

    Args:
        backlog: takes the batches.
        losses: where what is left out is counted, and what trials have to be told of that.

    Attributes:
        trials: those that have points among what was numbered, up to a bound.
    """

    def __init__(self, backlog: Backlog, losses: Losses) -> None:
        self._backlog = backlog
        self._losses = losses
        self.trials = losses.trials

    def number(self, rows: Sequence[Row], nbytes: int, denied: PermissionDenied | None) -> None:
        """Make a batch of some rows.

        Args:
            rows: of one batch.
            nbytes: about how large it becomes.
            denied: why none of it may be written; it counts as lost then.
        """
        if denied is not None:
            self._losses.drop(sum(map(values_in, rows)), str(denied))
            return
        try:
            batch = batch_of(self._backlog.next_seq, rows)
        except BadValue:
            kept = [salvaged(row, partial(self._unstorable, row)) for row in rows]
            rows = [row for row in kept if row is not None]
            if not rows:
                return
            batch = batch_of(self._backlog.next_seq, rows)
        self._backlog.add(batch, nbytes + _OVERHEAD * len(batch.ops), batch.amount)
        if len(self.trials) < _MOST_TRIALS:
            self.trials.update(op.trial for op in batch.ops if isinstance(op, PointsOp))

    def _unstorable(self, row: Row, error: BadValue) -> None:
        self._losses.drop(1, str(error), trial_of(row))

    def report_losses(self, denied: PermissionDenied | None) -> None:
        """Make a batch of what trials have to be told of their losses.

        Args:
            denied: see `number`.
        """
        losses = self._losses.report()
        self.number(
            [(CALL, "log_trial_losses", time.time(), loss._asdict(), 0) for loss in losses], 0, denied
        )
