"""A store in the training process itself: the same engine, with the socket left out."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from track_protocol.errors import SessionFenced, TrackError
from track_protocol.wire.batch import Batch
from track_protocol.wire.codec import decode
from track_protocol.wire.link import Acked, Failed, LinkEvent, Opened, Refused, Replied
from track_protocol.wire.roles import Role
from track_server.engine.engine import Engine
from track_server.engine.jobs import Attached, Writer
from track_server.engine.readers import Page, Rest
from track_server.methods.embedded_presence import EmbeddedPresence
from track_server.network.ordering import ReadAfterWrite
from track_server.storage.contract import EMBEDDED_USER
from track_server.stores import check_store_uri, open_store, shared_ephemeral

__all__ = ["EngineLink", "SharedEngineLink", "open_ephemeral", "open_file", "open_postgres", "open_sqlite"]

_Arrival = Callable[[], LinkEvent | None]
"""Something another thread left for `poll` to account for; gives the event, if it is one."""


class EngineLink:
    """A `track_protocol.wire.link.Link` to an engine in this process.

    Args:
        open_engine: makes the engine; called at each `open`, and again after a fork.
    """

    def __init__(self, open_engine: Callable[[], Engine]) -> None:
        self._open_engine = open_engine
        self._engine: Engine | None = None
        self._presence: EmbeddedPresence | None = None
        self._writer = Writer(b"", EMBEDDED_USER)
        self._order = ReadAfterWrite()
        self._fenced: SessionFenced | None = None
        self._unanswered: set[int] = set()
        self._arrivals: queue.SimpleQueue[_Arrival | None] = queue.SimpleQueue()
        self._lock = threading.RLock()

    def open(self, session: bytes, timeout: float, ended: float | None = None) -> Opened:
        """See `Link.open`."""
        # A fork waits for all of this: behind it the engine is another one.
        with self._lock:
            engine = self._engine = self._open_engine()
            self._presence = self._present(session, engine)
            attached = _attached(engine, session)
            self._writer, self._fenced = attached.writer, None
            self._unanswered.clear()
            return Opened(attached.last_seq, engine.store.generation, str(Role.ADMIN))

    def send_batch(self, batch: Batch) -> int:
        """See `Link.send_batch`."""
        self._order.write_started()
        with self._lock:
            self._running.submit_batch(
                self._writer, batch, lambda outcome: self._arrive(self._stored, outcome)
            )
        return batch.nbytes

    def send_call(self, call_id: int, seq: int | None, method: str, arguments: dict[str, Any]) -> None:
        """See `Link.send_call`."""
        if seq is None:
            self._order.read(lambda: self._read(call_id, method, arguments))
            return
        self._order.write_started()
        self._unanswered.add(call_id)
        with self._lock:
            self._running.submit_call(
                self._writer,
                seq,
                method,
                arguments,
                lambda outcome: self._arrive(self._written, call_id, outcome),
            )

    def poll(self, timeout: float | None) -> list[LinkEvent]:
        """See `Link.poll`.

        Raises:
            SessionFenced: another process has taken the session over.
        """
        arrivals: list[_Arrival | None] = []
        try:
            arrivals.append(
                self._arrivals.get(timeout=timeout) if timeout != 0 else self._arrivals.get_nowait()
            )
            while True:
                arrivals.append(self._arrivals.get_nowait())
        except queue.Empty:
            pass
        events = [arrival() for arrival in arrivals if arrival is not None]
        if self._fenced is not None:
            raise self._fenced
        return [event for event in events if event is not None]

    def wake(self) -> None:
        """See `Link.wake`."""
        self._arrivals.put(None)

    def close(self) -> None:
        """See `Link.close`."""
        with self._lock:
            engine, self._engine = self._engine, None
            presence, self._presence = self._presence, None
        if engine is not None:
            # After a goodbye the store deletes its last answer, which a caller that lacks it requests again.
            if not self._unanswered:
                engine.submit_leave(self._writer)
            runs_trials = presence is not None and presence.runs_trials()
            self._release(engine)
            # A session that runs trials may be opened again, and its process lives.
            if presence is not None and not runs_trials:
                presence.leave()

    def _present(self, session: bytes, engine: Engine) -> EmbeddedPresence | None:
        """What shows other processes that this one has a session; None where there are no others."""
        local = engine.store.local_sessions
        if local is None:
            return None
        presence = EmbeddedPresence(session, engine, local)
        presence.enter()
        engine.on_pause(presence.look)  # from now on, as only one thread may hold a session
        return presence

    def _release(self, engine: Engine) -> None:
        engine.close()

    # SQLite forbids to carry a connection across a fork, and a fork copies locks as other threads
    # hold them: so the engine is closed before and opened again behind it.

    def before_fork(self) -> None:
        """Finish the submitted jobs, and block all others until `after_fork_in_parent`."""
        self._lock.acquire()
        if self._engine is not None:
            self._engine.close(tidy=False)

    def after_fork_in_parent(self) -> None:
        """Continue."""
        try:
            if self._engine is not None:
                engine = self._engine = self._open_engine()
                self._presence = self._present(self._writer.sid, engine)
        finally:
            self._lock.release()

    @property
    def _running(self) -> Engine:
        assert self._engine is not None, "the link is not open"
        return self._engine

    def _read(self, call_id: int, method: str, arguments: dict[str, Any]) -> None:
        with self._lock:
            self._running.submit_read(method, arguments, self._page_of(call_id, []))

    def _page_of(self, call_id: int, pages: list[Page]) -> Callable[[Page | TrackError], None]:
        """Takes a page of an answer whose first pages are here, and requests the next one."""

        def done(outcome: Page | TrackError) -> None:
            if isinstance(outcome, TrackError):
                self._arrive(Failed, call_id, outcome)
                return
            pages.append(outcome)
            if outcome.rest is None:
                self._arrive(_replied, call_id, pages)
            else:
                self._arrive(self._ask_on, call_id, outcome.rest, pages)

        return done

    def _ask_on(self, call_id: int, rest: Rest, pages: list[Page]) -> None:
        with self._lock:
            self._running.submit_rest(rest, self._page_of(call_id, pages))

    def _arrive(self, account: Callable[..., LinkEvent | None], *args: Any) -> None:
        self._arrivals.put(lambda: account(*args))

    def _stored(self, outcome: Acked | TrackError) -> LinkEvent:
        self._order.write_finished()
        if isinstance(outcome, SessionFenced):
            self._fenced = outcome
        return outcome if isinstance(outcome, Acked) else Refused(outcome)

    def _written(self, call_id: int, outcome: bytes | TrackError) -> LinkEvent:
        self._order.write_finished()
        self._unanswered.discard(call_id)
        if isinstance(outcome, SessionFenced):
            self._fenced = outcome
        return self._answered(call_id, outcome)

    def _answered(self, call_id: int, outcome: bytes | TrackError) -> LinkEvent:
        if isinstance(outcome, TrackError):
            return Failed(call_id, outcome)
        return Replied(call_id, decode(outcome))


class SharedEngineLink(EngineLink):
    """A link to an engine that others use, too, and that stays open when the link closes.

    Args:
        engine: the engine; never across a fork.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(lambda: engine)

    def _present(self, session: bytes, engine: Engine) -> None:
        """Only the server has the store open."""

    def _release(self, engine: Engine) -> None:
        """The engine is another's."""


