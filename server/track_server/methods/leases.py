"""Which sessions run which trials, and how a trial ends when its processes disappear.

A session that starts a trial, or sets it to a running status, has a lease of it until the trial ends;
leases are stored with the data, in the same transaction.  A running trial none of whose holders is left
becomes `LOST`; who is left is for `presence` to say.  A lost trial runs again when
a holder of it comes back.  But if another session has decided about the trial meanwhile, by going on
with it or by giving it another status, those who had it before are superseded: what they still have to
say of its status comes too late, and only their points and errors are stored.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any, Final

from track_protocol.model.documents import status_to_document
from track_protocol.model.entities import LOST, Status
from track_server.methods.trial_metadata import add_error, touch_trial
from track_server.storage.contract import Document, Lease, View
from track_server.storage.unit_of_work import UnitOfWork

__all__ = [
    "MAX_AT_ONCE",
    "RUNNING",
    "errors_if_back",
    "finish",
    "held",
    "holders",
    "left",
    "lose",
    "lose_left",
    "revive",
    "settle",
    "start",
    "times",
    "with_rank",
]

RUNNING: Final = (Status.RunningGroup.value, Status.RunningGroup.value + 99)
"""The lowest and the highest value of a running status."""

MAX_AT_ONCE: Final = 256
"""Trials that are lost, or run again, in one transaction, which others have to wait for."""

_RUNNING: Final = status_to_document(Status.Running)
_LOST: Final = status_to_document(LOST)
_NOTE: Final = "lost: no process that runs this trial has been connected since "


def start(tx: UnitOfWork, by: bytes, trial: Document, rank: int | None) -> Document | None:
    """The session `by` runs a trial from now on; returns the trial's new status, None if it keeps its own.

    Args:
        tx: the transaction.
        by: the session's id.
        trial: the trial's own fields.
        rank: of the session's process; above 0, it joins the others and the status is left to them.
    """
    if rank:
        tx.put_lease(Lease(trial["id"], by, rank))
        return None
    return _hold(tx, by, trial, _RUNNING, rank)


def finish(
    tx: UnitOfWork, by: bytes, trial: Document, status: Document, rank: int | None, shared: bool
) -> Document | None:
    """The session `by` says that a trial ended in a status; returns it, None if the trial keeps its own.

    Args:
        tx: the transaction.
        by: the session's id.
        trial: the trial's own fields.
        status: how it ended.
        rank: of the session's process; above 0, only this process ended.
        shared: only this process ended, if the trial does not run any more or another session runs it.
    """
    if rank or (shared and (not _is_running(trial["status"]) or _others(tx, by, trial))):
        tx.drop_lease(trial["id"], by)
        return None
    return settle(tx, by, trial, status)


def settle(tx: UnitOfWork, by: bytes, trial: Document, status: Document) -> Document | None:
    """The session `by` gives a trial a status; returns it, None if the trial keeps its own."""
    known = tx.leases(trial["id"])
    if any(lease.sid == by and lease.superseded for lease in known):
        return None
    if _is_running(status):
        return _hold(tx, by, trial, status, None)
    for lease in known:
        if trial["status"] == _LOST and lease.sid != by:
            _supersede(tx, lease)
        elif not lease.superseded:
            tx.drop_lease(lease.trial, lease.sid)
    return status


def holders(view: View | UnitOfWork) -> dict[bytes, set[bytes]]:
    """The sessions of each running trial."""
    found = defaultdict(set)
    for lease in view.leases_by_status(*RUNNING):
        found[lease.trial].add(lease.sid)
    return found


def held(view: View | UnitOfWork, sid: bytes) -> list[bytes]:
    """The running trials that a session has."""
    trials = [lease.trial for lease in view.leases_of(sid) if not lease.superseded]
    return [id for id in trials if (found := view.trial_fields(id)) and _is_running(found["status"])]


def left(holders: Mapping[bytes, Set[bytes]], gone: Mapping[bytes, float]) -> list[bytes]:
    """Running trials none of whose sessions is there any more.

    Args:
        holders: the sessions of each.
        gone: sessions that are not there any more, with when they were last.
    """
    return [trial for trial, sids in holders.items() if sids <= gone.keys()]


def lose_left(
    tx: UnitOfWork, holders: Mapping[bytes, Set[bytes]], gone: Mapping[bytes, float]
) -> list[bytes]:
    """Lose the trials that are `left`; returns their ids, of very many the first `MAX_AT_ONCE`."""
    lost = left(holders, gone)[:MAX_AT_ONCE]
    for trial in lost:
        lose(tx, trial, max(gone[sid] for sid in holders[trial]))
    return lost


def lose(tx: UnitOfWork, id: bytes, since: float) -> None:
    """A running trial is lost: it ended when its last holder was last seen.

    Args:
        tx: the transaction.
        id: the trial's internal id.
        since: when the last of its holders disconnected, in seconds since the epoch.
    """
    trial = tx.trial_fields(id)
    assert trial is not None, "a lease is of a trial that exists"
    at = datetime.datetime.fromtimestamp(since, datetime.UTC).isoformat(timespec="seconds")
    errors = add_error(tx, trial["errors"], f"{_NOTE}{at}")
    touch_trial(tx, trial, {"status": _LOST, "errors": errors, "ended": since})


def revive(tx: UnitOfWork, sid: bytes, limit: int) -> list[bytes]:
    """A session is back: the lost trials that it holds run again, at most `limit` of them.

    Returns:
        the ids of these trials.
    """
    revived = []
    for lease in tx.leases_of(sid):
        trial = None if lease.superseded else tx.trial_fields(lease.trial)
        if trial is not None and trial["status"] == _LOST:
            errors = _without_note(trial["errors"])
            touch_trial(tx, trial, {"status": _RUNNING, "errors": errors, "ended": None})
            revived.append(lease.trial)
            if len(revived) >= limit:
                break
    return revived


def errors_if_back(tx: UnitOfWork, by: bytes, trial: Document) -> list[str]:
    """The errors of a trial when the session `by` says something of its status.

    If it is one that has it, the trial was not lost after all.
    """
    errors: list[str] = trial["errors"]
    if trial["status"] != _LOST:
        return errors
    has_it = any(lease.sid == by and not lease.superseded for lease in tx.leases(trial["id"]))
    return _without_note(errors) if has_it else errors


def times(trial: Document, status: Document, at: float) -> Document:
    """What a new status makes of a trial's times: its first start, and its last end, which a start clears."""
    if _is_running(status):
        return {"started": at if trial["started"] is None else trial["started"], "ended": None}
    return {"ended": at} if status["value"] > RUNNING[1] else {}


