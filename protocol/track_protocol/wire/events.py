"""Events: frames whose fields are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from track_protocol.errors import RemoteProtocolError
from track_protocol.security.tokens import Secret
from track_protocol.wire.batch import Batch, batch_from_wire
from track_protocol.wire.codec import count_items, decode_counted
from track_protocol.wire.frames import FrameKind, check_items, frame_fields
from track_protocol.wire.link import Rejection

__all__ = [
    "AckReceived",
    "AuthReceived",
    "BatchReceived",
    "CallReceived",
    "ClientProved",
    "CloseReceived",
    "ErrorReceived",
    "Event",
    "Follows",
    "HelloReceived",
    "NackReceived",
    "PasswordReceived",
    "PingReceived",
    "PongReceived",
    "ReadyReceived",
    "ResultPart",
    "ResultReceived",
    "ServerHelloReceived",
    "Undecoded",
    "VerifierNeeded",
    "event_from_frame",
]


@dataclass(frozen=True, slots=True)
class HelloReceived:
    """A client's greeting.

    Attributes:
        versions: of the protocol, best first.
        agent: its software.
        session: the session's id.
        ended: when the session's process was last alive, in seconds since the epoch, if the peer sends what
            an ended process has left; None from the process itself.
    """

    versions: list[int]
    agent: str
    session: bytes
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class ServerHelloReceived:
    """A server's greeting: the version it chose, its software, how it wants the client to log in."""

    version: int
    agent: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class AuthReceived:
    """One message of the login; a `Connection` returns its meaning instead."""

    message: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class VerifierNeeded:
    """A client names its user: look the verifier up and answer with `Connection.send_challenge`."""

    username: str


@dataclass(frozen=True, slots=True)
class ClientProved:
    """The client proved to be this user: answer with `Connection.send_ready`, or close."""

    username: str


@dataclass(frozen=True, slots=True)
class PasswordReceived:
    """A client sends its password: decide, and answer with `Connection.send_ready`, or close."""

    username: str
    password: Secret


@dataclass(frozen=True, slots=True)
class ReadyReceived:
    """The login succeeded: the server's proof and the state of the session."""

    proof: str = field(repr=False)
    last_seq: int
    generation: str
    role: str


@dataclass(frozen=True, slots=True)
class CallReceived:
    """A call; `seq` numbers it in its session if it changes something.

    Attributes:
        charge: bytes of memory that it may take.
    """

    call_id: int
    seq: int | None
    method: str
    arguments: dict[str, Any]
    charge: int = field(default=0, compare=False)


class Follows(IntEnum):
    """What follows a part of an answer; the value travels on the wire."""

    NOTHING = 0
    PART = 1
    PAGE = 2


@dataclass(frozen=True, slots=True)
class ResultPart:
    """A part of an answer.

    An answer is one encoded value, or a list in pages, each an encoded list of its own.  A page is as many
    parts as it takes.

    Attributes:
        call_id: of the call that is answered.
        follows: another part of this page, another page, or nothing.
        data: encoded bytes.
    """

    call_id: int
    follows: Follows
    data: bytes


@dataclass(frozen=True, slots=True)
class ResultReceived:
    """A complete answer."""

    call_id: int
    value: Any


@dataclass(frozen=True, slots=True)
class ErrorReceived:
    """A call failed."""

    call_id: int
    code: str
    message: str
    trace: str | None


@dataclass(frozen=True, slots=True)
class BatchReceived:
    """Records to store.

    Attributes:
        batch: the records.
        charge: bytes of memory that they may take.
    """

    batch: Batch
    charge: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Undecoded:
    """A frame that is slow to decode; the owner of the connection does that on another thread.

    The connection reads nothing behind it until `Connection.receive_decoded` gets the result of `decode`.

    Attributes:
        body: of the frame.
        charge: bytes of memory that it may take once it is decoded.
    """

    body: bytes
    charge: int

    def decode(self) -> tuple[FrameKind, Event]:
        """Decode the frame.

        Raises:
            RemoteProtocolError: its body is no value in the wire's form, or no frame.
            FrameTooLarge: it has too many items.
        """
        items, _ = count_items(self.body)
        check_items(items)
        kind, fields = frame_fields(decode_counted(self.body))
        return kind, event_from_frame(kind, fields, from_client=True)


@dataclass(frozen=True, slots=True)
class AckReceived:
    """Every record up to `last_seq` is durable, except the rejected ones."""

    last_seq: int
    rejected: list[Rejection]


