"""The conversation between a client and a server, without any I/O.

Give it the received bytes and it returns events; call its `send_…` methods and it returns the bytes to
send.  The table `TRANSITIONS` defines which side may send what, and when::

    START --HELLO(client)--> GREETING --HELLO(server)--> LOGIN
    LOGIN --AUTH(client)--> CHALLENGE --AUTH(server)--> PROOF --AUTH(client)--> VERDICT
    VERDICT --READY(server)--> OPEN
    OPEN  --CALL, RESULT, ERROR, BATCH, ACK, NACK, PING, PONG--> OPEN
    any   --CLOSE--> CLOSED

`DESIGN.md` beside this file draws it and gives the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Any, Final

from track_protocol.errors import (
    ConnectionLost,
    LocalProtocolError,
    RemoteProtocolError,
    TrackError,
)
from track_protocol.security.scram import Verifier
from track_protocol.wire.answers import Answers
from track_protocol.wire.batch import Batch, batch_to_wire
from track_protocol.wire.codec import count_items, decode, decode_counted
from track_protocol.wire.events import (
    AuthReceived,
    BatchReceived,
    CallReceived,
    CloseReceived,
    ErrorReceived,
    Event,
    Follows,
    HelloReceived,
    ReadyReceived,
    ResultPart,
    ServerHelloReceived,
    Undecoded,
    event_from_frame,
)
from track_protocol.wire.frames import (
    FRAME_LIMIT,
    GREETING_LIMIT,
    FrameKind,
    FrameReader,
    check_items,
    frame_fields,
    frame_parts,
)
from track_protocol.wire.keepalive import SILENCE_S, Keepalive
from track_protocol.wire.link import Rejection
from track_protocol.wire.login import ClientLogin, ServerLogin

__all__ = ["TRANSITIONS", "VERSIONS", "Connection", "Side", "State"]

VERSIONS: Final = (1,)
"""Protocol versions that this software supports, best first."""

_KNOWN: Final = ", ".join(map(str, VERSIONS))
_STEPS: Final = 512
_LIGHT_ITEMS: Final = 2048
"""A frame is decoded at once when its items can be counted in this many steps and are no more than that."""

_ITEM_BYTES: Final = 64
"""Memory that an item may take once it is decoded: an empty map is one byte on the wire."""

_PART_BYTES: Final = FRAME_LIMIT - 1024
_REASON_BYTES: Final = 2048
_REPORT_BYTES: Final = 65_536
_REJECTIONS_PER_ACK: Final = 100


class Side(Enum):
    """A side of the conversation."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def other(self) -> Side:
        """The peer's side."""
        return Side.SERVER if self is Side.CLIENT else Side.CLIENT


class State(Enum):
    """State of the conversation; both sides go through the same states.

    From GREETING to VERDICT one side sends and the other waits, so a peer that sends ahead is refused.
    """

    START = "start"
    GREETING = "greeting"
    LOGIN = "login"
    CHALLENGE = "challenge"
    PROOF = "proof"
    VERDICT = "verdict"
    OPEN = "open"
    CLOSED = "closed"


def _talk(*kinds: FrameKind) -> dict[FrameKind, State]:
    return dict.fromkeys(kinds, State.OPEN) | {FrameKind.CLOSE: State.CLOSED}


TRANSITIONS: Final[Mapping[Side, Mapping[State, Mapping[FrameKind, State]]]] = {
    Side.CLIENT: {
        State.START: {FrameKind.HELLO: State.GREETING, FrameKind.CLOSE: State.CLOSED},
        State.GREETING: {FrameKind.CLOSE: State.CLOSED},
        State.LOGIN: {FrameKind.AUTH: State.CHALLENGE, FrameKind.CLOSE: State.CLOSED},
        State.CHALLENGE: {FrameKind.CLOSE: State.CLOSED},
        State.PROOF: {FrameKind.AUTH: State.VERDICT, FrameKind.CLOSE: State.CLOSED},
        State.VERDICT: {FrameKind.CLOSE: State.CLOSED},
        State.OPEN: _talk(FrameKind.CALL, FrameKind.BATCH, FrameKind.PING, FrameKind.PONG),
        State.CLOSED: {},
    },
    Side.SERVER: {
        State.START: {FrameKind.CLOSE: State.CLOSED},
        State.GREETING: {FrameKind.HELLO: State.LOGIN, FrameKind.CLOSE: State.CLOSED},
        State.LOGIN: {FrameKind.CLOSE: State.CLOSED},
        State.CHALLENGE: {
            FrameKind.AUTH: State.PROOF,
            FrameKind.READY: State.OPEN,  # only in the PASSWORD mechanism, which needs no challenge
            FrameKind.CLOSE: State.CLOSED,
        },
        State.PROOF: {FrameKind.CLOSE: State.CLOSED},
        State.VERDICT: {FrameKind.READY: State.OPEN, FrameKind.CLOSE: State.CLOSED},
        State.OPEN: _talk(
            FrameKind.RESULT, FrameKind.ERROR, FrameKind.ACK, FrameKind.NACK, FrameKind.PING, FrameKind.PONG
        ),
        State.CLOSED: {},
    },
}
"""The frames that each side may send, and the state that follows: ``{side: {state: {kind: next}}}``."""


