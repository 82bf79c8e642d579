"""Connecting: attempts, in a thread of their own, and when to make the next one.

An address that does not answer, or a name that is looked up for seconds, must not hold up what is logged.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from track_protocol.wire.link import Link, Opened

__all__ = ["Attempt", "Backoff", "OpenLink", "close_quietly"]

_log: Final = logging.getLogger("track")

OpenLink = Callable[[], Link]
"""Makes a link that is not open yet."""

_LEAST: Final = 0.05
_MOST: Final = 5.0
_MOST_DOUBLINGS: Final = 16


class Attempt:
    """One attempt to open a link, under way as soon as it is made.

    Args:
        link: to be opened.
        session: the session to attach.
        timeout: seconds it may take.
        ended: called, on the attempt's thread, when it has ended either way.

    Attributes:
        link: what is opened.
        opened: what the store said; None while the attempt runs, and when it failed.
        error: why it failed.
    """

    def __init__(self, link: Link, session: bytes, timeout: float, ended: Callable[[], None]) -> None:
        self.link = link
        self.opened: Opened | None = None
        self.error: BaseException | None = None
        self._ended = ended
        self._done = threading.Event()
        self._given_up = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self._run, args=(session, timeout), name="track-connect", daemon=True
        )
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._done.is_set()

    def give_up(self, seconds: float) -> None:
        """Nobody wants the link any more: it is closed, within so many seconds or when it is open."""
        with self._lock:
            self._given_up = True
            if self.opened is not None:
                close_quietly(self.link)
                return
        self._thread.join(seconds)

    def _run(self, session: bytes, timeout: float) -> None:
        try:
            opened = self.link.open(session, timeout)
        except BaseException as error:  # noqa: BLE001  # whoever started the attempt raises it
            self.error = error
            close_quietly(self.link)
        else:
            with self._lock:
                self.opened = opened
                if self._given_up:
                    close_quietly(self.link)
        finally:
            self._done.set()
            self._ended()


class Backoff:
    """When to try again: later each time, with full jitter, since all clients lose a server at once."""

    def __init__(self) -> None:
        self._failures = 0
        self._again_at = 0.0

    def remaining(self) -> float:
        """Seconds until the next attempt is due."""
        return self._again_at - time.monotonic()

    def failed(self, least: float = 0.0) -> None:
        """An attempt, or a link, failed; wait at least so many seconds."""
        # From the system's randomness: forked processes share every other state.
        jitter = int.from_bytes(os.urandom(4), "big") / 2**32
        wait = jitter * min(_MOST, _LEAST * 2**self._failures)
        self._again_at = time.monotonic() + max(least, wait)
        self._failures = min(self._failures + 1, _MOST_DOUBLINGS)

    def worked(self) -> None:
        """The link was good: after it, the first attempt comes soon."""
        self._failures = 0


def close_quietly(link: Link) -> None:
    """Release a link that may be broken in any way."""
    try:
        link.close()
    except Exception:  # noqa: BLE001  # whatever broke it may also break its end
        _log.exception("a broken connection could not be closed")
