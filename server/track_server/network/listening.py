"""The socket on which a server accepts connections."""

from __future__ import annotations

import socket
from typing import Final

from track_protocol.errors import TrackError, UsageError

__all__ = ["listen"]

_BACKLOG: Final = 1024


def listen(host: str, port: int) -> socket.socket:
    """A bound, listening, non-blocking socket.

    Args:
        host: a name or address of this machine; empty for all.
        port: 0 takes a free one.

    Raises:
        UsageError: the host is none of this machine.
        TrackError: the port is taken, or may not be used.
    """
    try:
        ((family, kind, proto, _, address), *_) = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listening = socket.socket(family, kind, proto)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host!r}: {error.strerror}; give an address of this machine"
        ) from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise TrackError(
            f"cannot listen on {host}:{port}: {error.strerror}; "
            "stop the process that uses it, or choose another port (0 for a free one)"
        ) from None
    return listening
