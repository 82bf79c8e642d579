"""The address of a server: a checked ``socket://`` URI."""

from __future__ import annotations

from typing import Final

from track.connection.offline import Offline, offline_policy, parse_offline
from track.spool.options import SpoolSync, parse_size, parse_sync
from track_protocol.errors import UriError, UsageError
from track_protocol.loopback import is_loopback
from track_protocol.security.tls import parse_pins
from track_protocol.uri import Uri, check_options, redact

__all__ = ["SocketAddress"]

_DEFAULT_PORT: Final = 8123
_MAX_TIMEOUT_S: Final = 86_400.0


class SocketAddress:
    """Where a server is and how to talk to it: a checked ``socket://`` URI.

    Args:
        uri: ``socket://NAME:TOKEN@HOST:PORT?security_layer=AES&pin=sha256:...&timeout=10``.

    Attributes:
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
            raise UriError(f"{shown}: a server's address is socket://HOST:PORT")
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
        self.host: str = parsed.hostname
        self.port: int = parsed.port if parsed.port is not None else _DEFAULT_PORT
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
        if self.plaintext and not is_loopback(self.host):
            raise UsageError(
                f"{shown}: plain text would show the token to the network; leave security_layer=plaintext out"
            )

    @property
    def shown(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    @property
    def location(self) -> tuple[str, int]:
        """Host and port, the same for each spelling of the host and each name of the loopback interface."""
        return "localhost" if is_loopback(self.host) else self.host.lower(), self.port

    def is_same_server(self, other: SocketAddress) -> bool:
        """Whether both are addresses of one server: the same host and port, and key if both name one."""
        keys_differ = self.pins and other.pins and not set(self.pins) & set(other.pins)
        return self.location == other.location and not keys_differ


def _mechanism(text: str) -> str:
    if text != "password":
        raise ValueError("give password, or leave it out")
    return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= _MAX_TIMEOUT_S:
        raise ValueError(f"give seconds above 0, at most {_MAX_TIMEOUT_S:.0f}")
    return seconds
