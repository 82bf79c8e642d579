"""Who this user is toward the other end of an encrypted socket, and whom this user accepts there.

Both ends show a certificate.  By default they are the same one, which is in a file that only its user can
read: so two programs of one user on one machine know each other without any configuration.
"""

from __future__ import annotations

import datetime
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from track.configuration import options
from track.process.files import locked, replace_file
from track.process.private import make_folder
from track_protocol.errors import AuthenticationError
from track_protocol.locations import client_state_folder
from track_protocol.security.tls import parse_pins, pin_of_certificate

__all__ = ["SocketIdentity", "socket_identity"]

_END: Final = "-----END CERTIFICATE-----"
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class SocketIdentity:
    """What an end of an encrypted socket shows, and what it accepts.

    Attributes:
        path: PEM file of the private key and its certificate.
        trusted: the certificates that a peer who connects here may show, as PEM.
        pins: of all keys that a peer may have.
    """

    path: Path
    trusted: str
    pins: tuple[str, ...]


def socket_identity() -> SocketIdentity:
    """This user's identity, made at the first use, and the peers that the options name.

    The options are ``socket.identity`` (the PEM file to use instead), ``socket.peers`` (a PEM file with the
    certificates of others to accept) and ``socket.pin`` (pins of other servers to accept), each of which may
    also come from the environment, such as ``TRACK_SOCKET_PIN``.

    Raises:
        AuthenticationError: a file cannot be read or made, others may read the identity, or there is no
            certificate in it.
        UriError: ``socket.pin`` is not one pin, or two.
    """
    named = options("socket.identity", None)
    path = Path(named) if named else client_state_folder(os.environ) / "sockets" / "identity.pem"
    if not named:
        _make(path)
    peers = options("socket.peers", None)
    own = _certificates(path, _read_private(path))
    others = _certificates(Path(peers), _read(Path(peers))) if peers else []
    pin = options("socket.pin", None)
    pins = [pin_of_certificate(_der(each)) for each in (*own[:1], *others)]
    return SocketIdentity(path, "".join((*own[:1], *others)), (*pins, *(parse_pins(str(pin)) if pin else ())))


def _make(path: Path) -> None:
    """Make the identity if it is not there; of several processes that start at once, one does."""
    if path.exists():
        return
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from track_protocol.security.selfsigned import new_key, self_signed

    try:
        make_folder(path.parent)
        with locked(path.with_suffix(".lock")):
            if path.exists():
                return
            key = new_key()
            private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            # A name of its own, so that among several trusted ones each is found at once.
            certificate = self_signed(
                key, f"track-{os.urandom(8).hex()}", datetime.datetime.now(datetime.UTC)
            )
            replace_file(path, private + certificate)
    except OSError as error:
        raise AuthenticationError(
            f"the identity for encrypted sockets cannot be created at {path}: {error.strerror}; set "
            "XDG_STATE_HOME to a folder of yours that can be written"
        ) from error


def _read_private(path: Path) -> str:
    text = _read(path)
    found = path.stat()
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & 0o077:
        raise AuthenticationError(
            f"{path} may be read by others (mode {stat.S_IMODE(found.st_mode):04o}, user {found.st_uid}), "
            "and whoever has a copy can impersonate you: chmod 600 it if no one has copied it; otherwise "
            "remove it to get a new one"
        )
    return text


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise AuthenticationError(f"{path} cannot be read as a PEM file: {error}") from error


def _certificates(path: Path, text: str) -> list[str]:
    found = [f"{_BEGIN}{part.partition(_END)[0]}{_END}\n" for part in text.split(_BEGIN)[1:]]
    if not found:
        raise AuthenticationError(f"{path} contains no certificate: give a PEM file with one")
    return found


def _der(pem: str) -> bytes:
    import ssl

    try:
        return ssl.PEM_cert_to_DER_cert(pem)
    except ValueError as error:
        raise AuthenticationError(f"a certificate is damaged ({error}): give the file again") from error
