"""Sockets inside TLS 1.3 with AES-256-GCM, whose ends know each other.

The ends prove by certificate who they are (see `track.utils.identity`), before the first byte of the program
goes through.  All else is that of the standard library's `ssl.SSLSocket`.  As on a plain socket,
whoever can cut the connection can end a stream early: a program says within the stream where it ends.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from track.utils.identity import SocketIdentity, socket_identity
from track_protocol.errors import (
    AuthenticationError,
    ConnectionLost,
    EncryptionMismatch,
    TrackError,
    UsageError,
)
from track_protocol.security.tls import check_negotiated, check_pin

__all__ = ["EncryptedSocket", "wrap_socket"]

_log: Final = logging.getLogger("track")

_ALPN: Final = "track-socket/1"
_HANDSHAKE_SECONDS: Final = 5.0
_REFUSED: Final = ("CERTIFICATE_REQUIRED", "UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN")
_REMEDY: Final = (
    "Between machines or users, give both the same identity by TRACK_SOCKET_IDENTITY, or each the other's "
    "certificate by TRACK_SOCKET_PEERS (and the server's key, where only that is known, by TRACK_SOCKET_PIN)"
)
_T = TypeVar("_T")


class EncryptedSocket(ssl.SSLSocket):
    """A stream socket whose traffic is encrypted; made like `socket.socket`, or by `wrap_socket`.

    It is the client's side if it connects, and makes the server's sides if it listens.

    Raises:
        UsageError: it is made over a file number that is connected: `wrap_socket` takes such a socket.
    """

    _identity: SocketIdentity | None = None
    _is_known = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        made = wrap_socket(socket.socket(*args, **kwargs))
        if made._connected_to() is not None:
            made.close()
            raise UsageError("a connected socket is encrypted by wrap_socket(sock, server_side=…)")
        state = vars(made)
        socket.socket.__init__(self, made.family, made.type, made.proto, made.detach())
        vars(self).update(state)

    def do_handshake(self, block: bool = False) -> None:
        """Agree on the encryption, and require that the peer is one of those who are accepted.

        Raises:
            AuthenticationError: it is not.
            EncryptionMismatch: the peer speaks no TLS, or not this cipher.
        """
        before = self.gettimeout()
        if before is None:
            self.settimeout(_HANDSHAKE_SECONDS)
        with _explained():
            super().do_handshake(block)
        check_negotiated(self, _ALPN)
        shown = self.getpeercert(binary_form=True)
        identity = self._identity or socket_identity()
        if shown is None:
            raise AuthenticationError(f"the peer showed no certificate. {_REMEDY}")
        check_pin(identity.pins, shown, origin="this user's list of peers", remedy=_REMEDY)
        self._is_known = True
        if before is None:
            self.settimeout(None)

    def accept(self) -> tuple[EncryptedSocket, Any]:
        """Wait for a peer that proves to be an accepted one; any other is rejected, with a warning.

        Returns:
            The socket, and the peer's address.
        """
        while True:
            connection, address = socket.socket.accept(self)
            try:
                connection.settimeout(_HANDSHAKE_SECONDS)
                made = wrap_socket(connection, server_side=True, handshake=True)
            except (OSError, TrackError) as error:
                connection.close()
                _log.warning("a connection from %s is not accepted: %s", address, error)
                continue
            made.settimeout(socket.getdefaulttimeout())
            return made, address

    def recv(
        self, bufferize: int | None = None, flags: int = 0, context: Any = None, *, buffersize: int = 1024
    ) -> bytes:
        """Receive up to so many bytes; none when the peer has closed.

        Args:
            bufferize, buffersize: how many, under either documented name.
            flags: 0, since nothing else has a meaning inside TLS.
            context: nothing; it is taken because it is documented.
        """
        count = buffersize if bufferize is None else bufferize
        return self._known(lambda: super(EncryptedSocket, self).recv(count, flags))

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive into a buffer; see `socket.socket.recv_into`."""
        return self._known(lambda: super(EncryptedSocket, self).recv_into(buffer, nbytes, flags))

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """See `ssl.SSLSocket.read`."""
        return self._known(lambda: super(EncryptedSocket, self).read(len, buffer))

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some of the bytes; returns how many."""
        return self._known(lambda: super(EncryptedSocket, self).send(data, flags))

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of the bytes."""
        self._known(lambda: super(EncryptedSocket, self).sendall(data, flags))

    def write(self, data: Any) -> int:
        """See `ssl.SSLSocket.write`."""
        return self._known(lambda: super(EncryptedSocket, self).write(data))

    def readsize(self) -> int:
        """How many bytes `recv` can return at once, since they are here and decrypted."""
        return self.pending()

    def shutdown(self, how: int) -> None:
        """End one direction or both; what the peer still sends can be read if only writing was ended."""
        # That of SSLSocket forgets the encryption, so that reading on would return the cipher's bytes.
        socket.socket.shutdown(self, how)

    def _known(self, act: Callable[[], _T]) -> _T:
        """Act, once the peer is known."""
        if not self._is_known:
            # Fails as on any socket without a peer; also in the middle of being made.
            self.getpeername()
            self.do_handshake()
        with _explained():
            return act()

    def _connected_to(self) -> Any:
        try:
            return self.getpeername()
        except OSError:
            return None


def wrap_socket(sock: socket.socket, server_side: bool = False, handshake: bool = False) -> EncryptedSocket:
    """An encrypted socket in the place of a plain one, which cannot be used any more.

    Args:
        sock: a stream socket; connected, or yet to connect or to listen.
        server_side: which side this end is, for a connected one.
        handshake: agree on the encryption at once, for a connected one; else that is done at the first
            reading or writing.

    Raises:
        AuthenticationError: there is no identity to show, or the peer is not one of those who are accepted.
        EncryptionMismatch: the peer speaks no TLS, or not this cipher.
        ConnectionLost: the peer closes the connection.
    """
    identity = socket_identity()
    context = _context(identity, server_side)
    # Only a connected socket is asked for a handshake here, and its peer is to be checked by ours.
    made = context.wrap_socket(sock, server_side, do_handshake_on_connect=False)
    assert isinstance(made, EncryptedSocket)
    made._identity = identity
    if handshake and made._connected_to() is not None:
        try:
            made.do_handshake()
        except BaseException:
            made.close()
            raise
    return made


def _context(identity: SocketIdentity, server_side: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([_ALPN])
    context.sslsocket_class = EncryptedSocket
    # A peer may end its writing and continue reading, as on a plain socket; OpenSSL 1.1 has it so anyway.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    try:
        context.load_cert_chain(identity.path)
    except (OSError, ssl.SSLError) as error:
        raise AuthenticationError(
            f"{identity.path} contains no private key with its certificate ({error}): remove it to get a new "
            "one"
        ) from error
    if server_side:
        # A resumed session would skip the certificates.
        context.num_tickets = 0
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=identity.trusted)
    else:
        # The server is known by its key, whatever it is called; that is checked after the handshake.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLZeroReturnError):
        raise
    except ssl.SSLEOFError as error:
        raise ConnectionLost(
            "the peer has closed the connection; if it was just opened, the peer may not accept this end's "
            f"certificate. {_REMEDY}"
        ) from error
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        if isinstance(error, ssl.SSLCertVerificationError) or any(word in reason for word in _REFUSED):
            raise AuthenticationError(
                f"one end does not accept the other's certificate ({reason}). {_REMEDY}"
            ) from error
        raise EncryptionMismatch(
            f"TLS failed ({reason}): does the peer open or listen with backend='AES', too?"
        ) from error
