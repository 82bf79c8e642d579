"""A store as the app of the board uses it: see `track_protocol.board.BoardStore`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from track.persistence.embedded import EmbeddedProtocol, installed
from track.persistence.remote import OutboxProtocol
from track.persistence.socketed import SocketClient
from track_protocol.errors import BadArguments, UsageError
from track_protocol.uri import FILE_SCHEMES, Uri, redact, scheme_of
from track_protocol.wire.roles import Role

__all__ = ["OpenStore", "opened_for_board"]

_ANSWER_S: Final = 30.0
"""Seconds for an answer: behind it sits a person."""
_PROBE: Final = {"query": {}, "limit": 1, "fields": ["uid"]}


class OpenStore:
    """A store behind an outbox.

    Args:
        uri: its URI.
        protocol: the store.

    Attributes:
        protocol: the store.
    """

    def __init__(self, uri: str, protocol: OutboxProtocol) -> None:
        self._uri = uri
        self.protocol = protocol
        self._outbox = protocol.outbox
        self._lock = threading.Lock()
        self._outbox.call(
            "fetch_projects", dict(_PROBE)
        )  # or it would be found unreachable by the first page

    @property
    def shown(self) -> str:
        """See `BoardStore.shown`."""
        return redact(self._uri)

    @property
    def uri(self) -> str:
        """See `BoardStore.uri`."""
        parsed = Uri.parse(self._uri)
        if parsed.scheme in FILE_SCHEMES:
            parsed = replace(parsed, path=os.path.abspath(parsed.path))
        return replace(parsed, password=None).to_text()

    @property
    def role(self) -> Role:
        """See `BoardStore.role`."""
        return Role(self._outbox.role)

    def call(self, method: str, arguments: dict[str, Any]) -> Any:
        """See `BoardStore.call`."""
        return self._outbox.call(method, arguments, _ANSWER_S)

    def log(self, method: str, arguments: dict[str, Any]) -> None:
        """See `BoardStore.log`; one at a time, so that what is rejected is known to be this one.

        Raises:
            BadArguments: the store rejects it.
        """
        with self._lock:
            before = self._outbox.dropped + self._outbox.rejected
            self._outbox.log(method, arguments)
            self._outbox.flush(_ANSWER_S)
            if self._outbox.dropped + self._outbox.rejected > before:
                raise BadArguments(f"the store has rejected {method}: 'track doctor' shows why")


@contextmanager
def opened_for_board(uri: str) -> Iterator[OpenStore]:
    """The store of a URI, open while the block runs.

    Raises:
        UsageError: a board cannot show this kind of store.
        TrackError: it cannot be opened or reached.
    """
    protocol: OutboxProtocol
    scheme = scheme_of(uri)
    if scheme == "socket":
        protocol = SocketClient(uri, spools=False)
    elif scheme in installed():
        protocol = EmbeddedProtocol(uri)
    else:
        raise UsageError(f"{redact(uri)}: the board shows stores of socket:, sqlite: and file:")
    try:
        yield OpenStore(uri, protocol)
    finally:
        # Each change was waited for, so nothing is left to send: a server that is gone is no reason to wait.
        protocol.outbox.release()
