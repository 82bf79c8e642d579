"""Who is at the other end of a loopback connection: the user id of the process that holds it.

The kernel lists each end of a TCP connection with the user who owns its socket (proc(5),
``/proc/net/tcp``). The peer's end is the line whose own address is the peer's and whose other address is
ours.  A line counts only while the connection is established and a process has its socket: of one that was
closed the kernel says user 0, which would let in anybody where root runs the server."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Final

from track_protocol.loopback import is_loopback

__all__ = ["Address", "is_own_user", "uid_of_peer"]

Address = tuple[str, int]
"""Host, as a number, and port."""

_TABLES: Final = {4: (Path("/proc/net/tcp"), Path("/proc/net/tcp6")), 6: (Path("/proc/net/tcp6"),)}
"""An IPv4 connection is in the table of IPv6 when its socket is of that family (RFC 4291, 2.5.5.2)."""
_UNKNOWN_UID: Final = Path("/proc/sys/kernel/overflowuid")
"""Stands for all users that have no number in this user namespace."""
_ESTABLISHED: Final = "01"
_LOCAL, _REMOTE, _STATE, _UID, _INODE = 1, 2, 3, 7, 9


def is_own_user(ours: Address, theirs: Address) -> bool:
    """Whether a connection comes from a process of this process's user on this machine.

    Args:
        ours: our end of the connection.
        theirs: the peer's.
    """
    return uid_of_peer(ours, theirs) == os.geteuid()


def uid_of_peer(ours: Address, theirs: Address) -> int | None:
    """The user id of the process at the other end; None where it cannot be told.

    Args:
        ours: our end of the connection.
        theirs: the peer's.
    """
    if not (is_loopback(ours[0]) and is_loopback(theirs[0])):
        return None
    try:
        found = _owner(ours, theirs)
        unknown = int(_UNKNOWN_UID.read_text())
    except (OSError, ValueError):
        return None  # another system than Linux, or a /proc that is not shown
    return None if found == unknown else found


def _owner(ours: Address, theirs: Address) -> int | None:
    for table in _TABLES[ip_address(theirs[0]).version]:
        wanted = {(_written(theirs, six), _written(ours, six)) for six in (False, True)}
        with table.open(encoding="ascii") as lines:
            found = _owner_in(lines, wanted)
        if found is not None:
            return found
    return None


def _owner_in(lines: Iterable[str], wanted: set[tuple[str, str]]) -> int | None:
    for line in lines:
        parts = line.split()
        if (parts[_LOCAL], parts[_REMOTE]) in wanted:
            held = parts[_STATE] == _ESTABLISHED and parts[_INODE] != "0"
            return int(parts[_UID]) if held else None
    return None


def _written(address: Address, six: bool) -> str:
    """An address as the kernel writes it: words of 32 bits in the machine's order, and the port."""
    host = ip_address(address[0])
    packed = host.packed
    if six and isinstance(host, IPv4Address):
        packed = socket.inet_pton(socket.AF_INET6, f"::ffff:{host}")
    words = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
    return f"{''.join(f'{word:08X}' for word in words)}:{address[1]:04X}"
