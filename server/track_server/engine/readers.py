"""The threads that answer reads, each on a snapshot of its own; whoever asks takes turns.

A turn is one read.  The next turn belongs to the peer that has used the least time of those that wait.
A peer that was idle starts level with that peer (start-time fair queueing): it does not wait behind
what others have piled up, and gains nothing from having been idle.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final

from track_protocol.errors import InternalError, TooBusy, TrackError
from track_protocol.wire.codec import encode
from track_protocol.wire.methods import Access, method_named
from track_server.engine.recovery import Recovery
from track_server.methods.dispatch import READS
from track_server.storage.contract import Store

__all__ = ["ReaderPool"]

_log = logging.getLogger(__name__)

_LEAST_COST_S: Final = 1e-5
"""What a turn costs at least, so that a peer of many tiny reads takes turns too."""


@dataclass(frozen=True, slots=True)
class _Read:
    """One read that waits for its turn."""

    method: str
    arguments: dict[str, Any]
    done: Callable[[Any], None]


@dataclass(slots=True)
class _Line:
    """The reads of one peer that wait, and the time that its turns have used."""

    used_s: float
    reads: deque[_Read] = field(default_factory=deque)
    running: int = 0


class ReaderPool:
    """Answers reads of a store on a few threads.

    Args:
        store: the open store.
        recovery: is told of failures of the store.
        threads: how many reads run at once.
    """

    def __init__(self, store: Store, recovery: Recovery, threads: int = 2) -> None:
        self._store = store
        self._recovery = recovery
        self._lines: dict[Hashable, _Line] = {}
        self._condition = threading.Condition()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._run, name=f"track-reader-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, method: str, arguments: dict[str, Any], done: Callable[[Any], None], peer: Hashable = None
    ) -> None:
        """Answer a read.

        Args:
            method: a name of the method table.
            arguments: what the peer sent; checked here.
            done: called on a reader's thread, with the encoded value or a `TrackError`.
            peer: who asks.
        """
        with self._condition:
            if not self._closing:
                if peer not in self._lines:
                    self._lines[peer] = _Line(
                        min((line.used_s for line in self._lines.values()), default=0.0)
                    )
                self._lines[peer].reads.append(_Read(method, arguments, done))
                self._condition.notify()
                return
        done(TooBusy("the store is closing: try again when it is back"))

    def close(self) -> None:
        """Answer what was submitted, then end; harmless when repeated."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (turn := self._next_turn()) is not None:
            line, read = turn
            began = time.monotonic()
            try:
                read.done(self._outcome(read))
            except Exception:  # noqa: BLE001 - it must not end a thread that others wait for
                _log.exception("the answer of %s could not be handed over", read.method)
            self._ended(line, time.monotonic() - began)

    def _next_turn(self) -> tuple[_Line, _Read] | None:
        """The next read, None when the pool has closed."""
        with self._condition:
            while True:
                waiting = [line for line in self._lines.values() if line.reads]
                if waiting:
                    line = min(waiting, key=lambda each: each.used_s)
                    line.running += 1
                    return line, line.reads.popleft()
                if self._closing:
                    return None
                self._condition.wait()

    def _ended(self, line: _Line, seconds: float) -> None:
        with self._condition:
            line.running -= 1
            line.used_s += max(seconds, _LEAST_COST_S)
            self._lines = {peer: each for peer, each in self._lines.items() if each.reads or each.running}

    def _outcome(self, read: _Read) -> bytes | TrackError:
        try:
            method = method_named(read.method, within=(Access.READ,))
            checked = method.check(read.arguments)
            with self._store.snapshot() as view:
                return encode(READS[read.method](view, **checked))
        except TrackError as error:
            self._recovery.note(error, reading=True)
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller waits for an answer
            _log.exception("the read %s failed", read.method)
            return InternalError(f"the server failed on this call: {error!r}", traceback.format_exc())
