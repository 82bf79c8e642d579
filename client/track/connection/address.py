"""The address of the servers of a store: a checked ``socket://`` URI."""

from __future__ import annotations

from typing import Final

from track.connection.hosts import hosts_of, server_name
from track.connection.offline import Offline, offline_policy, parse_offline
from track.spool.options import SpoolSync, parse_size, parse_sync
from track_protocol.errors import UriError, UsageError
from track_protocol.security.tls import parse_pins
from track_protocol.uri import Uri, check_options, redact

__all__ = ["SocketAddress"]

_MAX_TIMEOUT_S: Final = 86_400.0


class SocketAddress:
    """Where servers are and how to talk to them: a checked ``socket://`` URI.

    Several hosts are several servers of one store, with the same key and the same users.

    Args:
        uri: ``socket://NAME:TOKEN@HOST,HOST:PORT?security_layer=AES&pin=sha256:...&timeout=10``.

    Attributes:
        hosts: where they are.
        names: the same in the client's files, see `server_name`.
        may_reveal: whether a password may be sent itself, inside TLS, to a server that checks it by itself.
        offline: what to do while the server is unreachable.
        spool_sync, spool_limit: how queued records are stored on disk; None for the environment's.

    Raises:
        UriError: it is malformed or has an unknown option.
        UsageError: plain text toward another machine, or a ``TRACK_OFFLINE`` that is no policy.
    """

    def __init__(self, uri: str) -> None:
        parsed = Uri.parse(uri)
        shown = redact(uri)
        if parsed.scheme != "socket" or not parsed.hostname:
            raise UriError(
                f"{shown}: a server's address is socket://HOST:PORT, that of several socket://HOST,HOST:PORT"
            )
        if parsed.path not in ("", "/") or parsed.fragment:
            raise UriError(f"{shown}: a server's address ends with the port and options; remove the rest")
        options = check_options(
            parsed,
            {
                "security_layer": str,
                "pin": parse_pins,
                "timeout": _seconds,
                "cafile": str,
                "login": _mechanism,
                "offline": parse_offline,
                "spool_sync": parse_sync,
                "spool_limit": parse_size,
            },
        )
        layer = str(options.get("security_layer", "AES")).lower()
        if layer not in ("", "none", "aes", "plaintext"):
            raise UriError(f"{shown}: security_layer is AES, the default")
        try:
            self.hosts = hosts_of(parsed.hosts)
        except UriError as error:
            raise UriError(f"{shown}: {error}") from None
        self.names = frozenset(server_name(*host) for host in self.hosts)
        self.username = parsed.username
        self.password = parsed.password
        self.pins: tuple[str, ...] = options.get("pin", ())
        self.timeout: float = options.get("timeout", 10.0)
        self.cafile: str | None = options.get("cafile")
        self.spool_sync: SpoolSync | None = options.get("spool_sync")
        self.spool_limit: int | None = options.get("spool_limit")
        self.may_reveal: bool = "login" in options
        self.offline: Offline = offline_policy(options.get("offline"))
        self.plaintext = layer == "plaintext"
        if self.plaintext and not all(host.is_loopback for host in self.hosts):
            raise UsageError(
                f"{shown}: plain text would show the token to the network; leave security_layer=plaintext out"
            )

    @property
    def shown(self) -> str:
        """Hosts and ports."""
        return " or ".join(host.shown for host in self.hosts)

    def is_same_server(self, other: SocketAddress) -> bool:
        """Whether both are addresses of one store: they share a host, and a key if both name one."""
        keys_differ = self.pins and other.pins and not set(self.pins) & set(other.pins)
        return bool(self.names & other.names) and not keys_differ

    def covers(self, other: SocketAddress) -> bool:
        """Whether a secret for this address may be used at the other one.

        Each host there is named here, too, or has to show a key that is named here.
        """
        has_our_key = bool(other.pins) and set(other.pins) <= set(self.pins)
        return self.is_same_server(other) and (other.names <= self.names or has_our_key)


def _mechanism(text: str) -> str:
    if text != "password":
        raise ValueError("give password, or leave it out")
    return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= _MAX_TIMEOUT_S:
        raise ValueError(f"give seconds above 0, at most {_MAX_TIMEOUT_S:.0f}")
    return seconds
