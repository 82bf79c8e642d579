"""A browser's side of the board: real connections, with a jar of cookies and a key."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

__all__ = ["SECONDS", "Answer", "Visit", "raw_request"]

SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """What the board has answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of the error."""
        return str(self.json["error"]["code"])


@dataclass
class Visit:
    """One browser at a board, with a new connection for each request.

    Attributes:
        url: of the board.
        key: of the session, None for none.
        cookie: the header, None for none.
        tls: the context for https; by default it takes any certificate.
        source: the address to come from.
    """

    url: str
    key: str | None = None
    cookie: str | None = None
    tls: ssl.SSLContext | None = None
    source: str | None = None
    extra: dict[str, str] = field(default_factory=dict)

    def connect(self) -> http.client.HTTPConnection:
        """A connection to the board."""
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        source = None if self.source is None else (self.source, 0)
        if parts.scheme == "https":
            context = self.tls or ssl._create_unverified_context()  # noqa: S323 - of a test's own server
            return http.client.HTTPSConnection(
                host, port, timeout=SECONDS, context=context, source_address=source
            )
        return http.client.HTTPConnection(host, port, timeout=SECONDS, source_address=source)

    def headers(self, **more: str) -> dict[str, str]:
        """What each request carries."""
        found = {**self.extra}
        if self.key is not None:
            found["X-Track-Key"] = self.key
        if self.cookie is not None:
            found["Cookie"] = self.cookie
        return found | {name.replace("_", "-"): value for name, value in more.items()}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Make one request; headers are given with ``_`` for ``-``."""
        connection = self.connect()
        try:
            given = self.headers(**headers)
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            if data is not None:
                given.setdefault("Content-Type", "application/json")
            connection.request(method, urlsplit(self.url).path.rstrip("/") + path, data, given)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return self.ask("GET", path, None, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """POST of JSON."""
        return self.ask("POST", path, {} if body is None else body, **headers)

    def call(self, method: str, **arguments: Any) -> Answer:
        """A call of the method table."""
        return self.post(f"/api/v1/call/{method}", arguments)

    def log_in(self, **given: Any) -> Answer:
        """Log in, and carry the session from then on."""
        answer = self.post("/api/v1/login", given)
        if answer.status == 200:
            self.key = answer.json["key"]
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer

    @contextmanager
    def listening(self, **headers: str) -> Iterator[Iterator[tuple[str, str, Any]]]:
        """The events of the board: name, id and data of each."""
        connection = self.connect()
        try:
            connection.request("GET", "/api/v1/events", headers=self.headers(**headers))
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            yield _events(answer)
        finally:
            connection.close()


def _events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, str, Any]]:
    found: dict[str, str] = {}
    while line := answer.readline():
        text = line.decode().rstrip("\n")
        name, _, value = text.partition(":")
        if text and name:
            found[name] = value.strip()
        elif not text and found:
            yield found.get("event", ""), found.get("id", ""), json.loads(found.get("data", "null"))
            found = {}


def raw_request(url: str, data: bytes) -> bytes:
    """Send bytes to the port of a URL, and return what comes until the end."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), SECONDS) as plain:
        plain.sendall(data)
        received = b""
        while part := plain.recv(65_536):
            received += part
        return received
