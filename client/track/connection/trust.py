"""Which server key to expect, and the saved pins of known servers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from track.connection.credentials import LocalCredentials
from track.connection.state_file import StateFile
from track_protocol.errors import AuthenticationError, PinMismatch
from track_protocol.security.tls import JOIN_URI, check_pin, pin_of_certificate
from track_protocol.security.tokens import Secret, is_generated

__all__ = ["KnownServers", "Trust", "pins_for"]

_log: Final = logging.getLogger("track.connection.trust")


class KnownServers(StateFile[dict[str, str]]):
    """The pins of servers that proved themselves, in ``known_servers.json``."""

    _NAME = "known_servers.json"
    _FIELD = "servers"

    def saved_pins(self, names: Iterable[str]) -> dict[str, str]:
        """The pins that were saved for some servers, by their names, see `hosts.server_name`.

        Raises:
            AuthenticationError: the file is damaged; nothing is trusted then.
        """
        pins = self._read()
        return {name: pins[name] for name in sorted(names) if name in pins}

    def save(self, name: str, pin: str) -> None:
        """Save a pin permanently; to be called once the server has proved that it knows the verifier.

        A file that cannot be written is only a warning, since the server did prove itself.

        Raises:
            PinMismatch: another one is saved for this server.
            AuthenticationError: the file is damaged.
        """
        try:
            with self._locked():
                pins = self._read()
                saved = pins.setdefault(name, pin)
                if saved != pin:
                    raise PinMismatch(
                        f"{self.path} expects {saved} of {name}, but the server has {pin}. "
                        f"{self.remedy(name)}"
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

    def remedy(self, name: str) -> str:
        """The remedy for a changed pin."""
        return (
            "Ask the operator of the server whether its key was replaced; only then remove the entry "
            f"{name!r} from {self.path}, or use the new join URI"
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
        server: its name, see `server_name`.
        pins: the accepted pins; none before the first connection.
        origin: the source of the pins.
        known: the saved pins.
        is_common: whether they are the pins of all servers that the URI names.
        entry: the server whose saved pin they are; None if they have another source.
        saves: whether the pin that the server proves is saved.
    """

    server: str
    pins: tuple[str, ...]
    origin: str
    known: KnownServers
    is_common: bool = False
    entry: str | None = None
    saves: bool = False

    def check(self, der: bytes) -> None:
        """Require that the certificate is one of the expected server; before anything is sent.

        Args:
            der: the certificate that the server showed, DER encoded.

        Raises:
            PinMismatch: it is not, or it is not the one of the last time.
        """
        if self.entry is not None:
            check_pin(self.pins, der, origin=self.origin, remedy=self.known.remedy(self.entry))
        elif self.pins:
            check_pin(self.pins, der, origin=self.origin)

    def proven(self, der: bytes) -> None:
        """Save the server's pin if this was the first connection; after the server has proved itself.

        Args:
            der: the certificate that the server showed, DER encoded.

        Raises:
            PinMismatch: another process has saved another server's pin in the meantime.
        """
        if self.saves:
            self.known.save(self.server, pin_of_certificate(der))


def pins_for(
    server: str,
    *,
    uri_pins: Sequence[str],
    secret: Secret,
    siblings: Iterable[str] = (),
    local: LocalCredentials | None = None,
    known: KnownServers | None = None,
) -> Trust:
    """Decide which keys a server may show: those of the URI, of its own user's file, or the saved one.

    Args:
        server: its name, see `server_name`.
        uri_pins: the pins in the URI.
        secret: the secret that the client will log in with.
        siblings: the names of all servers that the URI names: they have one key, so a pin that is saved for
            one of them is expected of each.
        local: the credentials that the server wrote for its own user, if it is on this machine.
        known: the saved pins; by default the user's own.

    Raises:
        PinMismatch: different pins are saved for the servers that the URI names.
        AuthenticationError: no pin is known, and the secret is a password that can be guessed: at
            a first connection an impostor could try passwords against the login it sees.
    """
    servers = KnownServers() if known is None else known
    if uri_pins:
        return Trust(server, tuple(uri_pins), JOIN_URI, servers, is_common=True)
    if local is not None and local.pin:
        return Trust(server, (local.pin,), str(local.path), servers)
    saved = servers.saved_pins({server, *siblings})
    if len(set(saved.values())) > 1:
        raise PinMismatch(
            f"servers that one URI names have one key, but {servers.path} expects different ones of "
            f"{' and '.join(saved)}: take the server of another store out of the URI. "
            f"{servers.remedy(next(iter(saved)))}"
        )
    if saved:
        entry = server if server in saved else next(iter(saved))
        origin = str(servers.path)
        return Trust(server, (saved[entry],), origin, servers, True, entry, saves=server not in saved)
    if not is_generated(secret.reveal()):
        raise AuthenticationError(
            f"no pin is known for {server}, and a password that a person chose is only sent "
            "to a server whose key is known: add pin=sha256:... to the URI (the server prints it when it "
            "starts), or log in with a token"
        )
    return Trust(server, (), "none", servers, saves=True)
