"""What changes in the store, told to every page that listens: coalesced, replayed, bounded.

One task asks the store what has changed, while anybody listens; it is woken by commits, or asks once a
second. Each listener has a set of what is new to it and not a queue, so a page that reads slowly, or a
thousand points in a second, cost no more than the things that changed.  A listener that was away says up to
where it knows (``Last-Event-ID``), and gets the rest; where the store does not know that any more it is
told to read everything again.  Each one is told, too, why nothing can be written, when that is so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from track_protocol.errors import TooBusy, TrackError
from track_server.board.calls import Calls
from track_server.http.values import to_json

__all__ = ["Hub", "Listener"]

_log = logging.getLogger(__name__)

_INTERVAL_S: Final = 0.25
"""At most four events a second."""
_LOOK_S: Final = 1.0
"""Between two looks whether a listener may still listen."""
_LIFE_EVERY: Final = 10
"""Looks between two signs of life: a proxy or a browser drops what is silent."""
_RETRY_S: Final = 1.0
_PAGE: Final = 1_000
_MAX_TOLD: Final = 10_000
"""Things that changed that a listener gets one by one; beyond that, reading again is cheaper."""
_MAX_LISTENERS: Final = 256
_MAX_PER_USER: Final = 32
_KINDS: Final = ("trials", "deleted", "groups", "projects")
_USER: Final = "board"
"""On whose behalf the hub reads."""
_LIFE: Final = b": alive\n\n"


@dataclass(eq=False)
class Listener:
    """What one page has not been told yet.

    Attributes:
        user: who listens.
        cursor: up to where it will know.
        is_reset: it has to read everything again.
        news: what is new, by kind.
        wake: set when there is something to tell.
    """

    user: str
    cursor: str = ""
    is_reset: bool = False
    news: dict[str, set[Any]] = field(default_factory=lambda: {kind: set() for kind in _KINDS})
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, changed: dict[str, Any]) -> None:
        """Take what has changed."""
        self.cursor = changed["cursor"]
        if not changed["known"]:
            self.is_reset = True
        for kind in _KINDS:
            self.news[kind].update(changed[kind])
        # What was deleted is not read again.
        self.news["trials"] -= self.news["deleted"]
        if self.is_reset or sum(map(len, self.news.values())) > _MAX_TOLD:
            self.is_reset = True
            self.news = {kind: set() for kind in _KINDS}  # it reads everything again
        if self.is_reset or any(self.news.values()):
            self.wake.set()

    def event(self) -> bytes:
        """The event that tells what is new."""
        self.wake.clear()
        news, self.news = self.news, {kind: set() for kind in _KINDS}
        is_reset, self.is_reset = self.is_reset, False
        name, data = ("reset", {}) if is_reset else ("changed", {kind: sorted(news[kind]) for kind in _KINDS})
        return b"event: %s\nid: %s\ndata: %s\n\n" % (name.encode(), self.cursor.encode(), to_json(data))


class Hub:
    """Tells pages what changes.

    Args:
        calls: the store.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._listeners: set[Listener] = set()
        self._watching: asyncio.Task[None] | None = None
        self._cursor: str | None = None
        self._closing = False

    async def join(self, user: str, since: str | None) -> Listener:
        """A new listener, who has to `leave`.

        Args:
            user: who listens.
            since: up to where the page knows; None for now.

        Raises:
            TooBusy: there are too many.
            TrackError: the store cannot tell what has changed.
        """
        if self._closing or len(self._listeners) >= _MAX_LISTENERS:
            raise TooBusy("too many pages listen already: close some of them")
        if sum(each.user == user for each in self._listeners) >= _MAX_PER_USER:
            raise TooBusy(f"{_MAX_PER_USER} pages of {user} listen already: close some of them")
        listener = Listener(user)
        self._listeners.add(listener)
        try:
            # Listening from before the first look on, so that nothing falls between the two.
            await self._catch_up(listener, since)
        except BaseException:
            self.leave(listener)
            raise
        return listener

    async def events(self, listener: Listener, may_listen: Callable[[], bool]) -> AsyncIterator[bytes]:
        """The events for a listener, until the service closes or it may not listen any more.

        Args:
            listener: from `join`.
            may_listen: whether it still may; asked once a second.
        """
        yield b"id: %s\n: listening\n\n" % listener.cursor.encode()
        looks, told = 0, None
        while not self._closing and may_listen():
            if self._calls.fault != told:
                told = self._calls.fault
                yield b"event: fault\ndata: %s\n\n" % to_json({"message": told})
            try:
                await asyncio.wait_for(listener.wake.wait(), _LOOK_S)
            except TimeoutError:
                looks += 1
                if looks % _LIFE_EVERY == 0:
                    yield _LIFE
                continue
            if self._closing:
                return
            yield listener.event()
            await asyncio.sleep(_INTERVAL_S)

    def leave(self, listener: Listener) -> None:
        """Forget a listener; harmless when repeated."""
        self._listeners.discard(listener)
        if not self._listeners and self._watching is not None:
            self._watching.cancel()
            self._watching = None
            self._cursor = None

    def close(self) -> None:
        """End all streams; no more are begun."""
        self._closing = True
        for listener in self._listeners:
            listener.wake.set()
        if self._watching is not None:
            self._watching.cancel()

    async def _catch_up(self, listener: Listener, since: str | None) -> None:
        """Begin to watch, and tell a listener what it has missed."""
        if self._watching is None:
            self._cursor = (await self._changes(None))["cursor"]
        if self._watching is None:  # another listener may have been first meanwhile
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        changed = await self._changes(since)
        listener.add(changed)
        while changed["more"] and changed["known"] and not listener.is_reset:
            changed = await self._changes(changed["cursor"])
            listener.add(changed)

    async def _watch(self) -> None:
        while True:
            try:
                await self._calls.changed()
                await self._tell_all()
            except TrackError as error:
                _log.debug("the store does not tell what has changed: %s", error)
                await asyncio.sleep(_RETRY_S)
            await asyncio.sleep(_INTERVAL_S)

    async def _tell_all(self) -> None:
        more = True
        while more:
            changed = await self._changes(self._cursor)
            self._cursor = changed["cursor"]
            for listener in self._listeners:
                listener.add(changed)
            more = changed["more"]

    async def _changes(self, cursor: str | None) -> dict[str, Any]:
        found: dict[str, Any] = await self._calls.call(
            _USER, "fetch_changes", {"cursor": cursor, "limit": _PAGE}
        )
        return found