def with_rank(known: Any, rank: int) -> list[int]:
    """The sorted ranks that have started; `known` are those before, or anything that a client put there."""
    ranks = [each for each in known if type(each) is int] if isinstance(known, list) else []
    return sorted({*ranks, rank})


def _hold(tx: UnitOfWork, by: bytes, trial: Document, status: Document, rank: int | None) -> Document:
    if trial["status"] == _LOST:
        for lease in tx.leases(trial["id"]):
            _supersede(tx, lease)
    tx.put_lease(Lease(trial["id"], by, rank))
    return status


def _supersede(tx: UnitOfWork, lease: Lease) -> None:
    # Other ranks have no say in the status anyway, and may belong to the job that continues.
    if not lease.rank:
        tx.put_lease(replace(lease, superseded=True))


def _others(tx: UnitOfWork, by: bytes, trial: Document) -> bool:
    """Whether another session than `by` has the trial's status."""
    return any(
        lease.sid != by and not lease.rank and not lease.superseded for lease in tx.leases(trial["id"])
    )


def _is_running(status: Document) -> bool:
    lowest, highest = RUNNING
    return bool(lowest <= status["value"] <= highest)


def _without_note(errors: list[str]) -> list[str]:
    """The errors without the last note that the trial is lost, which turned out to be wrong."""
    notes = [at for at, error in enumerate(errors) if error.startswith(_NOTE)]
    return [error for at, error in enumerate(errors) if at not in notes[-1:]]
