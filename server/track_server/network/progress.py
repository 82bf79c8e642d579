"""Whether a peer still moves bytes: slow is fine, stuck is not."""

from __future__ import annotations

import socket
import sys
from typing import Any, Final

__all__ = ["SLOWEST_BYTES_PER_S", "Progress", "acknowledged"]

SLOWEST_BYTES_PER_S: Final = 1024
"""Who moves fewer bytes a second on average is stuck."""

_TCP_INFO_SIZE: Final = 148
_TCP_INFO: Final = (slice(24, 28), slice(120, 128), slice(144, 148))
"""Of `struct tcp_info` in linux/tcp.h: tcpi_unacked (segments), tcpi_bytes_acked, tcpi_notsent_bytes."""


class Progress:
    """A deadline that moves ahead with the bytes (a leaky bucket); for one thread.

    Each byte buys time at the slowest pace, and never more than the time that there was at first.  So a peer
    that moves some bytes now and then, as slow as it likes above that pace, is never late, and one that
    stops is late after that time, however much it moved before.

    Args:
        seconds: until a peer that moves nothing is late.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: float | None = None

    @property
    def is_expected(self) -> bool:
        """Whether bytes are to move."""
        return self._due is not None

    def begin(self, now: float) -> None:
        """Bytes are to move from now on; changes nothing if they were before."""
        if self._due is None:
            self._due = now + self._seconds

    def moved(self, now: float, nbytes: int) -> None:
        """Some moved."""
        if self._due is not None:
            self._due = min(now + self._seconds, self._due + nbytes / SLOWEST_BYTES_PER_S)

    def end(self) -> None:
        """None are to move."""
        self._due = None

    def is_late(self, now: float) -> bool:
        """Whether too little moved."""
        return self._due is not None and now > self._due


def acknowledged(connected: Any) -> tuple[int, bool] | None:
    """What a TCP socket's peer has acknowledged; None where the system does not say.

    Returns:
        bytes since the beginning, and whether more waits for it.
    """
    if connected is None or not sys.platform.startswith("linux"):
        return None
    try:
        info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    except OSError:
        return None
    if len(info) < _TCP_INFO_SIZE:
        return None
    segments, acked, unsent = (int.from_bytes(info[field], sys.byteorder) for field in _TCP_INFO)
    return acked, bool(segments or unsent)
