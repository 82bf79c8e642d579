"""What every request has to pass before anything answers it, and the headers of every answer.

- ``Host`` names this server: a page of another site whose name was rebound to this address has its own name
  in it (DNS rebinding).  Ports are ignored: they change with tunnels and proxies.
- ``Origin``, if it is sent, is ours, and ``Sec-Fetch-Site`` does not name another site: no page of somebody
  else's makes the browser ask for anything, except that a link leads to the board.  For the interface, a page
  of another port of this host is somebody else's, too.
- Forwarded headers count only from the addresses that were named.  From anybody else they say that there is a
  proxy in between: then the peer is not the user himself, whoever runs the proxy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any, Final

from track_server.http.listener import PEER, Application, HttpPeer
from track_server.http.values import to_json

__all__ = ["EMBEDDED", "Guard", "Rules", "error_body"]

EMBEDDED: Final = "/embed"
"""The one path whose page other origins may frame."""

_API: Final = "/api/"
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_FORWARDED: Final = (b"forwarded", b"via", b"x-forwarded-", b"x-real-ip", b"x-client-ip", b"x-proxy")
"""How the headers begin by which proxies make themselves known."""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)


def error_body(code: str, message: str, **beside: Any) -> bytes:
    """The JSON of an error.

    Args:
        code: its name on the wire.
        message: what it says.
        beside: what stands beside the error.
    """
    return to_json({"error": {"code": code, "message": message}, **beside})


@dataclass(frozen=True, slots=True)
class Rules:
    """How this service is reached.

    Attributes:
        names: hosts by which it may be addressed besides those of loopback.
        prefix: path under which a proxy shows it, such as ``/track``; empty for none.
        embed: the origin whose pages may show the board in a frame; None for no one's.
        proxies: addresses whose forwarded headers are believed.
    """

    names: frozenset[str] = frozenset()
    prefix: str = ""
    embed: str | None = None
    proxies: frozenset[str] = frozenset()


class Guard:
    """Lets those requests through to an application that pass.

    Args:
        app: the application.
        rules: how this service is reached.
    """

    def __init__(self, app: Application, rules: Rules) -> None:
        self._app = app
        self._rules = rules
        self._names = _LOOPBACK_NAMES | {_bare(name) for name in rules.names}
        policy = _POLICY.format(ancestors="'none'")
        self._headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
        ]
        framed = _POLICY.format(ancestors=rules.embed or "'none'")
        self._framed = [(b"content-security-policy", framed.encode()), *self._headers[1:]]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer a request."""
        headers = _headers(scope["headers"])
        path = self._stripped(scope["path"])
        fixed = self._framed if path == EMBEDDED else self._headers

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                date = (b"date", formatdate(usegmt=True).encode())
                message = {**message, "headers": [*message.get("headers", []), *fixed, date]}
            await send(message)

        connected: HttpPeer = scope["state"][PEER]
        if path.startswith(_API):
            await connected.look()
        peer = self._peer(connected, headers)
        refused = self._refused(path, scope["server"][0], headers, peer)
        if refused is not None:
            await _send_refusal(send_with_headers, *refused)
            return
        if self._rules.prefix and scope["path"] == self._rules.prefix:
            # The page's links are relative to its folder.
            location = (b"location", f"{self._rules.prefix}/".encode())
            await send_with_headers(
                {
                    "type": "http.response.start",
                    "status": 307,
                    "headers": [location, (b"content-length", b"0")],
                }
            )
            await send_with_headers({"type": "http.response.body", "body": b""})
            return
        scope = {**scope, "path": path, "state": {**scope["state"], PEER: peer}}
        await self._app(scope, receive, send_with_headers)

    def _stripped(self, path: str) -> str:
        """The path below the prefix."""
        prefix = self._rules.prefix
        # A proxy may have taken the prefix off already.
        return (path.removeprefix(prefix) or "/") if prefix and _is_within(path, prefix) else path

    def _peer(self, peer: HttpPeer, headers: Mapping[bytes, bytes]) -> HttpPeer:
        if not any(name.startswith(_FORWARDED) for name in headers):
            return peer
        if peer.address not in self._rules.proxies:
            return replace(peer, is_own_user=False)
        address = headers.get(b"x-forwarded-for", b"").rpartition(b",")[2].strip().decode("latin-1")
        encrypted = headers.get(b"x-forwarded-proto", b"").strip().lower() == b"https"
        return replace(
            peer,
            address=address or peer.address,
            belongs_to=_nobodys,  # a proxy's connections have the requests of many users
            is_own_user=False,
            is_encrypted=encrypted or peer.is_encrypted,
        )

    def _refused(
        self, path: str, ours: str, headers: Mapping[bytes, bytes], peer: HttpPeer
    ) -> tuple[int, str, str] | None:
        if b"transfer-encoding" in headers and b"content-length" in headers:
            return _TWO_LENGTHS
        host = headers.get(b"host", b"").decode("latin-1").lower()
        # The number that was connected to is no name that could lead elsewhere tomorrow.
        if _bare(host) not in self._names and _bare(host) != ours:
            message = f"{host[:80]!r} is not a name of this server: use one that it knows (--http-name)"
            return 421, "host", message
        origin = headers.get(b"origin")
        if origin is not None and not _is_own(origin.decode("latin-1").lower(), host, peer.is_encrypted):
            return _CROSS_SITE
        return _CROSS_SITE if _is_foreign(path, headers) else None


def _nobodys(_user: str) -> None:
    pass


_TWO_LENGTHS: Final = (400, "bad-request", "send a Content-Length or a Transfer-Encoding, not both")
"""A proxy may see another end of such a request, and its rest as somebody else's (RFC 9112, 11.2)."""

_CROSS_SITE: Final = (403, "cross-site", "a page of another site made this request: open the board itself")


def _is_foreign(path: str, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser says that the page of another site, or of another port of this one, is asking."""
    site = headers.get(b"sec-fetch-site", b"none")
    if site in (b"none", b"same-origin"):
        return False
    return path.startswith(_API) or headers.get(b"sec-fetch-mode") != b"navigate"


def _is_own(origin: str, host: str, is_encrypted: bool) -> bool:
    scheme, _, place = origin.partition("://")
    # Without TLS of ours a proxy may have it, so that the page is https all the same.
    return place == host and scheme in (("https",) if is_encrypted else ("http", "https"))


def _is_within(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _bare(host: str) -> str:
    """A host without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower() if host.count(":") < 2 else host.lower()


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers by name; of one that is repeated, all values, as a proxy would join them."""
    found: dict[bytes, bytes] = {}
    for name, value in raw:
        found[name] = (
            f"{found[name].decode('latin-1')},".encode("latin-1") + value if name in found else value
        )
    return found


async def _send_refusal(send: Any, status: int, code: str, message: str) -> None:
    body = error_body(code, message)
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    headers.append((b"content-length", str(len(body)).encode()))
    if status == 400:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
