"""Limits of a server, in one place; each is an option."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["LEASE_SECONDS", "Limits"]

LEASE_SECONDS: Final = 60.0
"""For which whoever runs a trial may be away; a client that lives tries to connect every few seconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer, or all of them, may take.

    Attributes:
        connections: peers at once.
        strangers: peers at once that have not proved themselves.
        strangers_per_address: the same, from one address.
        handshake_seconds: to finish the TLS handshake.
        login_seconds: to finish the login after it.
        silence_seconds: of silence after which a peer is asked for a sign of life; after as long
            again without one it is taken for gone.
        batches_in_flight: batches and calls of one peer that are not answered yet, before its
            socket is not read.
        bytes_in_flight: the same for the bytes of batches.
        all_bytes_in_flight: of batches of all peers together; when it is reached, those that have
            `fair_bytes` or more of it are not read, so that a flood does not keep out the others.
        fair_bytes: see there.
        stalled_seconds: for which a peer may not read what it is sent before it is dropped.
        drain_seconds: for answering what is in flight when the server stops.
    """

    connections: int = 10_000
    strangers: int = 256
    strangers_per_address: int = 16
    handshake_seconds: float = 5.0
    login_seconds: float = 10.0
    silence_seconds: float = 20.0
    batches_in_flight: int = 64
    bytes_in_flight: int = 8 * 1024 * 1024
    all_bytes_in_flight: int = 4 * 1024 * 1024
    fair_bytes: int = 128 * 1024
    stalled_seconds: float = 30.0
    drain_seconds: float = 10.0
