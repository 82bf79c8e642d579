"""The conversation between a client and a server, without any I/O.

Feed it the bytes that came in and it gives events; tell it what to say and it gives the bytes to
send.  What may be said when is one table, `TRANSITIONS`::

    START --HELLO(client)--> GREETING --HELLO(server)--> LOGIN --AUTH...--> LOGIN --READY--> OPEN
    OPEN  --CALL, RESULT, ERROR, BATCH, ACK, NACK, PING, PONG--> OPEN
    any   --CLOSE--> CLOSED

`DESIGN.md` beside this file draws it and says why it is so.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from track_protocol.batch import Batch, batch_to_wire
from track_protocol.codec import decode, encode
from track_protocol.errors import FrameTooLarge, LocalProtocolError, RemoteProtocolError, TrackError
from track_protocol.events import CloseReceived, Event, ResultPart, ResultReceived, event_from_frame
from track_protocol.frames import FRAME_LIMIT, GREETING_LIMIT, FrameKind, FrameReader, encode_frame
from track_protocol.link import Rejection

__all__ = ["ANSWER_LIMIT", "TRANSITIONS", "VERSIONS", "Connection", "Side", "State"]

VERSIONS: Final = (1,)
"""Protocol versions this software speaks, best first."""

ANSWER_LIMIT: Final = 256 * 1024 * 1024
"""Largest answer, in bytes, that a client puts together from its parts."""

_PART: Final = FRAME_LIMIT - 1024


class Side(Enum):
    """Who says something."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def other(self) -> Side:
        """The peer's side."""
        return Side.SERVER if self is Side.CLIENT else Side.CLIENT


class State(Enum):
    """Where the conversation stands; both sides go through the same states."""

    START = "start"
    GREETING = "greeting"
    LOGIN = "login"
    OPEN = "open"
    CLOSED = "closed"


def _talk(*kinds: FrameKind) -> dict[FrameKind, State]:
    return dict.fromkeys(kinds, State.OPEN) | {FrameKind.CLOSE: State.CLOSED}


TRANSITIONS: Final[Mapping[Side, Mapping[State, Mapping[FrameKind, State]]]] = {
    Side.CLIENT: {
        State.START: {FrameKind.HELLO: State.GREETING, FrameKind.CLOSE: State.CLOSED},
        State.GREETING: {FrameKind.CLOSE: State.CLOSED},
        State.LOGIN: {FrameKind.AUTH: State.LOGIN, FrameKind.CLOSE: State.CLOSED},
        State.OPEN: _talk(FrameKind.CALL, FrameKind.BATCH, FrameKind.PING, FrameKind.PONG),
        State.CLOSED: {},
    },
    Side.SERVER: {
        State.START: {FrameKind.CLOSE: State.CLOSED},
        State.GREETING: {FrameKind.HELLO: State.LOGIN, FrameKind.CLOSE: State.CLOSED},
        State.LOGIN: {FrameKind.AUTH: State.LOGIN, FrameKind.READY: State.OPEN, FrameKind.CLOSE: State.CLOSED},
        State.OPEN: _talk(
            FrameKind.RESULT, FrameKind.ERROR, FrameKind.ACK, FrameKind.NACK, FrameKind.PING, FrameKind.PONG
        ),
        State.CLOSED: {},
    },
}
"""What each side may say in each state, and the state that follows: ``{side: {state: {kind: next}}}``."""


