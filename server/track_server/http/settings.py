"""The settings of an HTTP service."""

from __future__ import annotations

from dataclasses import dataclass

from track_protocol.errors import UsageError

__all__ = ["DEFAULT_HTTP_PORT", "HttpSettings"]

DEFAULT_HTTP_PORT = 8124


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where an HTTP service listens, and how it is reached.

    Attributes:
        host: where to listen; anything but loopback uses TLS.
        port: 0 takes a free one.
        names: hosts by which browsers reach it, besides those that are known anyway.
        prefix: path under which a reverse proxy shows it; empty for none.
        embed: the origin whose pages may show it in a frame, for reading; None for no one's.
        proxies: addresses of reverse proxies whose forwarded headers are believed.

    Raises:
        UsageError: one of them cannot be.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_HTTP_PORT
    names: frozenset[str] = frozenset()
    prefix: str = ""
    embed: str | None = None
    proxies: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.prefix and (not self.prefix.startswith("/") or self.prefix.endswith("/")):
            raise UsageError(
                f"--http-prefix {self.prefix}: a prefix begins with a slash and ends without one"
            )
        if self.embed is not None:
            _check_origin(self.embed)


def _check_origin(text: str) -> None:
    scheme, _, place = text.partition("://")
    if scheme not in ("http", "https") or not place or any(letter in place for letter in "/;, '\"*"):
        raise UsageError(
            f"--embed {text}: an origin is http(s)://HOST or http(s)://HOST:PORT, without a path"
        )
