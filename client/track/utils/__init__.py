"""What the client's modules share with programs that look for it here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from track_protocol.errors import ItemNotFound, ServerUnreachable, UsageError

if TYPE_CHECKING:
    import socket

__all__ = ["ItemNotFound", "listen_socket", "open_socket"]

_CONNECT_SECONDS: Final = 10.0


def open_socket(add: str, port: int, backend: str | None = None) -> socket.socket:
    """A socket that is connected.

    Args:
        add: the host.
        port: the port.
        backend: ``'AES'`` for an encrypted one whose peer is known, see `track.utils.encrypted`; None for
            a plain one.

    Raises:
        ServerUnreachable: nothing answers there.
        AuthenticationError: another program answers.
        EncryptionMismatch: who answers does not encrypt.
        UsageError: there is no such backend.
    """
    import socket

    encrypted = _is_encrypted(backend)
    try:
        plain = socket.create_connection((add, port), _CONNECT_SECONDS)
    except OSError as error:
        raise ServerUnreachable(
            f"nothing answers at {add}:{port} ({error}): check that it runs and listens there"
        ) from error
    plain.settimeout(None)
    if not encrypted:
        return plain
    from track.utils.encrypted import wrap_socket

    return wrap_socket(plain, handshake=True)


def listen_socket(add: str, port: int, backend: str | None = None) -> socket.socket:
    """A socket that listens.

    Args:
        add: the host to listen at; an empty one is every address of the machine.
        port: the port; 0 takes a free one.
        backend: ``'AES'`` for one whose `accept` gives encrypted sockets of known peers, see
            `track.utils.encrypted`; None for a plain one.

    Raises:
        UsageError: it cannot listen there, or there is no such backend.
    """
    import socket

    encrypted = _is_encrypted(backend)
    family = socket.AF_INET6 if ":" in add else socket.AF_INET
    try:
        plain = socket.create_server((add, port), family=family)
    except OSError as error:
        raise UsageError(f"cannot listen at {add}:{port}: {error}; choose another port") from error
    if not encrypted:
        return plain
    from track.utils.encrypted import wrap_socket

    return wrap_socket(plain)


def _is_encrypted(backend: str | None) -> bool:
    name = (backend or "none").lower()
    if name not in ("aes", "none"):
        raise UsageError(f"backend={backend!r} is not known: use 'AES', or None for a plain socket")
    return name == "aes"
