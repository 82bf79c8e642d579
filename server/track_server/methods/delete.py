"""Deleting a trial, unless another session still writes it."""

from __future__ import annotations

import datetime
from typing import Any

from track_protocol.errors import TrialInUse
from track_server.methods.leases import RUNNING
from track_server.storage.contract import Document, Lease
from track_server.storage.unit_of_work import UnitOfWork

__all__ = ["delete_trial"]


def delete_trial(tx: UnitOfWork, by: bytes, trial: bytes | str, force: bool) -> bool:
    """Delete a trial; whether there was one.

    A running trial of which another session has a lease is in use: once its holders are disconnected for the
    time of a lease it is lost, and no longer in use.

    Args:
        tx: the transaction.
        by: id of the session that deletes it.
        trial: its id or uid.
        force: delete it although it is in use.

    Raises:
        TrialInUse: it is in use; nothing was changed.
    """
    id = tx.trial_id(trial) if isinstance(trial, str) else trial
    document = None if id is None else tx.trial_fields(id)
    if document is None:
        return False
    lowest, highest = RUNNING
    if not force and lowest <= document["status"]["value"] <= highest:
        for lease in tx.leases(document["id"]):
            if lease.sid != by and not lease.superseded:
                raise _in_use(tx, document, lease)
    tx.delete_trial(document["id"])
    return True


def _in_use(tx: UnitOfWork, trial: Document, lease: Lease) -> TrialInUse:
    session = tx.session(lease.sid)
    user = repr(session.user) if session is not None and session.user else "this machine"
    return TrialInUse(
        f"trial {trial['uid']} is still written by {user} (session {lease.sid.hex()[:8]}"
        f"{_since(trial['metadata'].get('heartbeat'))}): let that process end, or delete the trial with "
        "force=True, and what the process still logs is quarantined"
    )


def _since(started: Any) -> str:
    """`started` may be anything that a client put there."""
    try:
        at = datetime.datetime.fromtimestamp(float(started), datetime.UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
    return f", since {at.isoformat(timespec='seconds')}"
