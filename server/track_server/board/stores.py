"""The stores that a board shows: one, or those of a folder, of which each page names its own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final
from urllib.parse import unquote

from starlette.requests import Request

from track_protocol.board import BoardStore, BoardStores
from track_protocol.wire.roles import Role
from track_server.board.calls import Calls, JoinedCalls, StoreCalls
from track_server.board.changes import Hub
from track_server.board.threads import in_own_thread
from track_server.http.sessions import Login

__all__ = ["Shown", "Stores"]

_HEADER: Final = "x-track-database"
"""Names the store that a request is about, percent-encoded."""


class Shown:
    """A store, as pages see it.

    Args:
        store: its URI without secrets, for people.
        uri: what a script gives as ``TRACK_URI``.
        calls: asks it.
        role: the most that may be done with it.

    Attributes:
        hub: tells pages what changes.
    """

    def __init__(self, store: str, uri: str, calls: Calls, role: Role = Role.ADMIN) -> None:
        self.store = store
        self.uri = uri
        self.calls: Calls = JoinedCalls(calls)
        self.hub = Hub(self.calls)
        self._role = role

    def limited(self, login: Login) -> Login:
        """Who has logged in, with what may be done with this store."""
        return replace(login, role=min(login.role, self._role))


class Stores:
    """The stores of one board.

    Args:
        first: the one that is shown where there are no others.
        others: those to choose from.
    """

    def __init__(self, first: Shown, others: BoardStores | None = None) -> None:
        self._first = first
        self._others = others
        self._shown: dict[str, Shown] = {}

    async def names(self) -> list[str]:
        """Of those to choose from, the one that is shown by itself first."""
        return [] if self._others is None else list(await in_own_thread(self._others.names))

    async def of(self, request: Request) -> Shown:
        """The store that a request is about.

        Raises:
            ItemNotFound: there is none of that name.
            TrackError: it cannot be opened.
        """
        name = await self.name_of(request)
        if name is None or self._others is None:
            return self._first
        if name not in self._shown:
            store, role = await in_own_thread(partial(_opened, self._others, name))
            # Somebody else may have been first.
            self._shown.setdefault(name, Shown(store.shown, store.uri, StoreCalls(store), role))
        return self._shown[name]

    async def name_of(self, request: Request) -> str | None:
        """The name of the store that a request is about; None where there is nothing to choose from."""
        if self._others is None:
            return None
        return unquote(request.headers.get(_HEADER, "")) or next(iter(await self.names()), None)

    def close(self) -> None:
        """End all streams of changes."""
        for shown in (self._first, *self._shown.values()):
            shown.hub.close()


def _opened(stores: BoardStores, name: str) -> tuple[BoardStore, Role]:
    store = stores.store(name)
    return store, store.role
