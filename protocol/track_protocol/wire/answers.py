"""Answers: which calls wait for one, and the parts and pages of those that are longer than a frame."""

from __future__ import annotations

from typing import Any, Final

from track_protocol.errors import FrameTooLarge, LocalProtocolError, RemoteProtocolError
from track_protocol.wire.codec import decode
from track_protocol.wire.events import ErrorReceived, Follows, ResultPart, ResultReceived

__all__ = ["ANSWER_LIMIT", "Answers"]

ANSWER_LIMIT: Final = 1024 * 1024 * 1024
"""Largest answer, in bytes of all its pages; a client never accepts more for its pending calls."""


class _Answer:
    """The parts of the current page so far, the items of the pages before it, and all their bytes."""

    __slots__ = ("items", "nbytes", "page")

    def __init__(self) -> None:
        self.nbytes = 0
        self.page = bytearray()
        self.items: list[Any] | None = None


class Answers:
    """The calls of one connection that wait for their answers.

    It accepts answers to pending calls only, so a peer cannot fill memory with unrequested answers.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, _Answer] = {}
        self._held = 0

    def expect(self, call_id: int) -> None:
        """A call was sent."""
        self._waiting[call_id] = _Answer()

    def check_free(self, call_id: int) -> None:
        """Raise LocalProtocolError if an earlier call with this id still waits."""
        if call_id in self._waiting:
            raise LocalProtocolError(f"call {call_id} still waits for its answer: give each call its own id")

    def take(self, event: ResultPart | ErrorReceived) -> ResultReceived | ErrorReceived | None:
        """The answer that `event` completes, or None while parts of it are missing.

        Raises:
            RemoteProtocolError: its call is not pending, its parts do not decode, or a page is no list.
            FrameTooLarge: the answers that wait exceed `ANSWER_LIMIT`.
        """
        answer = self._waiting.get(event.call_id)
        if answer is None:
            raise RemoteProtocolError(f"an answer to call {event.call_id}, which is not pending")
        if isinstance(event, ErrorReceived):
            self._forget(event.call_id)
            return event
        answer.nbytes += len(event.data)
        self._held += len(event.data)
        if self._held > ANSWER_LIMIT:
            raise FrameTooLarge(f"answers of more than {ANSWER_LIMIT:,} bytes: ask for less at once")
        if event.follows is Follows.PART:
            answer.page += event.data
            return None
        # A page in one part, as most are, is not copied.
        value = decode(answer.page + event.data if answer.page else event.data)
        answer.page = bytearray()
        if event.follows is Follows.PAGE or answer.items is not None:
            if type(value) is not list:
                raise RemoteProtocolError("a page of an answer is a list")
            answer.items = answer.items or []
            answer.items += value
        if event.follows is Follows.PAGE:
            return None
        self._forget(event.call_id)
        return ResultReceived(event.call_id, value if answer.items is None else answer.items)

    def _forget(self, call_id: int) -> None:
        self._held -= self._waiting.pop(call_id).nbytes
