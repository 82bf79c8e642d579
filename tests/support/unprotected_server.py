"""The command ``track`` with one protection removed, for negative controls.

Run as ``python unprotected_server.py PROTECTION server …``.
"""

from __future__ import annotations

import itertools
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from track.cli import main
from track_protocol.wire.batch import Batch
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.engine.jobs import Outcome, Writer
from track_server.engine.lane import Lane
from track_server.methods.dispatch import READS, WRITES
from track_server.storage.unit_of_work import UnitOfWork

__all__ = ["PROTECTIONS", "without"]

_WIDER = 0.01
"""Seconds by which the window for a fault is widened."""

Done = Callable[[Outcome], None]


def _forget_sessions() -> None:
    """No duplicate is recognised: each batch and call has a session of its own."""
    submit_batch, submit_call, commit = Engine.submit_batch, Engine.submit_call, Lane._commit

    def batch_of_a_new_session(self: Engine, writer: Writer, batch: Batch, done: Done) -> None:
        def acknowledge(outcome: Outcome) -> None:
            done(Acked(batch.last, outcome.rejected) if isinstance(outcome, Acked) else outcome)

        submit_batch(self, _in_new_session(writer), replace(batch, first=1), acknowledge)

    def call_of_a_new_session(
        self: Engine, writer: Writer, seq: int, method: str, arguments: dict[str, Any], done: Done
    ) -> None:
        submit_call(self, _in_new_session(writer), 1, method, arguments, done)

    def commit_and_acknowledge_late(self: Lane, jobs: list[Any]) -> list[Outcome]:
        outcomes = commit(self, jobs)
        time.sleep(_WIDER)
        return outcomes

    _replace(Engine, "submit_batch", batch_of_a_new_session)
    _replace(Engine, "submit_call", call_of_a_new_session)
    _replace(Lane, "_commit", commit_and_acknowledge_late)


def _acknowledge_early() -> None:
    """A batch is acknowledged when it arrives, not when it is committed."""
    submit_batch, commit = Engine.submit_batch, Lane._commit

    def acknowledge_at_once(self: Engine, writer: Writer, batch: Batch, done: Done) -> None:
        submit_batch(self, writer, batch, lambda outcome: None)
        done(Acked(batch.last))

    def slow(self: Lane, jobs: list[Any]) -> list[Outcome]:
        time.sleep(_WIDER)
        return commit(self, jobs)

    _replace(Engine, "submit_batch", acknowledge_at_once)
    _replace(Lane, "_commit", slow)


def _read_stale() -> None:
    """Every read of a trial repeats its first result."""
    fresh, seen = READS["get_trial"], dict[str, Any]()

    def stale(view: Any, **arguments: Any) -> Any:
        listing = fresh(view, **arguments)
        documents = seen.setdefault(repr(arguments), listing.read(view, listing.keys))
        return replace(listing, read=lambda view, keys: documents)

    _replace(READS, "get_trial", stale)


def _claim_stale() -> None:
    """Every third claim is answered and not stored, as if it had read an older state."""
    fresh, answers = WRITES["fetch_and_update_trial"], itertools.count(1)

    def stale(tx: UnitOfWork, by: bytes, **arguments: Any) -> Any:
        claimed = fresh(tx, by, **arguments)
        if claimed is not None and next(answers) % 3 == 0:
            tx.update_trial(claimed["id"], {"status": {"value": 0, "name": "CreatedGroup"}})
        return claimed

    _replace(WRITES, "fetch_and_update_trial", stale)


def _in_new_session(writer: Writer) -> Writer:
    return replace(writer, sid=uuid.uuid4().bytes)


def _replace(owner: Any, name: str, by: Any) -> None:
    if isinstance(owner, dict):
        assert name in owner, name
        owner[name] = by
    else:
        assert hasattr(owner, name), f"{owner!r} has no {name}: the protection has moved"
        setattr(owner, name, by)


PROTECTIONS: dict[str, Callable[[], None]] = {
    "deduplication": _forget_sessions,
    "commit-before-acknowledgement": _acknowledge_early,
    "fresh-reads": _read_stale,
    "fresh-claims": _claim_stale,
}


def without(protection: str) -> tuple[str, ...]:
    """Return the arguments of Python that run a server without that protection."""
    assert protection in PROTECTIONS, protection
    return (str(Path(__file__)), protection)


if __name__ == "__main__":
    PROTECTIONS[sys.argv.pop(1)]()
    sys.exit(main())
