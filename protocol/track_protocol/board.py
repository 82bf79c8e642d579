"""A store behind a board: what the client's side hands to the board's app, of which neither package knows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from track_protocol.wire.roles import Role

__all__ = ["IN_THREAD", "VISITOR", "BoardOptions", "BoardStore", "BoardStores", "Interface", "Visitor"]

VISITOR: Final = "track.visitor"
"""Of the state in a request's scope: its `Visitor`."""
IN_THREAD: Final = "track.in_thread"
"""Of the same state: gives what a function returns that may wait for a store, and holds up nobody else."""


class BoardStore(Protocol):
    """An open store; any thread may call it."""

    @property
    def shown(self) -> str:
        """Its URI without secrets, for people."""

    @property
    def uri(self) -> str:
        """What a script gives as ``TRACK_URI`` to reach it, without secrets."""

    @property
    def role(self) -> Role:
        """What may be done with it."""

    def call(self, method: str, arguments: dict[str, Any]) -> Any:
        """The answer of a call of the method table that has one.

        Raises:
            TrackError: what the store raises.
        """

    def log(self, method: str, arguments: dict[str, Any]) -> None:
        """Make a log call of the method table, and wait until it is durable.

        Raises:
            TrackError: it cannot be stored.
        """


class BoardStores(Protocol):
    """Stores of which each page shows one; any thread may call it."""

    def names(self) -> list[str]:
        """Their names; the first is shown where none is named."""

    def store(self, name: str) -> BoardStore:
        """That store, which is opened when it is called.

        Raises:
            ItemNotFound: there is none of that name.
        """


class Interface(Protocol):
    """A further interface beside the board's own, below ``/api/``."""

    @property
    def routes(self) -> Sequence[Any]:
        """Routes of Starlette; the state in the scope of each request has `VISITOR` and `IN_THREAD`."""

    def close(self) -> None:
        """Release what it has opened."""


@dataclass(frozen=True, slots=True)
class BoardOptions:
    """How a board for one person is served.

    Attributes:
        port: on loopback; None for the usual one, or a free one if that is taken.
        embed: the origin whose pages may show the board in a frame, for reading; None for no one's.
        host: where to listen; anything but loopback uses TLS, and lets the users of this user's server in.
        interface: a further one; closed with the board.
        stores: what pages show instead of the store, as long as there are any.
    """

    port: int | None = None
    embed: str | None = None
    host: str = "127.0.0.1"
    interface: Interface | None = None
    stores: BoardStores | None = None


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sends a request that was admitted.

    Attributes:
        key: tells one visitor from another.
        role: what it may do.
        is_owner: whether it is the user who started the board, on the same machine.
    """

    key: Hashable
    role: Role
    is_owner: bool
