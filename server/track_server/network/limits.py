"""Limits of a server, in one place; each is an option."""

from __future__ import annotations

import logging
import resource
from dataclasses import dataclass, field, replace
from typing import Final

from track_server.storage.write_limits import WriteLimits

__all__ = ["LEASE_SECONDS", "OTHER_FILES", "Limits", "within_descriptors"]

_log = logging.getLogger(__name__)

OTHER_FILES: Final = 256
"""File descriptors that a server keeps for other things than connections."""

LEASE_SECONDS: Final = 60.0
"""Seconds for which a trial's processes may be disconnected; a live client reconnects every few seconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer, or all of them, may take.

    Attributes:
        connections: peers at once.
        unauthenticated: connections at once that have sent bytes and not logged in.
        unauthenticated_per_address: the same, from one address.
        slot_seconds: after which such a peer gives way to the next one that waits.
        handshake_seconds: to finish the TLS handshake.
        login_seconds: to finish the login after it.
        silence_seconds: of silence after which a peer gets a keepalive request; after as long
            again without an answer it counts as disconnected.
        batches_in_flight: batches and calls of one peer that are not answered yet, before its
            socket is not read.
        bytes_in_flight: the same for the bytes of batches.
        all_bytes_in_flight: of batches of all peers together; when it is reached, those that have
            `fair_bytes` or more of it are not read, so that a flood does not keep out the others.
        fair_bytes: see there.
        memory_bytes: that all peers together may make the server hold: unread pages of answers, frames
            that have begun, and values of large frames.
        connections_per_user: peers of one user at once.
        stalled_seconds: for which a peer may read nothing of what it is sent, or send nothing of a frame
            that it has begun, before it is dropped; slow progress is progress.
        read_seconds: for the statements of one page of a read; a read that takes longer is answered with
            an error.
        watch_seconds: between two looks for peers that are silent, and for users that were removed.
        writes: what one record may make the writer do, and how much of it a trial may gather.
        drain_seconds: for answering what is in flight when the server stops.
    """

    connections: int = 10_000
    unauthenticated: int = 256
    unauthenticated_per_address: int = 16
    slot_seconds: float = 1.0
    handshake_seconds: float = 5.0
    login_seconds: float = 10.0
    silence_seconds: float = 20.0
    batches_in_flight: int = 64
    bytes_in_flight: int = 8 * 1024 * 1024
    all_bytes_in_flight: int = 4 * 1024 * 1024
    fair_bytes: int = 128 * 1024
    memory_bytes: int = 32 * 1024 * 1024
    connections_per_user: int = 5_000
    stalled_seconds: float = 30.0
    read_seconds: float = 30.0
    watch_seconds: float = 1.0
    writes: WriteLimits = field(default_factory=WriteLimits)
    drain_seconds: float = 10.0


def within_descriptors(limits: Limits) -> Limits:
    """The limits that this process's file descriptors allow; fewer connections are reported to the log."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = limits.connections
    if descriptors != resource.RLIM_INFINITY:
        connections = min(connections, max(1, descriptors - OTHER_FILES, descriptors // 2))
    if connections < limits.connections:
        _log.warning(
            "the limit is %d connections instead of %d, since this process may open only %d files: raise "
            "ulimit -n",
            *(connections, limits.connections, descriptors),
        )
    # One user leaves some for the others.
    per_user = min(limits.connections_per_user, max(1, connections - max(1, connections // 8)))
    return replace(limits, connections=connections, connections_per_user=per_user)
