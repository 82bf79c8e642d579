"""Accepts connections, and decides how many unauthenticated peers are served at once.

A peer is unauthenticated until its login succeeded.  What it costs is counted by what it does:

- A connection that has sent nothing costs a file descriptor.  It takes no slot, so thousands of silent
  ones prevent no login; each is closed after the time for a handshake.
- A connection that has sent bytes waits for one of its address's slots.  Addresses take turns, and
  within an address the newest is first: when there are more than can be served, those that have waited
  longest are the least likely to be still there.
- A slot that was taken long enough for a login is given to the next that waits (its holder is dropped): a
  peer that does nothing with it holds it for a second, and a login frees it.

An address is one of IPv4, or a network of 64 bits of IPv6, of which one machine may have all.  When no
connection is left, the address that has the most unauthenticated ones gives one up.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import ssl
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from track_server.network.limits import Limits
from track_server.network.misdialled import FIRST_BYTES, is_tls, tls_only

__all__ = ["Listener", "PeerConnection", "origin_of"]

_log = logging.getLogger(__name__)

_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_EXHAUSTED_PAUSE_S: Final = 0.1
_TELL_AGAIN_S: Final = 60.0
_EXPIRY_INTERVAL_S: Final = 0.25


def _tls_only(first: bytes) -> bytes | None:
    return None if is_tls(first) else tls_only()


def origin_of(address: str) -> str:
    """What counts as one address: an IPv4 address, or 64 bits of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


@dataclass(eq=False, slots=True)
class PeerConnection:
    """One accepted connection.

    Attributes:
        origin: see `origin_of`.
        socket: as accepted.
        since: when it was accepted, and from then on when it got its slot; on the loop's clock.
        unauthenticated: until its login succeeded.
        open: until it ends.
        abort: ends it at once.
    """

    origin: str
    socket: socket.socket
    since: float
    unauthenticated: bool = True
    open: bool = True
    abort: Callable[[], object] | None = None


