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
    """A client's greeting: its protocol versions, its software, its session's id."""

    versions: list[int]
    agent: str
    session: bytes


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


def _need(condition: bool, kind: FrameKind) -> None:
    if not condition:
        raise RemoteProtocolError(f"malformed {kind.name} frame")


def _typed(kind: FrameKind, fields: list[Any], *types: type | tuple[type, ...]) -> list[Any]:
    _need(len(fields) == len(types), kind)
    for value, wanted in zip(fields, types, strict=True):
        allowed = wanted if isinstance(wanted, tuple) else (wanted,)
        _need(type(value) in allowed, kind)
    return fields


def _hello(fields: list[Any]) -> HelloReceived:
    versions, agent, session = _typed(FrameKind.HELLO, fields, list, str, bytes)
    _need(all(type(v) is int for v in versions) and len(session) == 16, FrameKind.HELLO)
    return HelloReceived(versions, agent, session)


def _ready(fields: list[Any]) -> ReadyReceived:
    proof, last_seq, generation, role = _typed(FrameKind.READY, fields, str, int, str, str)
    _need(last_seq >= 0, FrameKind.READY)
    return ReadyReceived(proof, last_seq, generation, role)


def _call(fields: list[Any]) -> CallReceived:
    call_id, seq, method, arguments = _typed(FrameKind.CALL, fields, int, (int, type(None)), str, dict)
    _need(call_id >= 0 and (seq is None or seq >= 1), FrameKind.CALL)
    return CallReceived(call_id, seq, method, arguments)


def _ack(fields: list[Any]) -> AckReceived:
    last_seq, rejected = _typed(FrameKind.ACK, fields, int, list)
    _need(last_seq >= 0, FrameKind.ACK)
    return AckReceived(last_seq, [_rejection(item) for item in rejected])


def _rejection(raw: object) -> Rejection:
    _need(isinstance(raw, list), FrameKind.ACK)
    assert isinstance(raw, list)
    seq, code, message = _typed(FrameKind.ACK, raw, int, str, str)
    _need(seq >= 1, FrameKind.ACK)
    return Rejection(seq, code, message)


def _nack(fields: list[Any]) -> NackReceived:
    expected, code, message = _typed(FrameKind.NACK, fields, int, str, str)
    _need(expected >= 1, FrameKind.NACK)
    return NackReceived(expected, code, message)


def _result(fields: list[Any]) -> ResultPart:
    call_id, follows, data = _typed(FrameKind.RESULT, fields, int, int, bytes)
    _need(follows in _FOLLOWS, FrameKind.RESULT)
    return ResultPart(call_id, Follows(follows), data)


def _error(fields: list[Any]) -> ErrorReceived:
    return ErrorReceived(*_typed(FrameKind.ERROR, fields, int, str, str, (str, type(None))))


_FOLLOWS: Final = frozenset(Follows)
_PARSERS: Final[Mapping[FrameKind, Callable[[list[Any]], Event]]] = {
    FrameKind.AUTH: lambda f: AuthReceived(*_typed(FrameKind.AUTH, f, str)),
    FrameKind.READY: _ready,
    FrameKind.CALL: _call,
    FrameKind.RESULT: _result,
    FrameKind.ERROR: _error,
    FrameKind.BATCH: lambda f: BatchReceived(batch_from_wire(f)),
    FrameKind.ACK: _ack,
    FrameKind.NACK: _nack,
    FrameKind.PING: lambda f: PingReceived(*_typed(FrameKind.PING, f, int)),
    FrameKind.PONG: lambda f: PongReceived(*_typed(FrameKind.PONG, f, int)),
    FrameKind.CLOSE: lambda f: CloseReceived(*_typed(FrameKind.CLOSE, f, str, str)),
}


def event_from_frame(kind: FrameKind, fields: list[Any], *, from_client: bool) -> Event:
    """The event of a frame.

    Raises:
        RemoteProtocolError: its fields are not those of its kind.
    """
    if kind is FrameKind.HELLO:
        if from_client:
            return _hello(fields)
        return ServerHelloReceived(*_typed(kind, fields, int, str, str))
    return _PARSERS[kind](fields)
