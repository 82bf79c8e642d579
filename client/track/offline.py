"""What a client does while its server is away."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from track_protocol.errors import UsageError

__all__ = ["Offline", "offline_policy", "parse_offline"]

_VARIABLE: Final = "TRACK_OFFLINE"


class Offline(StrEnum):
    """The policy; once a server was reached, its outages are survived under each of them.

    Errors that are nobody being away (a wrong token, another key, a reader that writes) are raised under
    each of them, too.
    """

    ALLOW = "allow"
    """The server need not be there: projects, groups and trials are created here and settled later."""

    REQUIRE = "require"
    """The server must be there when the run starts: until it was reached, creating raises."""

    NEVER = "never"
    """As `REQUIRE`, and nothing is kept on this machine's disk for later."""

    @property
    def may_start_alone(self) -> bool:
        """Whether a run may start before its server was ever reached."""
        return self is Offline.ALLOW

    @property
    def may_spool(self) -> bool:
        """Whether records that wait for the server may be kept on disk."""
        return self is not Offline.NEVER


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
    """The policy that holds: the one of the URI, else that of ``TRACK_OFFLINE``, else `Offline.ALLOW`.

    Args:
        given: what the URI says.
        env: the environment; `os.environ` by default.

    Raises:
        UsageError: the environment names none.
    """
    text = (os.environ if env is None else env).get(_VARIABLE, "")
    if given is not None or not text:
        return given or Offline.ALLOW
    try:
        return parse_offline(text)
    except ValueError as error:
        raise UsageError(f"{_VARIABLE}={text} is refused: {error}") from None
