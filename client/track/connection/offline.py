"""The policy of a client for an unreachable server."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from track.configuration import environment
from track_protocol.errors import ServerUnreachable, UsageError
from track_protocol.wire.batch import Batch
from track_protocol.wire.link import LinkEvent, Opened

__all__ = ["Offline", "OfflineLink", "offline_policy", "parse_offline"]

_VARIABLE: Final = "TRACK_OFFLINE"


class Offline(StrEnum):
    """The policy: may, must, or must not a run start without its server?

    Once a server was reached, its outages are survived under each of them.

    Errors of another kind (a wrong token, another key, a reader that writes) are raised under each of them,
    too.
    """

    ALLOW = "allow"
    """The server may be unreachable: objects are created here and looked up later."""

    REQUIRE = "require"
    """No server is asked, even if one is there: everything is queued on this machine's disk until
    ``track sync`` sends it."""

    NEVER = "never"
    """The server must be there when the run starts: until it was reached, creating raises."""

    @property
    def may_start_alone(self) -> bool:
        """Whether a run may start before its server was ever reached."""
        return self is not Offline.NEVER

    @property
    def may_connect(self) -> bool:
        """Whether the server may be asked."""
        return self is not Offline.REQUIRE


class OfflineLink:
    """A `track_protocol.wire.link.Link` that never opens."""

    def open(self, session: bytes, timeout: float, ended: float | None = None) -> Opened:
        """Say why it does not open.

        Raises:
            ServerUnreachable: always.
        """
        raise ServerUnreachable("offline=require: nothing is sent now; send it later with 'track sync'")

    def send_batch(self, batch: Batch) -> int:
        """It is never open."""
        raise NotImplementedError

    def send_call(self, call_id: int, seq: int | None, method: str, arguments: dict[str, Any]) -> None:
        """It is never open."""
        raise NotImplementedError

    def poll(self, timeout: float | None) -> list[LinkEvent]:
        """It is never open."""
        raise NotImplementedError

    def wake(self) -> None:
        """There is nothing to wake."""

    def close(self) -> None:
        """There is nothing to release."""


def parse_offline(text: str) -> Offline:
    """The policy of that name.

    Raises:
        ValueError: there is none.
    """
    try:
        return Offline(text.lower())
    except ValueError:
        raise ValueError(f"give {Offline.ALLOW}, {Offline.REQUIRE} or {Offline.NEVER}") from None


def offline_policy(given: Offline | None, env: Mapping[str, str] | None = None) -> Offline:
    """The effective policy: the one of the URI, else that of ``TRACK_OFFLINE``, else `Offline.ALLOW`.

    Args:
        given: what the URI says.
        env: the environment; by default with what `track.config` says beneath it.

    Raises:
        UsageError: the environment names none.
    """
    text = (environment() if env is None else env).get(_VARIABLE, "")
    if given is not None or not text:
        return given or Offline.ALLOW
    try:
        return parse_offline(text)
    except ValueError as error:
        raise UsageError(f"{_VARIABLE}={text} is refused: {error}") from None
