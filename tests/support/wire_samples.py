"""A frame of every kind, and connections in every state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tracemalloc import get_traced_memory, reset_peak, start, stop
from typing import Any, Final

from track_protocol.errors import TrackError
from track_protocol.security.scram import make_verifier
from track_protocol.security.tokens import new_token
from track_protocol.wire.batch import METRIC, Batch, PointsOp
from track_protocol.wire.columns import pack
from track_protocol.wire.connection import Connection, Side, State
from track_protocol.wire.events import Event
from track_protocol.wire.frames import FrameKind, encode_frame
from track_protocol.wire.link import Rejection
from track_protocol.wire.login import ClientLogin, ServerLogin

__all__ = [
    "BATCH",
    "FIELDS",
    "MOCK_SECRET",
    "SAY",
    "SESSION",
    "TOKEN",
    "VERIFIER",
    "allocation",
    "deliver",
    "frame_of",
    "talk",
]

TOKEN: Final = new_token()
VERIFIER: Final = make_verifier(TOKEN)
MOCK_SECRET: Final = bytes(32)

SESSION: Final = b"0123456789abcdef"

BATCH: Final = Batch(
    1, 1, [PointsOp(SESSION, METRIC, ["loss"], None, 0, pack([0]), pack([1.5]), [pack([2.5])])]
)

_FLOAT: Final = bytes(8)
_POINTS: Final = [0, SESSION, METRIC, ["loss"], None, 0, ["d", _FLOAT], ["d", _FLOAT], [["d", _FLOAT]]]

_EITHER: Final[dict[FrameKind, list[Any]]] = {
    FrameKind.AUTH: ["proof"],
    FrameKind.READY: ["proof", 0, "generation", "writer"],
    FrameKind.CALL: [7, None, "commit", {}],
    FrameKind.RESULT: [1, 0, b"\xc0"],
    FrameKind.ERROR: [1, "busy", "come again", None],
    FrameKind.BATCH: [1, 1, [_POINTS]],
    FrameKind.ACK: [1, []],
    FrameKind.NACK: [1, "busy", "come again"],
    FrameKind.PING: [5],
    FrameKind.PONG: [5],
    FrameKind.CLOSE: ["", ""],
}

FIELDS: Final[dict[tuple[Side, FrameKind], list[Any]]] = {
    **{(side, kind): fields for side in Side for kind, fields in _EITHER.items()},
    (Side.CLIENT, FrameKind.HELLO): [[1], "test", SESSION, None],
    (Side.SERVER, FrameKind.HELLO): [1, "test", "SCRAM-SHA-256"],
}
"""A sample of each frame kind that each side sends; an answer answers call 1."""

SAY: Final[dict[FrameKind, Callable[[Connection], object]]] = {
    FrameKind.HELLO: lambda it: (
        it.send_client_hello("test", SESSION)
        if it.side is Side.CLIENT
        else it.send_server_hello("test", ServerLogin(None))
    ),
    FrameKind.AUTH: lambda it: (
        it.log_in(ClientLogin("ann", TOKEN, None))
        if it.side is Side.CLIENT
        else it.send_challenge(VERIFIER, MOCK_SECRET)
    ),
    FrameKind.READY: lambda it: it.send_ready(0, "generation", "writer"),
    FrameKind.CALL: lambda it: it.send_call(7, None, "commit", {}),
    FrameKind.RESULT: lambda it: it.send_result(1, b"\xc0"),
    FrameKind.ERROR: lambda it: it.send_error(1, TrackError("no")),
    FrameKind.BATCH: lambda it: it.send_batch(BATCH),
    FrameKind.ACK: lambda it: it.send_ack(1, [Rejection(1, "bad-value", "too long")]),
    FrameKind.NACK: lambda it: it.send_nack(1, TrackError("no")),
    FrameKind.PING: lambda it: it.send_ping(5),
    FrameKind.PONG: lambda it: it.send_pong(5),
    FrameKind.CLOSE: lambda it: it.send_close(),
}
"""The method of `Connection` that sends each kind."""

_SCRIPT: Final = {
    State.START: [],
    State.GREETING: [(Side.CLIENT, FrameKind.HELLO)],
    State.LOGIN: [(Side.SERVER, FrameKind.HELLO)],
    State.CHALLENGE: [(Side.CLIENT, FrameKind.AUTH)],
    State.PROOF: [(Side.SERVER, FrameKind.AUTH)],
    State.VERDICT: [],
    State.OPEN: [(Side.SERVER, FrameKind.READY)],
    State.CLOSED: [(Side.CLIENT, FrameKind.CLOSE)],
}


def frame_of(side: Side, kind: FrameKind) -> bytes:
    """Return the bytes that `side` sends."""
    return encode_frame(kind, FIELDS[side, kind])


def talk(state: State) -> dict[Side, Connection]:
    """Return both ends of a conversation in `state`; when it is open, call 1 waits for its answer.

    A client answers a challenge when it comes, so in PROOF only the server's end is in that state.
    """
    ends = {side: Connection(side) for side in Side}
    for step in State:
        for side, kind in _SCRIPT[step]:
            SAY[kind](ends[side])
            ends[side.other].receive_data(ends[side].data_to_send())
        if step is State.VERDICT:
            deliver(ends)
        if step is State.OPEN and state is State.OPEN:
            ends[Side.CLIENT].send_call(1, None, "commit", {})
            deliver(ends)
        if step is state:
            break
    return ends


def deliver(ends: dict[Side, Connection]) -> dict[Side, list[Event]]:
    """Move bytes until both ends have sent all; return the events of each."""
    heard: dict[Side, list[Event]] = {side: [] for side in Side}
    while moved := {side: data for side in Side if (data := ends[side].data_to_send())}:
        for side, data in moved.items():
            heard[side.other] += ends[side.other].receive_data(data)
    return heard


@contextmanager
def allocation() -> Iterator[Callable[[], int]]:
    """Yield a function that returns the peak growth of Python's memory, in bytes."""
    start()
    try:
        before = get_traced_memory()[0]
        reset_peak()
        yield lambda: get_traced_memory()[1] - before
    finally:
        stop()