class Connection:
    """One side of one conversation.

    Args:
        side: which side this is.
        silence: seconds of silence after which `handle_timeout` asks an open peer for a sign of life.

    Attributes:
        state: the state of the conversation.
    """

    def __init__(self, side: Side, silence: float = SILENCE_S) -> None:
        self.side = side
        self.state = State.START
        self._reader = FrameReader(GREETING_LIMIT)
        self._out: list[bytes] = []
        self._broken = False
        self._undecoded: Undecoded | None = None
        self._answers = Answers()
        self._keepalive = Keepalive(silence)
        self._offered: list[int] = []
        self._mechanism = ""
        self._login: ClientLogin | ServerLogin | None = None

    # -- bytes ----------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> list[Event]:
        """The events that `data` completes, together with the bytes before it.

        After an error only `send_close` works, and further data is ignored.

        Raises:
            RemoteProtocolError: the peer broke the protocol.
            EncryptionMismatch: the peer uses TLS and this connection is plain.
            AuthenticationError: the peer failed to prove itself.
        """
        if self._broken or self.state is State.CLOSED:
            return []
        self._reader.feed(data)
        return self._events()

    def receive_decoded(self, decoded: tuple[FrameKind, Event]) -> list[Event]:
        """Continue after an `Undecoded` frame.

        Args:
            decoded: the result of its `decode`.

        Raises:
            TrackError: as `receive_data`.
        """
        undecoded, self._undecoded = self._undecoded, None
        assert undecoded is not None
        if self._broken or self.state is State.CLOSED:
            return []
        try:
            event = self._received(*decoded, undecoded.charge)
        except TrackError:
            self._broken = True
            raise
        return [*([] if event is None else [event]), *self._events()]

    def _events(self) -> list[Event]:
        events: list[Event] = []
        try:
            while self._undecoded is None and (body := self._reader.next_body()) is not None:
                event = self._event(body)
                if event is not None:
                    events.append(event)
                if isinstance(event, CloseReceived):
                    break
        except TrackError:
            self._broken = True
            raise
        return events

    def _event(self, body: bytes) -> Event | None:
        """The event of a frame; None for one that is not the owner's business.

        Decoding takes a microsecond and 64 bytes of memory an item.  So the items are counted first, which
        is cheap: the count ends after a few steps, and each remaining byte counts as one item.
        """
        charge = 0
        if self.side is Side.SERVER and self.state is State.OPEN:
            items, left = count_items(body, steps=_STEPS)
            check_items(items)
            charge = len(body) + _ITEM_BYTES * (items + left)
            if left or items > _LIGHT_ITEMS:
                self._undecoded = Undecoded(body, charge)
                return self._undecoded
            fields = decode_counted(body)
        else:
            fields = decode(body)
        kind, rest = frame_fields(fields)
        self._following(self.side.other, kind)
        return self._received(
            kind, event_from_frame(kind, rest, from_client=self.side is Side.SERVER), charge
        )

    def _received(self, kind: FrameKind, event: Event, charge: int) -> Event | None:
        following = self._following(self.side.other, kind)
        understood = self._understood(event, charge)
        self._enter(following)
        if isinstance(understood, AuthReceived):
            return self._log_in_further(understood.message)
        return understood

    def data_to_send(self) -> bytes:
        """The bytes that are to go out, once."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    @property
    def incomplete(self) -> int:
        """Bytes received that do not make a frame yet."""
        return 0 if self._undecoded is not None else self._reader.buffered

    @property
    def announced(self) -> int:
        """Length of the frame that is incomplete; 0 while it is not known."""
        return self._reader.announced if self.incomplete else 0

    def _following(self, speaker: Side, kind: FrameKind) -> State:
        following = TRANSITIONS[speaker][self.state].get(kind)
        if following is None:
            fault = LocalProtocolError if speaker is self.side else RemoteProtocolError
            raise fault(f"the {speaker.value} may not send {kind.name} in state {self.state.value}")
        return following

    def _enter(self, state: State) -> None:
        self.state = state
        if state is State.OPEN:
            self._reader.limit = FRAME_LIMIT
        if state is State.OPEN or state is State.CLOSED:
            self._login = None

    def _understood(self, event: Event, charge: int) -> Event | None:
        """The event as the owner sees it; None for a part of an answer."""
        if isinstance(event, ResultPart | ErrorReceived):
            return self._answers.take(event)
        if isinstance(event, CallReceived | BatchReceived):
            return replace(event, charge=charge)
        if isinstance(event, HelloReceived):
            self._offered = event.versions
        elif isinstance(event, ServerHelloReceived):
            if event.version not in VERSIONS:
                raise RemoteProtocolError(
                    f"the server chose protocol version {event.version}, but this side supports {_KNOWN}: "
                    "update the older one"
                )
            self._mechanism = event.mechanism
        elif isinstance(event, ReadyReceived):
            # RFC 5802 section 5: a client that does not check the server's signature has proved itself to
            # anybody.  So it is checked before the conversation is open, and before an owner sees the event.
            assert isinstance(self._login, ClientLogin)
            self._login.verify(event.proof)
        return event

    def _log_in_further(self, message: str) -> Event | None:
        """Answer the server's challenge, or translate the client's message to an event."""
        if isinstance(self._login, ServerLogin):
            return self._login.receive(message)
        assert self._login is not None
        self._say(FrameKind.AUTH, self._login.respond(message))
        return None

    def _allowed(self, kind: FrameKind) -> State:
        if self._broken and kind is not FrameKind.CLOSE:
            raise LocalProtocolError(f"the peer broke the protocol: {kind.name} cannot be sent, only CLOSE")
        return self._following(self.side, kind)

    def _say(self, kind: FrameKind, *fields: Any) -> int:
        following = self._allowed(kind)
        limit = FRAME_LIMIT if self.state is State.OPEN else GREETING_LIMIT
        frame = frame_parts(kind, list(fields), limit)
        self._enter(following)
        self._out += frame
        return sum(map(len, frame))

    # -- signs of life --------------------------------------------------------------------------

    def note_life(self, now: float) -> None:
        """Record that the peer is alive: it sent bytes, or accepted some.

        Args:
            now: seconds of any clock that never goes back; the same one for all calls.
        """
        self._keepalive.note_life(now)

    def next_timeout(self) -> float:
        """When `handle_timeout` is due; `math.inf` while no answer is expected from the peer."""
        return self._keepalive.deadline if self.state is State.OPEN else math.inf

    def handle_timeout(self, now: float) -> None:
        """Send a PING to a silent peer; before `next_timeout` this does nothing.

        Raises:
            ConnectionLost: it was asked and did not answer.
        """
        if now < self.next_timeout():
            return
        if self._keepalive.was_asked:
            silent = self._keepalive.silence(now)
            raise ConnectionLost(f"the {self.side.other.value} has sent nothing for {silent:.0f} s")
        self.send_ping(0)
        self._keepalive.asked(now)

    # -- frames of either side ------------------------------------------------------------------

    def send_ping(self, token: int) -> None:
        """Send a PING; the pong carries `token` back."""
        self._say(FrameKind.PING, token)

    def send_pong(self, token: int) -> None:
        """Answer a ping."""
        self._say(FrameKind.PONG, token)

    def send_close(self, error: TrackError | None = None) -> None:
        """End the conversation, with the reason if it is not a good one; harmless when repeated."""
        if self.state is not State.CLOSED:
            code, message = (error.code, _text(error, _REASON_BYTES)) if error is not None else ("", "")
            self._say(FrameKind.CLOSE, code, message)

    # -- frames of a client ---------------------------------------------------------------------

    def send_client_hello(self, agent: str, session: bytes, ended: float | None = None) -> None:
        """Open the conversation for a session (16 bytes); for `ended` see `HelloReceived`."""
        self._say(FrameKind.HELLO, list(VERSIONS), agent, session, ended)

    def log_in(self, login: ClientLogin) -> None:
        """Answer the server's greeting; the challenge that follows is answered by `receive_data`.

        Raises:
            AuthenticationError: the server asks for a mechanism that this login must not use.
        """
        self._allowed(FrameKind.AUTH)
        self._say(FrameKind.AUTH, login.begin(self._mechanism))
        self._login = login

    def send_call(self, call_id: int, seq: int | None, method: str, arguments: dict[str, Any]) -> int:
        """Call a method; returns the frame's size in bytes.

        Raises:
            BadValue: an argument cannot be encoded.
            LocalProtocolError: the call is larger than a frame may be, or an earlier one with this id
                waits for its answer.
        """
        self._answers.check_free(call_id)
        size = self._say(FrameKind.CALL, call_id, seq, method, arguments)
        self._answers.expect(call_id)
        return size

    def send_batch(self, batch: Batch) -> int:
        """Send records; returns the frame's size in bytes."""
        return self._say(FrameKind.BATCH, *batch_to_wire(batch))

    # -- frames of a server ---------------------------------------------------------------------

    def send_server_hello(self, agent: str, login: ServerLogin) -> None:
        """Answer a greeting with the best protocol version that both support, and how to log in.

        Raises:
            RemoteProtocolError: there is no such version.
        """
        self._allowed(FrameKind.HELLO)
        version = next((version for version in VERSIONS if version in self._offered), None)
        if version is None:
            raise RemoteProtocolError(
                f"this server supports protocol version {_KNOWN}: update the older side"
            )
        self._say(FrameKind.HELLO, version, agent, login.mechanism)
        self._login = login

    def send_challenge(self, verifier: Verifier | None, mock_secret: bytes) -> None:
        """Answer `VerifierNeeded`.

        Args:
            verifier: the user's, None if there is no such user.
            mock_secret: see `track_protocol.security.scram.ServerExchange.challenge`.
        """
        self._allowed(FrameKind.AUTH)
        assert isinstance(self._login, ServerLogin)
        self._say(FrameKind.AUTH, self._login.challenge(verifier, mock_secret))

    def send_ready(self, last_seq: int, generation: str, role: str) -> None:
        """Accept the login: send the server's proof and the state of the session.

        Raises:
            LocalProtocolError: the client has not proved itself.
        """
        self._allowed(FrameKind.READY)
        assert isinstance(self._login, ServerLogin)
        self._say(FrameKind.READY, self._login.proof, last_seq, generation, role)

    def send_result(self, call_id: int, encoded: bytes, *, more: bool = False) -> None:
        """Answer a call with an encoded value (`wire.codec.encode`), in as many frames as it takes.

        Args:
            call_id: of the call.
            encoded: the value; of an answer in pages a list, which is one page of it.
            more: whether another page follows.
        """
        last = Follows.PAGE if more else Follows.NOTHING
        with memoryview(encoded) as view:
            for start in range(0, len(encoded), _PART_BYTES):
                follows = Follows.PART if start + _PART_BYTES < len(encoded) else last
                self._say(FrameKind.RESULT, call_id, int(follows), view[start : start + _PART_BYTES])

    def send_error(self, call_id: int, error: TrackError, trace: str | None = None) -> None:
        """Answer a call with an error."""
        shown = trace and trace.encode(errors="replace")[-_REPORT_BYTES:].decode(errors="ignore")
        self._say(FrameKind.ERROR, call_id, error.code, _text(error, _REPORT_BYTES), shown)

    def send_ack(self, last_seq: int, rejected: list[Rejection]) -> None:
        """All records up to `last_seq` are durable, but for those rejected for good."""
        ordered = sorted(rejected, key=lambda rejection: rejection.seq)
        while len(ordered) > _REJECTIONS_PER_ACK:
            now, ordered = ordered[:_REJECTIONS_PER_ACK], ordered[_REJECTIONS_PER_ACK:]
            self._acknowledge(now[-1].seq, now)
        self._acknowledge(last_seq, ordered)

    def _acknowledge(self, last_seq: int, rejected: list[Rejection]) -> None:
        self._say(
            FrameKind.ACK, last_seq, [[r.seq, r.code, _clipped(r.message, _REASON_BYTES)] for r in rejected]
        )

    def send_nack(self, expected: int, error: TrackError) -> None:
        """Batches are refused."""
        self._say(FrameKind.NACK, expected, error.code, _text(error, _REASON_BYTES))


def _clipped(text: str, size: int) -> str:
    """The beginning of `text` in at most `size` bytes that can be sent: a reason must not fail itself."""
    return text[:size].encode(errors="replace")[:size].decode(errors="ignore")


def _text(error: TrackError, size: int) -> str:
    return _clipped(str(error), size)
