"""The threads that answer reads, page by page; peers take turns.

A turn makes one page: a complete small answer, or as much of a list as fits some bytes and some
milliseconds, on a snapshot of its own.  The caller submits the rest when the page was sent, so an
answer takes no more memory and no more of a thread's time than its peer reads.

Turns are shared between the users that wait, and each user's between its peers: the next one belongs to
the user, and then to the peer, that has used the least time.  Who was idle starts level with that one
(start-time fair queueing): it does not wait behind what others have piled up, and gains nothing from having
been idle.  One thread makes first pages only, so a small answer never waits for long ones.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from track_protocol.errors import InternalError, TooBusy, TrackError
from track_protocol.wire.codec import encode, encode_list, encode_own
from track_protocol.wire.methods import Access, method_named
from track_server.engine.recovery import Recovery
from track_server.methods.dispatch import READS
from track_server.methods.read import Listing
from track_server.storage.contract import Snapshot, Store

__all__ = ["PAGE_BYTES", "Page", "Peer", "ReaderPool", "Rest"]

_log = logging.getLogger(__name__)

PAGE_BYTES: Final = 64 * 1024
"""Size at which a page of a list ends; one document may be longer."""

_PAGE_S: Final = 0.003
"""Seconds after which a page of a list ends."""

_BETWEEN_PAGES_S: Final = 0.1
"""Seconds after a page within which the next one of an answer, or of a series, is expected."""

_FIRST_DOCUMENTS: Final = 2
"""Documents that are read by one statement, at first."""

Peer = tuple[Hashable, Hashable]
"""The caller: a user, and one of its connections."""

_NO_PEER: Final[Peer] = (None, None)


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of a list behind a page: a position in what was found."""

    method: str
    listing: Listing
    start: int


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of an answer.

    Attributes:
        data: an encoded value; of a list, the items of this page.
        rest: what `ReaderPool.submit_rest` makes the next page from; None when there is none.
    """

    data: bytes
    rest: Rest | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """One page that waits for its turn."""

    method: str
    make: Callable[[Snapshot], Page]
    done: Callable[[Any], None]
    is_rest: bool


@dataclass(slots=True)
class _Line:
    """The reads of one peer that wait, and the time that its turns have used."""

    used_s: float
    reads: deque[_Read] = field(default_factory=deque)
    running: int = 0

    @property
    def is_idle(self) -> bool:
        return not (self.reads or self.running)


@dataclass(slots=True)
class _User:
    """The peers of one user, and the time that their turns have used."""

    used_s: float
    lines: dict[Hashable, _Line] = field(default_factory=dict)


class _Waiting:
    """The threads of one kind that wait for a turn; all calls hold the lock."""

    def __init__(self, lock: threading.Lock) -> None:
        self._condition = threading.Condition(lock)
        self._threads = 0

    def wait(self) -> None:
        """Wait until woken."""
        self._threads += 1
        self._condition.wait()

    def wake_one(self) -> bool:
        """Wake a thread; False when none is waiting."""
        if self._threads:
            self._threads -= 1
            self._condition.notify()
            return True
        return False

    def wake_all(self) -> None:
        """Wake all threads."""
        self._threads = 0
        self._condition.notify_all()


class ReaderPool:
    """Answers reads of a store on a few threads.

    Args:
        store: the open store.
        recovery: records failures of the store.
        threads: how many reads run at once.
        seconds: how long the statements of one page may run; None for the store's own limit.
    """

    def __init__(
        self, store: Store, recovery: Recovery, threads: int = 3, seconds: float | None = None
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._recovery = recovery
        self._users: dict[Hashable, _User] = {}
        self._lock = threading.Lock()
        # Those that wait for a turn: the thread that makes first pages only, and the others.
        self._first_pages, self._any_page = _Waiting(self._lock), _Waiting(self._lock)
        self._closing = False
        self._ended_at = -math.inf
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(self._any_page if number > 0 or threads == 1 else self._first_pages,),
                name=f"track-reader-{number}",
                daemon=True,
            )
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, method: str, arguments: dict[str, Any], done: Callable[[Any], None], peer: Peer = _NO_PEER
    ) -> None:
        """Answer a read.

        Args:
            method: a name of the method table.
            arguments: what the peer sent; checked here.
            done: called on a reader's thread, with the first `Page` or a `TrackError`.
            peer: the caller: a user, and one of its connections.
        """

        def make(view: Snapshot) -> Page:
            checked = method_named(method, within=(Access.READ,)).check(arguments)
            answer = READS[method](view, **checked)
            if isinstance(answer, Listing):
                return self._page(view, Rest(method, answer, 0))
            return Page(encode(answer))

        self._submit(_Read(method, make, done, is_rest=False), peer)

    def submit_rest(self, rest: Rest, done: Callable[[Any], None], peer: Peer = _NO_PEER) -> None:
        """Make the next page of an answer; `done` is called with it, as by `submit`."""
        self._submit(_Read(rest.method, lambda view: self._page(view, rest), done, is_rest=True), peer)

    def _submit(self, read: _Read, peer: Peer) -> None:
        name, connection = peer
        with self._lock:
            if not self._closing:
                user = self._users.get(name)
                if user is None:
                    user = self._users[name] = _User(_least(self._users.values()))
                line = user.lines.get(connection)
                if line is None:
                    line = user.lines[connection] = _Line(_least(user.lines.values()))
                line.reads.append(read)
                # One thread is enough, and each one more would only take the interpreter from that one.
                if read.is_rest or not self._first_pages.wake_one():
                    self._any_page.wake_one()
                return
        read.done(TooBusy("the store is closing: try again after its restart"))

    @property
    def is_reading(self) -> bool:
        """Whether somebody reads: a page waits or is made, or the next one is expected."""
        with self._lock:
            return bool(self._users) or time.monotonic() < self._ended_at + _BETWEEN_PAGES_S

    def close(self) -> None:
        """Answer what was submitted, then end; harmless when repeated."""
        with self._lock:
            self._closing = True
            self._first_pages.wake_all()
            self._any_page.wake_all()
        for thread in self._threads:
            thread.join()

    def _run(self, waiting: _Waiting) -> None:
        """Take turns until the pool closes; those with `_first_pages` make no further pages of answers."""
        while (turn := self._next_turn(waiting)) is not None:
            user, line, read = turn
            began = time.monotonic()
            try:
                read.done(self._outcome(read))
            except Exception:  # noqa: BLE001 - it must not end a thread that others wait for
                _log.exception("the answer of %s could not be delivered", read.method)
            self._ended(user, line, time.monotonic() - began)

    def _next_turn(self, idle: _Waiting) -> tuple[_User, _Line, _Read] | None:
        """The next read, None when the pool has closed."""
        makes_rests = idle is self._any_page
        with self._lock:
            while True:
                waiting = [
                    (user.used_s, line.used_s, line.reads[0].is_rest, at)
                    for at, (user, line) in enumerate(self._all_lines())
                    if line.reads and (makes_rests or not line.reads[0].is_rest)
                ]
                if waiting:
                    *_, at = min(waiting)
                    user, line = next(islice(self._all_lines(), at, None))
                    line.running += 1
                    return user, line, line.reads.popleft()
                if self._closing:
                    return None
                idle.wait()

    def _all_lines(self) -> Iterator[tuple[_User, _Line]]:
        return ((user, line) for user in self._users.values() for line in user.lines.values())

    def _ended(self, user: _User, line: _Line, seconds: float) -> None:
        with self._lock:
            line.running -= 1
            self._ended_at = time.monotonic()
            line.used_s += seconds
            user.used_s += seconds
            user.lines = {name: each for name, each in user.lines.items() if not each.is_idle}
            self._users = {name: each for name, each in self._users.items() if each.lines}

    def _outcome(self, read: _Read) -> Page | TrackError:
        try:
            with self._store.snapshot(self._seconds) as view:
                return read.make(view)
        except TrackError as error:
            self._recovery.record_failure(error, reading=True)
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller waits for an answer
            _log.exception("the read %s failed", read.method)
            return InternalError(f"the server failed on this call: {error!r}", traceback.format_exc())

    def _page(self, view: Snapshot, rest: Rest) -> Page:
        """The next page of a list: what one read gives, and more if there is time."""
        keys, most, at = rest.listing.keys, rest.listing.most, rest.start
        until = time.monotonic() + _PAGE_S
        items: list[bytes] = []
        size, count = 0, min(_FIRST_DOCUMENTS, most)
        while at < len(keys) and size < PAGE_BYTES and (at == rest.start or time.monotonic() < until):
            documents = rest.listing.read(view, keys[at : at + count])
            at += count
            items += map(self._item, documents)
            size = sum(map(len, items))
            average = max(1, size // max(1, len(items)))
            count = min(most, 2 * count, max(1, (PAGE_BYTES - size) // average))
        return Page(encode_list(items), Rest(rest.method, rest.listing, at) if at < len(keys) else None)

    def _item(self, found: object) -> bytes:
        if isinstance(found, TrackError):
            self._recovery.record_failure(found, reading=True)
            return encode({"error": str(found)})
        return encode_own(found)


def _least(waiting: Iterable[_User | _Line]) -> float:
    return min((each.used_s for each in waiting), default=0.0)
