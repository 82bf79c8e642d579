"""Answers: which calls wait for one, and the parts of those that are longer than a frame."""

from __future__ import annotations

from typing import Final

from track_protocol.errors import FrameTooLarge, LocalProtocolError, RemoteProtocolError
from track_protocol.wire.codec import decode
from track_protocol.wire.events import ErrorReceived, ResultPart, ResultReceived

__all__ = ["ANSWER_LIMIT", "Answers"]

ANSWER_LIMIT: Final = 256 * 1024 * 1024
"""Largest answer, in bytes; a client never holds more than this in parts of all its answers."""


class Answers:
    """The calls of one connection that wait for their answers.

    Only what was asked is taken, so a peer cannot fill memory with answers to nothing.
    """

    def __init__(self) -> None:
        self._parts: dict[int, bytearray] = {}
        self._held = 0

    def expect(self, call_id: int) -> None:
        """A call was sent."""
        self._parts[call_id] = bytearray()

    def check_free(self, call_id: int) -> None:
        """Raise LocalProtocolError if an earlier call with this id still waits."""
        if call_id in self._parts:
            raise LocalProtocolError(f"call {call_id} still waits for its answer: give each call its own id")

    def take(self, event: ResultPart | ErrorReceived) -> ResultReceived | ErrorReceived | None:
        """The answer that `event` completes, or None while parts of it are missing.

        Raises:
            RemoteProtocolError: nobody waits for it, or its parts are no encoded value.
            FrameTooLarge: the parts held exceed `ANSWER_LIMIT`.
        """
        held = self._parts.get(event.call_id)
        if held is None:
            raise RemoteProtocolError(f"an answer to call {event.call_id}, which nobody waits for")
        if isinstance(event, ResultPart):
            held += event.data
            self._held += len(event.data)
            if self._held > ANSWER_LIMIT:
                raise FrameTooLarge(f"answers of more than {ANSWER_LIMIT:,} bytes: ask for less at once")
            if event.more:
                return None
        del self._parts[event.call_id]
        self._held -= len(held)
        return ResultReceived(event.call_id, decode(held)) if isinstance(event, ResultPart) else event