class Listener:
    """Accepts from one listening socket.

    Args:
        listening: bound, listening and non-blocking.
        limits: how many at once.
        tls: the context of the handshake, None for plain text.
        protocol: makes the session of a connection.
        refusal: of a peer's first bytes, the answer before the connection is closed because it speaks
            something else; None to go on.  By default a client of the wire that uses no TLS is asked to.
    """

    def __init__(
        self,
        listening: socket.socket,
        limits: Limits,
        tls: ssl.SSLContext | None,
        protocol: Callable[[PeerConnection], asyncio.Protocol],
        refusal: Callable[[bytes], bytes | None] | None = None,
    ) -> None:
        self._listening = listening
        self._limits = limits
        self._tls = tls
        self._protocol = protocol
        self._refusal = refusal if refusal is not None else _tls_only if tls else lambda _first: None
        self._open = 0
        self._silent: OrderedDict[PeerConnection, None] = OrderedDict()
        self._waiting: OrderedDict[str, list[PeerConnection]] = OrderedDict()
        self._slots: OrderedDict[PeerConnection, None] = OrderedDict()
        self._slots_of: Counter[str] = Counter()
        self._unauthenticated_of: Counter[str] = Counter()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._reported_at = -_TELL_AGAIN_S

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._open

    @property
    def silent(self) -> int:
        """How many of them have said nothing yet."""
        return len(self._silent)

    async def accept(self) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        sweeper = loop.create_task(self._sweep())
        try:
            while True:
                try:
                    peer, name = await loop.sock_accept(self._listening)
                except OSError as error:
                    await self._accept_failed(error)
                    continue
                self._accepted(peer, str(name[0]))
        finally:
            sweeper.cancel()

    async def _accept_failed(self, error: OSError) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._reported_at >= _TELL_AGAIN_S:
            self._reported_at = now
            _log.warning(
                "a connection could not be accepted: %s; accepting pauses until a connection ends", error
            )
        if error.errno in _EXHAUSTED:  # it stays in the kernel's queue, and so would be tried at once again
            await asyncio.sleep(_EXHAUSTED_PAUSE_S)

    def _accepted(self, peer: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        origin = origin_of(address)
        if self._open >= self._limits.connections and not self._make_room(origin):
            _log.warning("a connection from %s is refused: %d are open", address, self._open)
            peer.close()
            return
        connection = PeerConnection(origin, peer, loop.time())
        self._open += 1
        self._unauthenticated_of[origin] += 1
        self._silent[connection] = None
        loop.add_reader(peer, self._speaks, connection)

    def authenticated(self, connection: PeerConnection) -> None:
        """The peer logged in; harmless when repeated."""
        if connection.unauthenticated:
            connection.unauthenticated = False
            _decrement(self._unauthenticated_of, connection.origin)
            if connection in self._slots:
                del self._slots[connection]
                _decrement(self._slots_of, connection.origin)
            self._admit()

    def disconnected(self, connection: PeerConnection) -> None:
        """The connection ended; harmless when repeated."""
        if connection.open:
            connection.open = False
            self._open -= 1
            self.authenticated(connection)

    def close(self) -> None:
        """Stop listening and close waiting connections."""
        self._listening.close()
        waiting = [*self._silent, *(each for line in self._waiting.values() for each in line)]
        for connection in waiting:
            self._close(connection)
        for handshake in self._handshakes:
            handshake.cancel()

    # -- connections without a slot --------------------------------------------------------------

    def _speaks(self, connection: PeerConnection) -> None:
        """Its first bytes have come, or its end."""
        asyncio.get_running_loop().remove_reader(connection.socket)
        del self._silent[connection]
        self._waiting.setdefault(connection.origin, []).append(connection)
        self._admit()

    def _close(self, connection: PeerConnection) -> None:
        """Close a connection without a slot."""
        if connection in self._silent:
            asyncio.get_running_loop().remove_reader(connection.socket)
            del self._silent[connection]
        else:
            line = self._waiting[connection.origin]
            line.remove(connection)
            if not line:
                del self._waiting[connection.origin]
        connection.socket.close()
        self.disconnected(connection)

    def _make_room(self, origin: str) -> bool:
        """Close a connection without a slot of the address that has most; False if that is `origin`."""
        for other, count in self._unauthenticated_of.most_common():
            if count <= self._unauthenticated_of[origin]:
                return False
            silent = next((each for each in self._silent if each.origin == other), None)
            line = self._waiting.get(other)
            oldest = silent or (line[0] if line else None)
            if oldest is not None:
                self._close(oldest)
                return True
        return False

    async def _sweep(self) -> None:
        """Close those that say nothing, and those whose time to wait is over; free slots held too long."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_EXPIRY_INTERVAL_S)
            before = loop.time() - self._limits.handshake_seconds
            while self._silent and (first := next(iter(self._silent))).since < before:
                _log.debug("closing a connection from %s: it sends nothing", first.origin)
                self._close(first)
            for line in list(self._waiting.values()):
                for connection in [each for each in line if each.since < before]:
                    _log.debug("closing a connection from %s: it has waited too long", connection.origin)
                    self._close(connection)
            self._admit()

    # -- connections with a slot -----------------------------------------------------------------

    def _admit(self) -> None:
        """Give slots to those that wait, in turn: free slots, or those that were held long enough."""
        served = True
        while served:
            served = False
            for origin in list(self._waiting):
                if not self._has_slot():
                    return
                if self._has_slot(origin):
                    line = self._waiting.pop(origin)
                    self._serve(line.pop())
                    if line:
                        self._waiting[origin] = line  # behind the others
                    served = True

    def _has_slot(self, origin: str | None = None) -> bool:
        """Whether there is a slot for an address, or for any; frees one that was held long enough."""
        if origin is None:
            taken, most = len(self._slots), self._limits.unauthenticated
        else:
            taken, most = self._slots_of[origin], self._limits.unauthenticated_per_address
        if taken < most:
            return True
        oldest = next(each for each in self._slots if origin is None or each.origin == origin)
        if asyncio.get_running_loop().time() - oldest.since < self._limits.slot_seconds:
            return False
        _log.debug("closing a connection from %s to free its slot: it does not log in", oldest.origin)
        del self._slots[oldest]
        _decrement(self._slots_of, oldest.origin)
        if oldest.abort is not None:
            oldest.abort()
        return True

    def _serve(self, connection: PeerConnection) -> None:
        loop = asyncio.get_running_loop()
        connection.since = loop.time()
        self._slots[connection] = None
        self._slots_of[connection.origin] += 1
        handshake = loop.create_task(self._shake_hands(connection))
        connection.abort = handshake.cancel
        self._handshakes.add(handshake)
        handshake.add_done_callback(partial(self._handshake_ended, connection))

    def _handshake_ended(self, connection: PeerConnection, handshake: asyncio.Task[None]) -> None:
        self._handshakes.discard(handshake)
        if handshake.cancelled():  # perhaps before it began, and could close the socket itself
            connection.socket.close()
            self.disconnected(connection)

    async def _shake_hands(self, connection: PeerConnection) -> None:
        loop = asyncio.get_running_loop()
        peer = connection.socket
        timeout = self._limits.handshake_seconds if self._tls is not None else None
        try:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            refusal = self._refusal(peer.recv(FIRST_BYTES, socket.MSG_PEEK))
            if refusal is not None:
                await self._refuse(peer, refusal)
                raise ConnectionAbortedError("the peer speaks another protocol")
            transport, _ = await loop.connect_accepted_socket(
                lambda: self._protocol(connection),
                peer,
                ssl=self._tls,
                ssl_handshake_timeout=timeout,
                # Who was dropped and does not say goodbye must not keep its place for long.
                ssl_shutdown_timeout=timeout,
            )
            connection.abort = transport.abort
        except (OSError, TimeoutError) as error:  # ssl.SSLError is among them
            _log.info("no connection with %s: %s", connection.origin, str(error) or "it took too long")
            peer.close()
            self.disconnected(connection)
        except BaseException:
            peer.close()
            self.disconnected(connection)
            raise

    @staticmethod
    async def _refuse(peer: socket.socket, refusal: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_recv(peer, 65_536)  # data left unread would make the kernel drop what is sent
        await loop.sock_sendall(peer, refusal)
        peer.shutdown(socket.SHUT_WR)


def _decrement(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
