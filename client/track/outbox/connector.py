"""The connector: an open link to the store, an attempt to open one, or the time until the next attempt.

An obstacle is reported once, and so is the recovery.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from track.process.lifecycle import TurnLock
from track_protocol.errors import (
    InternalError,
    ProtocolError,
    ServerUnreachable,
    SessionFenced,
    StoreError,
    StoreFailed,
    TooBusy,
    TrackError,
)
from track_protocol.wire.link import Link, Opened

__all__ = ["Backoff", "ConnectAttempt", "Connector", "OpenLink", "close_quietly"]

_log: Final = logging.getLogger("track")

_BLOCKED_RETRY_S: Final = 30.0
"""Seconds between attempts while something is wrong that a person has to put right."""

_GOOD_LINK_S: Final = 5.0
"""A link that was open for this many seconds counts as good: the next attempt has no delay."""

_TRANSIENT: Final = (ServerUnreachable, TooBusy, StoreFailed, SessionFenced, InternalError)
"""These pass by themselves, always; the next ones do where the store was reached before."""

_TRANSIENT_ONCE_REACHED: Final = (ProtocolError, StoreError)


class Connector:
    """At most one link, and at most one attempt at one.

    The sender's thread uses it; others may look, and `wake` it.

    Args:
        open_link: makes a link.
        name: of the store, for messages.
        connect_timeout: seconds that one attempt to connect may take.
        ended: called, on another thread, when an attempt has ended.

    Attributes:
        link: the open link, None while there is none.
        reached: whether a link was ever open.
        final: the error that a person has to put right before anything can be sent.
        problem: the last failure; None while there is none.
    """

    def __init__(
        self, open_link: OpenLink, name: str, connect_timeout: float, ended: Callable[[], None]
    ) -> None:
        self._open_link = open_link
        self._name = name
        self._connect_timeout = connect_timeout
        self._ended = ended
        self.link: Link | None = None
        self.reached = False
        self.final: TrackError | None = None
        self.problem: TrackError | None = None
        self._tried_since: float | None = None
        self._attempt: ConnectAttempt | None = None
        self._backoff = Backoff()
        # It can be used from a signal handler or a destructor in the middle of its own use.
        self._lock = TurnLock()
        self._lost_reported = False
        self._help_reported: str | None = None
        self._opened_at = 0.0

    # -- for other threads -----------------------------------------------------------------------

    def wake(self) -> None:
        """Make a `poll` of the link return."""
        # A link must not be closed while it is woken: its descriptors may have another owner then.
        with self._lock:
            if self.link is not None:
                self.link.wake()

    @property
    def is_being_woken(self) -> bool:
        """Whether a signal handler asks, in the middle of a `wake` of its own thread."""
        with self._lock as is_outermost:
            return not is_outermost

    @property
    def opening(self) -> Link | None:
        """The link that is being opened, None while none is."""
        attempt = self._attempt
        return None if attempt is None else attempt.link

    @property
    def is_unreachable(self) -> bool:
        """Whether the store is unreachable and the last attempt to reach it failed."""
        return self.link is None and self.problem is not None

    @property
    def tried_for(self) -> float:
        """Seconds since the first attempt began."""
        return 0.0 if self._tried_since is None else time.monotonic() - self._tried_since

    # -- opening ---------------------------------------------------------------------------------

    @property
    def has_outcome(self) -> bool:
        """Whether an attempt has ended, so that `outcome` returns its result."""
        return self._attempt is not None and self._attempt.done

    def outcome(self) -> tuple[Link, Opened]:
        r"""The open link that an attempt has led to, and what the store said; it is `use`\ d or closed.

        Raises:
            TrackError: why the attempt failed; `is_transient` says whether a retry may succeed.
        """
        attempt, self._attempt = self._attempt, None
        assert attempt is not None, "only a started attempt has an outcome"
        if attempt.opened is not None:
            return attempt.link, attempt.opened
        error = attempt.error
        if not isinstance(error, TrackError):
            raise InternalError(
                f"connecting to {self._name} failed, due to a bug in Track: {error!r}"
            ) from error
        raise error

    def is_transient(self, error: TrackError) -> bool:
        """Whether a retry of the failed attempt may succeed."""
        return isinstance(error, _TRANSIENT) or (self.reached and isinstance(error, _TRANSIENT_ONCE_REACHED))

    def try_again(self, session: bytes) -> None:
        """Begin an attempt when it is time to, and none is under way.

        Args:
            session: to be attached.

        Raises:
            ServerUnreachable: this process can start no thread for it now.
        """
        if self._attempt is None and self._backoff.remaining() <= 0:
            if self._tried_since is None:
                self._tried_since = time.monotonic()
            try:
                self._attempt = ConnectAttempt(self._open_link(), session, self._connect_timeout, self._ended)
            except RuntimeError as error:
                raise ServerUnreachable(
                    f"cannot start a thread to connect to {self._name} ({error}): raise the limit of "
                    "processes"
                ) from error

    @property
    def next_attempt(self) -> float | None:
        """Seconds until the next attempt; None while one is under way."""
        return None if self._attempt is not None else max(0.0, self._backoff.remaining())

    def use(self, link: Link) -> None:
        """From now on this is the link."""
        self._opened_at = time.monotonic()
        self.reached, self.problem, self.final, self.link = True, None, None, link

    # -- successes and failures -----------------------------------------------------------------------------

    def answered(self) -> None:
        """Something came from the store."""
        self._backoff.worked()

    def works_again(self) -> None:
        """The store takes records; a login alone does not show that the problem is over."""
        if self._lost_reported or self._help_reported is not None:
            _log.info("connected to %s again", self._name)
        self._lost_reported, self._help_reported = False, None

    def fail(self, error: TrackError) -> None:
        """The link, or an attempt to open one, has failed: try again later."""
        if self.link is not None and time.monotonic() - self._opened_at > _GOOD_LINK_S:
            self._backoff.worked()
        self.problem = error
        if self.reached and not self._lost_reported:
            self._lost_reported = True
            refuses = isinstance(error, StoreError | TooBusy)
            what = f"{self._name} accepts no data" if refuses else f"the connection to {self._name} was lost"
            _log.warning("%s; log calls are queued on this machine: %s", what, error)
        self._backoff.failed()
        _log.debug("%s: next attempt in %.2f s, after: %s", self._name, self._backoff.remaining(), error)

    def need_help(self, error: TrackError, hint: str) -> None:
        """A person has to fix a problem: try rarely.

        Args:
            error: the problem.
            hint: appended to the message: what happens to log calls.
        """
        if self._help_reported != str(error):
            self._help_reported = str(error)
            _log.warning("nothing can be sent to %s: %s%s", self._name, error, hint)
        self.final = self.problem = error
        self._backoff.failed(_BLOCKED_RETRY_S)

    def drop(self) -> None:
        """Close the link."""
        with self._lock:
            link, self.link = self.link, None
        if link is not None:
            close_quietly(link)

    def close(self, timeout: float) -> None:
        """Close the link and an attempt, which has this many seconds to end."""
        self.drop()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.give_up(timeout)


OpenLink = Callable[[], Link]
"""Makes a link that is not open yet."""

_MIN_BACKOFF_S: Final = 0.05
_MAX_BACKOFF_S: Final = 5.0
_MAX_DOUBLINGS: Final = 16


class ConnectAttempt:
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
        """Close the link of a cancelled attempt, within this many seconds or when it is open."""
        with self._lock:
            self._given_up = True
            if self.opened is not None:
                close_quietly(self.link)
                return
        self._thread.join(seconds)

    def _run(self, session: bytes, timeout: float) -> None:
        try:
            opened = self.link.open(session, timeout)
        except BaseException as error:  # noqa: BLE001  # the thread that started the attempt raises it
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
        """An attempt or a link failed; wait at least this many seconds."""
        # From the system's randomness: forked processes share every other state.
        jitter = int.from_bytes(os.urandom(4), "big") / 2**32
        wait = jitter * min(_MAX_BACKOFF_S, _MIN_BACKOFF_S * 2**self._failures)
        self._again_at = time.monotonic() + max(least, wait)
        self._failures = min(self._failures + 1, _MAX_DOUBLINGS)

    def worked(self) -> None:
        """The link was good: after it, the first attempt comes soon."""
        self._failures = 0


def close_quietly(link: Link) -> None:
    """Release a link that may be broken in any way."""
    try:
        link.close()
    except Exception:  # noqa: BLE001  # whatever broke it may also break its end
        _log.exception("a broken connection could not be closed")
