"""One call to several backends: all of them do it, or the first that can answers."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from track.persistence.protocol import Protocol
from track_protocol.errors import BadArguments
from track_protocol.uri import redact

__all__ = ["Failure", "Fanout"]

_log: Final = logging.getLogger("track")
_MOST_FAILURES: Final = 1_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that one backend has failed, while another has done it.

    Attributes:
        backend: its URI, without secrets.
        method: the call.
        error: what it raised.
        time: when, in seconds since the epoch.
    """

    backend: str
    method: str
    error: Exception
    time: float


class Fanout:
    """Has backends do things, and keeps what single ones of them fail.

    Args:
        backends: at least one.

    Attributes:
        failures: what single backends have failed, oldest first; of very many, the last 1,000.
    """

    def __init__(self, backends: Sequence[Protocol]) -> None:
        self._backends = backends
        self.failures: deque[Failure] = deque(maxlen=_MOST_FAILURES)
        self._failed: set[int] = set()

    def write(
        self, method: str, call: Callable[[int, Protocol], T], until: Callable[[], bool] = lambda: False
    ) -> T:
        """Have every backend do something; the first answer.

        Args:
            method: its name.
            call: does it, given the backend's number and the backend.
            until: when it is true behind an answer, that answer is all, and nothing is left to do.

        Raises:
            Exception: all have failed; the most telling of what they raised.
        """
        answers: list[T] = []
        errors: list[tuple[int, Exception]] = []
        for number, backend in enumerate(self._backends):
            try:
                answers.append(call(number, backend))
            except Exception as error:  # noqa: BLE001 - whatever one backend does, the others go on
                errors.append((number, error))
                continue
            if until():
                break
        if not answers:
            raise self._worst(errors)
        for number, failure in errors:
            self.report(number, method, failure)
        return answers[0]

    def read(self, method: str, call: Callable[[Protocol], T]) -> T:
        """The first answer; those that have failed are asked last.

        Args:
            method: what is asked, by its name.
            call: asks a backend.

        Raises:
            Exception: as for `write`.
        """
        errors: list[tuple[int, Exception]] = []
        for number in sorted(range(len(self._backends)), key=lambda number: number in self._failed):
            try:
                answer = call(self._backends[number])
            except Exception as error:  # noqa: BLE001 - whatever one backend does, the next is asked
                errors.append((number, error))
                continue
            for failed, failure in errors:
                self.report(failed, method, failure)
            return answer
        raise self._worst(errors)

    def report(self, number: int, method: str, error: Exception) -> None:
        """Keep what a backend has failed while another has done it; the first time, warn.

        Args:
            number: of the backend.
            method: what it was to do.
            error: what it raised.
        """
        backend = redact(self._backends[number].uri)
        self.failures.append(Failure(backend, method, error, time.time()))
        if number not in self._failed:
            self._failed.add(number)
            _log.warning(
                "%s failed %s, the other backends go on without it: %s (further failures are in `failures`)",
                backend,
                method,
                error,
            )

    def _worst(self, errors: list[tuple[int, Exception]]) -> Exception:
        """What a call that all have failed raises: a fault of the caller's, else what is new."""
        return min(errors, key=lambda each: (not isinstance(each[1], BadArguments), each[0] in self._failed))[
            1
        ]