def _replied(call_id: int, pages: list[Page]) -> LinkEvent:
    first, *others = [decode(page.data) for page in pages]
    for items in others:
        first += items
    return Replied(call_id, first)


def _attached(engine: Engine, session: bytes) -> Attached:
    """Take a session over, and wait until that is durable."""
    outcomes: queue.SimpleQueue[Attached | TrackError] = queue.SimpleQueue()
    engine.submit_attach(session, EMBEDDED_USER, outcomes.put)
    outcome = outcomes.get()
    if isinstance(outcome, TrackError):
        raise outcome
    return outcome


def _open_on_disk(uri: str) -> Callable[[], EngineLink]:
    parsed = check_store_uri(uri)
    # It is opened again in a forked child and after a close, when the program may be in another folder.
    with suppress(OSError):  # the current folder may be deleted: opening says so
        parsed = replace(parsed, path=os.path.abspath(parsed.path))
    found = parsed.to_text()
    return lambda: EngineLink(lambda: Engine(open_store(found, exclusive=False)))


def open_sqlite(uri: str) -> Callable[[], EngineLink]:
    """Links to the SQLite database that ``sqlite:FILE`` names.

    Raises:
        UriError: the URI is malformed or holds an unknown option.
    """
    return _open_on_disk(uri)


def open_file(uri: str) -> Callable[[], EngineLink]:
    """Links to the JSON file that ``file:FILE`` names.

    Raises:
        UriError: the URI is malformed or holds an unknown option.
    """
    return _open_on_disk(uri)


def open_ephemeral(uri: str) -> Callable[[], EngineLink]:
    """Links to one ephemeral store, which lives as long as what this returns.

    Raises:
        UriError: the URI holds an option.
        StoreReadOnly: there is no place for temporary files.
    """
    open_again = shared_ephemeral(uri)
    return lambda: EngineLink(lambda: Engine(open_again()))


def open_postgres(uri: str) -> Callable[[], EngineLink]:
    """Links to the store in the PostgreSQL database that ``postgresql://HOST/DATABASE`` names.

    Raises:
        UriError: the URI is malformed or holds an unknown option.
        MissingExtra: psycopg is not installed.
    """
    check_store_uri(uri)
    return lambda: EngineLink(lambda: Engine(open_store(uri, exclusive=False)))