@dataclass(frozen=True, slots=True)
class NackReceived:
    """Batches are refused; `expected` is the sequence number that should come next."""

    expected: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class PingReceived:
    """The peer wants to know whether this side is there."""

    token: int


@dataclass(frozen=True, slots=True)
class PongReceived:
    """The peer is there."""

    token: int


@dataclass(frozen=True, slots=True)
class CloseReceived:
    """The peer ends the connection; an empty code means without an error."""

    code: str
    message: str


Event = (
    HelloReceived
    | ServerHelloReceived
    | AuthReceived
    | VerifierNeeded
    | ClientProved
    | PasswordReceived
    | ReadyReceived
    | CallReceived
    | ResultPart
    | ResultReceived
    | ErrorReceived
    | BatchReceived
    | Undecoded
    | AckReceived
    | NackReceived
    | PingReceived
    | PongReceived
    | CloseReceived
)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the fields of a frame are: their types, what else holds for them, and the event they make."""

    make: Callable[..., Any]
    types: tuple[type | tuple[type, ...], ...]
    fits: Callable[..., bool] = lambda *fields: True

    def read(self, kind: FrameKind, fields: Any) -> Any:
        if not (type(fields) is list and len(fields) == len(self.types)):
            raise _malformed(kind)
        for value, wanted in zip(fields, self.types, strict=True):
            if type(value) not in (wanted if isinstance(wanted, tuple) else (wanted,)):
                raise _malformed(kind)
        if not self.fits(*fields):
            raise _malformed(kind)
        return self.make(*fields)


def _malformed(kind: FrameKind) -> RemoteProtocolError:
    return RemoteProtocolError(f"malformed {kind.name} frame")


def _acked(last_seq: int, rejected: list[Any]) -> AckReceived:
    return AckReceived(last_seq, [_REJECTION.read(FrameKind.ACK, each) for each in rejected])


_LAST_MOMENT: Final = 1e11
"""Seconds since the epoch in the year 5138, after which nothing happens."""

_FOLLOWS: Final = frozenset(Follows)
_OR_NONE: Final = type(None)

_REJECTION: Final = _Shape(Rejection, (int, str, str), lambda seq, code, message: seq >= 1)
_SERVER_HELLO: Final = _Shape(ServerHelloReceived, (int, str, str))
_SHAPES: Final[Mapping[FrameKind, _Shape]] = {
    FrameKind.HELLO: _Shape(
        HelloReceived,
        (list, str, bytes, (float, _OR_NONE)),
        lambda versions, agent, session, ended: (
            len(session) == 16
            and all(type(v) is int for v in versions)
            and (ended is None or 0 <= ended < _LAST_MOMENT)
        ),
    ),
    FrameKind.AUTH: _Shape(AuthReceived, (str,)),
    FrameKind.READY: _Shape(ReadyReceived, (str, int, str, str), lambda proof, last_seq, *_: last_seq >= 0),
    FrameKind.CALL: _Shape(
        CallReceived,
        (int, (int, _OR_NONE), str, dict),
        lambda call_id, seq, *_: call_id >= 0 and (seq is None or seq >= 1),
    ),
    FrameKind.RESULT: _Shape(
        lambda call_id, follows, data: ResultPart(call_id, Follows(follows), data),
        (int, int, bytes),
        lambda call_id, follows, data: follows in _FOLLOWS,
    ),
    FrameKind.ERROR: _Shape(ErrorReceived, (int, str, str, (str, _OR_NONE))),
    FrameKind.ACK: _Shape(_acked, (int, list), lambda last_seq, rejected: last_seq >= 0),
    FrameKind.NACK: _Shape(NackReceived, (int, str, str), lambda expected, *_: expected >= 1),
    FrameKind.PING: _Shape(PingReceived, (int,)),
    FrameKind.PONG: _Shape(PongReceived, (int,)),
    FrameKind.CLOSE: _Shape(CloseReceived, (str, str)),
}


def event_from_frame(kind: FrameKind, fields: list[Any], *, from_client: bool) -> Event:
    """The event of a frame.

    Raises:
        RemoteProtocolError: its fields are not those of its kind.
    """
    if kind is FrameKind.BATCH:
        return BatchReceived(batch_from_wire(fields))
    shape = _SERVER_HELLO if kind is FrameKind.HELLO and not from_client else _SHAPES[kind]
    event: Event = shape.read(kind, fields)
    return event