class Connection:
    """One side of one conversation.

    Args:
        side: which side this is.

    Attributes:
        state: where the conversation stands.
    """

    def __init__(self, side: Side) -> None:
        self.side = side
        self.state = State.START
        self._reader = FrameReader(GREETING_LIMIT)
        self._out = bytearray()
        self._answers: dict[int, bytearray] = {}

    # -- bytes ----------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> list[Event]:
        """The events that `data`, together with what came before, completes.

        Raises:
            RemoteProtocolError: the peer broke the protocol; close with `send_close`.
            EncryptionMismatch: the peer speaks TLS and this connection is plain.
        """
        if self.state is State.CLOSED:
            return []
        self._reader.feed(data)
        events: list[Event] = []
        while (frame := self._reader.next_frame()) is not None:
            kind, fields = frame
            self._advance(self.side.other, kind)
            event = event_from_frame(kind, fields, from_client=self.side is Side.SERVER)
            whole = self._gather(event) if isinstance(event, ResultPart) else event
            if whole is not None:
                events.append(whole)
            if isinstance(event, CloseReceived):
                break
        return events

    def data_to_send(self) -> bytes:
        """The bytes that are to go out, once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    @property
    def incomplete(self) -> int:
        """Bytes received that do not make a frame yet."""
        return self._reader.buffered

    def _advance(self, speaker: Side, kind: FrameKind) -> None:
        following = TRANSITIONS[speaker][self.state].get(kind)
        if following is None:
            fault = LocalProtocolError if speaker is self.side else RemoteProtocolError
            raise fault(f"the {speaker.value} may not say {kind.name} in state {self.state.value}")
        self.state = following
        if following is State.OPEN:
            self._reader.limit = FRAME_LIMIT

    def _gather(self, part: ResultPart) -> ResultReceived | None:
        if not part.more and part.call_id not in self._answers:
            return ResultReceived(part.call_id, decode(part.data))
        whole = self._answers.setdefault(part.call_id, bytearray())
        whole += part.data
        if len(whole) > ANSWER_LIMIT:
            raise FrameTooLarge(f"an answer of more than {ANSWER_LIMIT:,} bytes: ask for less at once")
        if part.more:
            return None
        return ResultReceived(part.call_id, decode(bytes(self._answers.pop(part.call_id))))

    def _say(self, kind: FrameKind, *fields: Any) -> int:
        limit = FRAME_LIMIT if self.state is State.OPEN else GREETING_LIMIT
        frame = encode_frame(kind, list(fields), limit)
        self._advance(self.side, kind)
        self._out += frame
        return len(frame)

    # -- what either side says ------------------------------------------------------------------

    def send_auth(self, message: str) -> None:
        """The next message of the login exchange."""
        self._say(FrameKind.AUTH, message)

    def send_ping(self, token: int) -> None:
        """Ask for a sign of life; `token` comes back in the pong."""
        self._say(FrameKind.PING, token)

    def send_pong(self, token: int) -> None:
        """Answer a ping."""
        self._say(FrameKind.PONG, token)

    def send_close(self, error: TrackError | None = None) -> None:
        """End the conversation, with the reason if it is not a good one; harmless when repeated."""
        if self.state is not State.CLOSED:
            code, message = (error.code, str(error)[:2048]) if error is not None else ("", "")
            self._say(FrameKind.CLOSE, code, message)

    # -- what a client says ---------------------------------------------------------------------

    def send_client_hello(self, agent: str, session: bytes) -> None:
        """Open the conversation for a session (16 bytes)."""
        self._say(FrameKind.HELLO, list(VERSIONS), agent, session)

    def send_call(self, call_id: int, seq: int | None, method: str, arguments: dict[str, Any]) -> int:
        """Call a method; returns the frame's size in bytes.

        Raises:
            BadValue: an argument cannot be encoded.
            LocalProtocolError: the call is larger than a frame may be.
        """
        return self._say(FrameKind.CALL, call_id, seq, method, arguments)

    def send_batch(self, batch: Batch) -> int:
        """Send records; returns the frame's size in bytes."""
        return self._say(FrameKind.BATCH, *batch_to_wire(batch))

    # -- what a server says ---------------------------------------------------------------------

    def send_server_hello(self, version: int, agent: str, mechanism: str) -> None:
        """Answer a greeting with the protocol version and the login mechanism to use."""
        self._say(FrameKind.HELLO, version, agent, mechanism)

    def send_ready(self, proof: str, last_seq: int, generation: str, role: str) -> None:
        """Login succeeded."""
        self._say(FrameKind.READY, proof, last_seq, generation, role)

    def send_result(self, call_id: int, encoded: bytes) -> None:
        """Answer a call with an encoded value (`track_protocol.codec.encode`), in as many frames as it takes."""
        starts = range(0, len(encoded), _PART) or range(1)
        for start in starts:
            more = start + _PART < len(encoded)
            self._say(FrameKind.RESULT, call_id, more, encoded[start : start + _PART])

    def send_result_value(self, call_id: int, value: Any) -> None:
        """Answer a call with a plain value."""
        self.send_result(call_id, encode(value))

    def send_error(self, call_id: int, error: TrackError, trace: str | None = None) -> None:
        """Answer a call with an error."""
        self._say(FrameKind.ERROR, call_id, error.code, str(error)[:65_536], trace and trace[-65_536:])

    def send_ack(self, last_seq: int, rejected: list[Rejection]) -> None:
        """All records up to `last_seq` are durable, but for those rejected for good."""
        self._say(FrameKind.ACK, last_seq, [[r.seq, r.code, r.message[:1024]] for r in rejected[:100]])

    def send_nack(self, expected: int, error: TrackError) -> None:
        """Batches are refused."""
        self._say(FrameKind.NACK, expected, error.code, str(error)[:2048])
