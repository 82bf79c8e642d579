"""The door: accepts connections, and lets only so many strangers in at once.

A peer is a stranger until its login succeeded.  Peers over a limit are not turned away, since a
hundred workers of one node may well start in the same second: they wait, untouched, until a
stranger before them is known or gone.  Addresses take turns, and when no connection is left the
address with the most waiting peers gives one up: so one machine that opens thousands of them keeps
nobody else out.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from track_protocol.errors import EncryptionMismatch
from track_protocol.wire.connection import Connection, Side
from track_server.network.limits import Limits

__all__ = ["Door", "Visitor"]

_log = logging.getLogger(__name__)

_OUT_OF_FILES_PAUSE: Final = 0.1
_TLS_HANDSHAKE: Final = b"\x16"
"""First byte of every TLS connection (RFC 8446, 5.1)."""


@dataclass(eq=False, slots=True)
class Visitor:
    """One accepted connection; `stranger` until its login succeeded, `inside` until it ends."""

    address: str
    stranger: bool = True
    inside: bool = True


class Door:
    """Accepts from one listening socket.

    Args:
        listening: bound, listening and non-blocking.
        limits: how many at once.
        tls: the context of the handshake, None for plain text.
        protocol: makes the session of a visitor.
    """

    def __init__(
        self,
        listening: socket.socket,
        limits: Limits,
        tls: ssl.SSLContext | None,
        protocol: Callable[[Visitor], asyncio.Protocol],
    ) -> None:
        self._listening = listening
        self._limits = limits
        self._tls = tls
        self._protocol = protocol
        self._inside = 0
        self._strangers: Counter[str] = Counter()
        self._waiting: dict[str, deque[tuple[socket.socket, Visitor]]] = {}
        self._greetings: set[asyncio.Task[None]] = set()

    async def accept(self) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, name = await loop.sock_accept(self._listening)
            except OSError as error:
                _log.warning("a connection could not be accepted: %s", error)
                await asyncio.sleep(_OUT_OF_FILES_PAUSE)
                continue
            address = str(name[0])
            if self._inside >= self._limits.connections and not self._make_room(address):
                _log.warning("a connection from %s is refused: %d are open", address, self._inside)
                peer.close()
                continue
            self._inside += 1
            self._waiting.setdefault(address, deque()).append((peer, Visitor(address)))
            self._admit()

    def known(self, visitor: Visitor) -> None:
        """The visitor logged in."""
        if visitor.stranger:
            visitor.stranger = False
            self._strangers[visitor.address] -= 1
            self._strangers += Counter()  # forgets addresses without strangers
            self._admit()

    def left(self, visitor: Visitor) -> None:
        """The visitor is gone; harmless when repeated."""
        if visitor.inside:
            visitor.inside = False
            self._inside -= 1
            self.known(visitor)

    def close(self) -> None:
        """Stop listening and forget those who wait."""
        self._listening.close()
        for waiting in self._waiting.values():
            for peer, _ in waiting:
                peer.close()
        self._waiting.clear()
        for greeting in self._greetings:
            greeting.cancel()

    def _make_room(self, address: str) -> bool:
        """Close a connection that waits, of the address that has most of them; False if that is `address`."""
        most = max(self._waiting, key=lambda other: len(self._waiting[other]), default=address)
        if len(self._waiting.get(most, ())) <= len(self._waiting.get(address, ())):
            return False
        peer, _ = self._waiting[most].pop()
        if not self._waiting[most]:
            del self._waiting[most]
        peer.close()
        self._inside -= 1
        return True

    def _admit(self) -> None:
        for _ in range(self._limits.strangers - self._strangers.total()):
            address = next((a for a in self._waiting if self._has_room(a)), None)
            if address is None:
                return
            waiting = self._waiting.pop(address)
            peer, visitor = waiting.popleft()
            if waiting:
                self._waiting[address] = waiting  # to the end: addresses take turns
            self._strangers[address] += 1
            task = asyncio.get_running_loop().create_task(self._greet(peer, visitor))
            self._greetings.add(task)
            task.add_done_callback(self._greetings.discard)

    def _has_room(self, address: str) -> bool:
        return self._strangers[address] < self._limits.strangers_per_address

    async def _greet(self, peer: socket.socket, visitor: Visitor) -> None:
        loop = asyncio.get_running_loop()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        timeout = self._limits.handshake_seconds if self._tls is not None else None
        try:
            if self._tls is not None and not await self._starts_tls(peer):
                await self._explain(peer)
                raise ConnectionAbortedError("it speaks plain text")
            await loop.connect_accepted_socket(
                lambda: self._protocol(visitor),
                peer,
                ssl=self._tls,
                ssl_handshake_timeout=timeout,
                # Who was dropped and does not say goodbye must not keep its place for long.
                ssl_shutdown_timeout=timeout,
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is among them
            _log.info("no TLS handshake with %s: %s", visitor.address, str(error) or "it took too long")
            peer.close()
            self.left(visitor)
        except BaseException:
            peer.close()
            self.left(visitor)
            raise

    async def _starts_tls(self, peer: socket.socket) -> bool:
        """Whether the peer begins with a TLS handshake; looks without taking the byte."""
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(peer, _resolve, readable)
        try:
            await asyncio.wait_for(readable, self._limits.handshake_seconds)
        finally:
            loop.remove_reader(peer)
        return peer.recv(1, socket.MSG_PEEK) in (_TLS_HANDSHAKE, b"")

    @staticmethod
    async def _explain(peer: socket.socket) -> None:
        """Tell a plain-text client what is wrong, in the only language it understands."""
        connection = Connection(Side.SERVER)
        connection.send_close(
            EncryptionMismatch("this server speaks TLS only: leave security_layer=plaintext out of the URI")
        )
        loop = asyncio.get_running_loop()
        await loop.sock_recv(peer, 65_536)  # data left unread would make the kernel drop what is sent
        await loop.sock_sendall(peer, connection.data_to_send())
        peer.shutdown(socket.SHUT_WR)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
