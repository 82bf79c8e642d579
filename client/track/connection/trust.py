"""Which server key to expect, and the saved pins of known servers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from track.connection.credentials import LocalCredentials
from track.connection.state_file import StateFile
from track_protocol.errors import AuthenticationError, PinMismatch
from track_protocol.loopback import is_loopback
from track_protocol.security.tls import JOIN_URI, check_pin, pin_of_certificate
from track_protocol.security.tokens import Secret, is_generated

__all__ = ["KnownServers", "Trust", "pins_for", "server_name"]

_log: Final = logging.getLogger("track.connection.trust")


class KnownServers(StateFile[dict[str, str]]):
    """The pins of servers that proved themselves, in ``known_servers.json``."""

    _NAME = "known_servers.json"
    _FIELD = "servers"

    def saved_pin(self, host: str, port: int) -> str | None:
        """The pin that was saved for this address, None before the first connection.

        Raises:
            AuthenticationError: the file is damaged; nothing is trusted then.
        """
        return self._read().get(server_name(host, port))

    def save(self, host: str, port: int, pin: str) -> None:
        """Save a pin permanently; to be called once the server has proved that it knows the verifier.

        A file that cannot be written is only a warning, since the server did prove itself.

        Raises:
            PinMismatch: another one is saved for this address.
            AuthenticationError: the file is damaged.
        """
        try:
            with self._locked():
                pins = self._read()
                saved = pins.setdefault(server_name(host, port), pin)
                if saved != pin:
                    raise PinMismatch(
                        f"{self.path} expects {saved} of {server_name(host, port)}, but the server has "
                        f"{pin}. {self.remedy(host, port)}"
                    )
                self._write({address: {"pin": pin} for address, pin in pins.items()})
        except OSError as error:
            _log.warning(
                "the server's pin cannot be saved in %s (%s): put pin=%s into the URI, or set XDG_STATE_HOME "
                "to a folder that can be written",
                self.path,
                error.strerror,
                pin,
            )

    def remedy(self, host: str, port: int) -> str:
        """The remedy for a changed pin."""
        return (
            "Ask the operator of the server whether its key was replaced; only then remove the entry "
            f"{server_name(host, port)!r} from {self.path}, or use the new join URI"
        )

    def _parsed(self, value: Any) -> dict[str, str]:
        return {str(address): str(entry["pin"]) for address, entry in value.items()}

    def _unusable(self, reason: Exception) -> AuthenticationError:
        return AuthenticationError(
            f"{self.path}, the list of known servers, cannot be used ({reason}): repair it, put "
            "the server's pin into the URI, or set XDG_STATE_HOME to another folder"
        )


@dataclass(frozen=True, slots=True)
class Trust:
    """The expected identity of a server, which is checked before anything is sent to it.

    Attributes:
        host: the server's host.
        port: the server's port.
        pins: the accepted pins; none before the first connection.
        origin: the source of the pins.
        known: the saved pins.
        is_saved: whether they are the source.
    """

    host: str
    port: int
    pins: tuple[str, ...]
    origin: str
    known: KnownServers
    is_saved: bool = False

    def check(self, der: bytes) -> None:
        """Require that the certificate is one of the expected server; before anything is sent.

        Args:
            der: the certificate that the server showed, DER encoded.

        Raises:
            PinMismatch: it is not, or it is not the one of the last time.
        """
        if self.is_saved:
            check_pin(self.pins, der, origin=self.origin, remedy=self.known.remedy(self.host, self.port))
        elif self.pins:
            check_pin(self.pins, der, origin=self.origin)

    def proven(self, der: bytes) -> None:
        """Save the server's pin if this was the first connection; after the server has proved itself.

        Args:
            der: the certificate that the server showed, DER encoded.

        Raises:
            PinMismatch: another process has saved another server's pin in the meantime.
        """
        if not self.pins:
            self.known.save(self.host, self.port, pin_of_certificate(der))


def pins_for(
    host: str,
    port: int,
    *,
    uri_pins: Sequence[str],
    secret: Secret,
    local: LocalCredentials | None = None,
    known: KnownServers | None = None,
) -> Trust:
    """Decide which keys a server may show: those of the URI, of its own user's file, or the saved one.

    Args:
        host: the server's host.
        port: the server's port.
        uri_pins: the pins in the URI.
        secret: the secret that the client will log in with.
        local: the credentials that the server wrote for its own user, if it is on this machine.
        known: the saved pins; by default the user's own.

    Raises:
        AuthenticationError: no pin is known, and the secret is a password that can be guessed: at
            a first connection an impostor could try passwords against the login it sees.
    """
    servers = KnownServers() if known is None else known
    if uri_pins:
        return Trust(host, port, tuple(uri_pins), JOIN_URI, servers)
    if local is not None and local.pin:
        return Trust(host, port, (local.pin,), str(local.path), servers)
    if saved := servers.saved_pin(host, port):
        return Trust(host, port, (saved,), str(servers.path), servers, is_saved=True)
    if not is_generated(secret.reveal()):
        raise AuthenticationError(
            f"no pin is known for {server_name(host, port)}, and a password that a person chose is only sent "
            "to a server whose key is known: add pin=sha256:... to the URI (the server prints it when it "
            "starts), or log in with a token"
        )
    return Trust(host, port, (), "none", servers)


def server_name(host: str, port: int) -> str:
    """A server's name in the client's files, the same for each spelling of the host.

    All names of the loopback interface are one: who reaches a server there by one, reaches it by the other.
    """
    name = host.lower().strip("[]")
    if is_loopback(name):
        return f"localhost:{port}"
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
