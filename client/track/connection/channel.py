"""A connection that moves bytes, plain or inside TLS 1.3, and waits nowhere but in `select`.

The threads that connect and send import no modules: a fork in the middle of an import leaves the lock of that
module held in the child, where nothing releases it, and the child never connects.  So everything is imported
with this room, which only happens for a ``socket:`` URI.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  # `socket` imports it on first use, and that is on a thread: see below
import logging
import math
import select
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from track.process.files import OwnedDescriptor
from track_protocol.errors import (
    AuthenticationError,
    CallTimeout,
    ConnectionLost,
    EncryptionMismatch,
    ServerUnreachable,
    TrackError,
    UsageError,
)
from track_protocol.security.tls import ALPN, check_negotiated

__all__ = ["Channel", "client_context", "wait_for"]

_log: Final = logging.getLogger("track.connection")

_CHUNK_BYTES: Final = 256 * 1024


class Channel:
    """A TCP connection to a server, open from the beginning.

    Args:
        host, port: of the server.
        shown: its name in messages.
        deadline: when to time out, on the clock of `time.monotonic`.

    Raises:
        ServerUnreachable: no connection is accepted there.
    """

    def __init__(self, host: str, port: int, shown: str, deadline: float) -> None:
        self._shown = shown
        _log.debug("connecting to %s", shown)
        try:
            connected = socket.create_connection(
                (host, port), timeout=max(0.001, deadline - time.monotonic())
            )
        except (OSError, UnicodeError) as error:  # the latter for an impossible host name
            reason = _why(error) if isinstance(error, OSError) else "it is not a host name"
            raise ServerUnreachable(
                f"no server answers at {shown} ({reason}): is it running, and is the address right?"
            ) from None
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket: socket.socket | ssl.SSLSocket = connected
        self._descriptor = OwnedDescriptor(connected.fileno())

    def start_tls(self, host: str, cafile: str | None, deadline: float) -> bytes:
        """Switch to TLS; returns the server's certificate, DER encoded.

        Args:
            host: whose certificate it must be, if `cafile` is given.
            cafile: PEM file of authorities; None to trust by pin and channel binding.
            deadline: when to time out.

        Raises:
            AuthenticationError: its certificate is missing, or no authority of `cafile` signed it.
            EncryptionMismatch: the server does not support TLS 1.3 as required.
            CallTimeout: it did not finish the handshake in time.
            ServerUnreachable: it ended the connection.
        """
        context = client_context(Path(cafile) if cafile else None)
        try:
            # A peer that has reset the connection: `wrap_socket` would raise without closing its socket.
            self._own.getpeername()
            tls = context.wrap_socket(self._own, server_hostname=host, do_handshake_on_connect=False)
            self._socket = tls
            self._shake_hands(tls, deadline)
        except TrackError:
            raise
        except ssl.SSLCertVerificationError as error:
            raise AuthenticationError(
                f"the certificate of {self._shown} is not signed for it by {cafile}: {error.verify_message}"
            ) from None
        except OSError as error:
            # A server that stops, or has no connection left, ends the stream: that may be over soon.
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
                raise EncryptionMismatch(
                    f"{self._shown} does not use TLS 1.3 ({error.reason or error}): if it is a server "
                    "started with security_layer=plaintext, say so in the URI too; otherwise something else "
                    "listens there"
                ) from None
            raise ServerUnreachable(
                f"{self._shown} ended the TLS handshake ({_why(error)}): try again"
            ) from None
        check_negotiated(tls)
        der = tls.getpeercert(binary_form=True)
        if der is None:
            raise AuthenticationError(f"{self._shown} showed no certificate")
        _log.debug("TLS is established with %s: %s, %s", self._shown, tls.version(), tls.cipher())
        return der

    def _shake_hands(self, tls: ssl.SSLSocket, deadline: float) -> None:
        while True:
            assert self._own is tls  # and the descriptor is still ours
            try:
                tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                event = select.POLLIN
            except ssl.SSLWantWriteError:
                event = select.POLLOUT
            if not wait_for([(self, event)], deadline - time.monotonic()):
                raise CallTimeout(
                    f"{self._shown} accepted the connection and did not finish the TLS handshake in time: "
                    "is it overloaded?"
                )

    def send(self, data: bytearray) -> int:
        """Send what the socket accepts now; returns the number of bytes.

        Raises:
            ConnectionLost: the descriptor is not ours any more.
            OSError: the connection broke.
        """
        try:
            with memoryview(data) as view:
                return self._own.send(view[:_CHUNK_BYTES])
        except OSError as error:
            if _would_block(error):
                return 0
            raise

    def receive(self) -> bytes | None:
        """The bytes that have arrived; None if there are none now, empty at the end of the stream.

        Raises:
            ConnectionLost: the descriptor is not ours any more.
            OSError: the connection broke.
        """
        try:
            return self._own.recv(_CHUNK_BYTES)
        except OSError as error:
            if _would_block(error):
                return None
            raise

    def broken(self, error: OSError) -> ConnectionLost:
        """The error of this project for a failed `send` or `receive`."""
        return ConnectionLost(f"the connection to {self._shown} was lost: {_why(error)}")

    def fileno(self) -> int:
        """The descriptor, to be polled."""
        return self._own.fileno()

    def close(self) -> None:
        """Release it; harmless when repeated, and when the program has closed it already."""
        if self._descriptor.is_ours:
            self._socket.close()
        else:
            self._socket.detach()

    @property
    def connected_socket(self) -> socket.socket | ssl.SSLSocket:
        """The socket, for a look at its addresses."""
        return self._socket

    @property
    def _own(self) -> socket.socket | ssl.SSLSocket:
        if not self._descriptor.is_ours:
            raise ConnectionLost(f"the program has closed the descriptor of the connection to {self._shown}")
        return self._socket


def client_context(cafile: Path | None = None) -> ssl.SSLContext:
    """A context for connecting to a server.

    By default the certificate is not looked up at an authority: the pin is compared before
    anything is sent, and the login proves that this very certificate's owner knows the user.
    After the handshake `check_negotiated` must be asked before anything is read or written.

    Args:
        cafile: PEM file of authorities; then the certificate must also be signed by one of them
            for the host that is connected to.

    Raises:
        UsageError: `cafile` cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    if cafile is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context.load_verify_locations(cafile)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"{cafile} cannot be used as a file of certificate authorities: {error}") from error
    return context


def wait_for(polled: Sequence[tuple[object, int]], seconds: float | None) -> set[int]:
    """Wait until something happens to one of some descriptors; those to which something did, by number.

    Args:
        polled: objects with a `fileno`, and the events of `select.poll` to wait for.
        seconds: to wait at most.
    """
    poller = select.poll()
    for descriptor, events in polled:
        poller.register(descriptor, events)  # type: ignore[arg-type] # anything with a `fileno`
    ready = poller.poll(None if seconds is None else max(0, math.ceil(seconds * 1000)))
    return {number for number, _ in ready}


def _why(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _would_block(error: OSError) -> bool:
    """Whether a non-blocking socket, plain or TLS, only has to wait."""
    if isinstance(error, BlockingIOError):
        return True
    return isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError)
