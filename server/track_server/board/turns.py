"""Whose request is answered next: of one user a few at once, and his visitors take turns."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from track_protocol.errors import TooBusy

__all__ = ["Turns"]

_AT_ONCE: Final = 4
"""Requests of one user that are answered at once; what they take is not in memory for his others."""
_WAITING: Final = 64
"""Requests of one visitor that wait; a browser has six connections, and so no more requests."""


@dataclass(slots=True)
class _User:
    """The requests of one user: how many are answered, and those that wait, by visitor."""

    running: int = 0
    waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = field(default_factory=OrderedDict)


class Turns:
    """Gives turns to requests; for one event loop."""

    def __init__(self) -> None:
        self._users: dict[str, _User] = {}

    @asynccontextmanager
    async def turn(self, user: str, visitor: Hashable) -> AsyncIterator[None]:
        """A turn, once it comes.

        Args:
            user: on whose behalf.
            visitor: tells his browsers and scripts apart: a flood of one leaves turns to the others.

        Raises:
            TooBusy: very many requests of the visitor wait already.
        """
        found = self._users.setdefault(user, _User())
        if found.running < _AT_ONCE:
            found.running += 1
        else:
            await self._wait(found, visitor)
        try:
            yield
        finally:
            self._ended(user, found)

    async def _wait(self, user: _User, visitor: Hashable) -> None:
        line = user.waiting.setdefault(visitor, deque())
        if len(line) >= _WAITING:
            raise TooBusy(f"{len(line)} requests of yours wait already: send fewer at once, or try again")
        turn = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on(user)
            else:
                line.remove(turn)
                if not line:
                    del user.waiting[visitor]
            raise

    def _ended(self, name: str, user: _User) -> None:
        self._pass_on(user)
        if not user.running:
            del self._users[name]

    @staticmethod
    def _pass_on(user: _User) -> None:
        """Give a turn that has ended to the visitor who has waited longest for one."""
        if not user.waiting:
            user.running -= 1
            return
        visitor, line = user.waiting.popitem(last=False)
        line.popleft().set_result(None)
        if line:
            user.waiting[visitor] = line  # behind the others
