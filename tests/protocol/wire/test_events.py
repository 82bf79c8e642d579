from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from every_case import every
from track_protocol.errors import RemoteProtocolError
from track_protocol.wire import events
from track_protocol.wire.connection import Side
from track_protocol.wire.events import Event, event_from_frame
from track_protocol.wire.frames import FrameKind
from track_protocol.wire.link import Rejection
from wire_samples import FIELDS, SESSION

SAMPLES = [(side, kind) for side in Side for kind in FrameKind]

every_sample = pytest.mark.parametrize(("side", "kind"), SAMPLES, ids=lambda value: value.name)


def understood(side: Side, kind: FrameKind, fields: list[Any]) -> Event:
    return event_from_frame(kind, fields, from_client=side is Side.CLIENT)


@pytest.mark.parametrize(
    ("side", "kind", "event"),
    [
        (Side.CLIENT, FrameKind.HELLO, events.HelloReceived([1], "test", SESSION, None)),
        (Side.SERVER, FrameKind.HELLO, events.ServerHelloReceived(1, "test", "SCRAM-SHA-256")),
        (Side.CLIENT, FrameKind.AUTH, events.AuthReceived("proof")),
        (Side.SERVER, FrameKind.READY, events.ReadyReceived("proof", 0, "generation", "writer")),
        (Side.CLIENT, FrameKind.CALL, events.CallReceived(7, None, "commit", {})),
        (Side.SERVER, FrameKind.RESULT, events.ResultPart(1, events.Follows.NOTHING, b"\xc0")),
        (Side.SERVER, FrameKind.ERROR, events.ErrorReceived(1, "busy", "come again", None)),
        (Side.SERVER, FrameKind.ACK, events.AckReceived(1, [])),
        (Side.SERVER, FrameKind.NACK, events.NackReceived(1, "busy", "come again")),
        (Side.CLIENT, FrameKind.PING, events.PingReceived(5)),
        (Side.CLIENT, FrameKind.PONG, events.PongReceived(5)),
        (Side.CLIENT, FrameKind.CLOSE, events.CloseReceived("", "")),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_frame_of_each_kind_is_understood(side: Side, kind: FrameKind, event: Event) -> None:
    assert understood(side, kind, FIELDS[side, kind]) == event


def test_a_batch_is_understood() -> None:
    event = understood(Side.CLIENT, FrameKind.BATCH, FIELDS[Side.CLIENT, FrameKind.BATCH])
    assert isinstance(event, events.BatchReceived)
    assert event.batch.first == 1


def test_an_ack_carries_its_rejections() -> None:
    event = understood(Side.SERVER, FrameKind.ACK, [4, [[2, "bad-value", "too long"]]])
    assert event == events.AckReceived(4, [Rejection(2, "bad-value", "too long")])


@every_sample
def test_a_frame_with_a_field_too_few_is_refused(side: Side, kind: FrameKind) -> None:
    with pytest.raises(RemoteProtocolError):
        understood(side, kind, FIELDS[side, kind][:-1])


@every_sample
def test_a_frame_with_a_field_too_many_is_refused(side: Side, kind: FrameKind) -> None:
    with pytest.raises(RemoteProtocolError):
        understood(side, kind, [*FIELDS[side, kind], None])


@every_sample
def test_a_frame_without_fields_is_refused(side: Side, kind: FrameKind) -> None:
    with pytest.raises(RemoteProtocolError):
        understood(side, kind, [])


OTHERS: list[Any] = [None, True, 1, 1.0, "1", b"1", [1], (1,), {"a": 1}]
ALSO_TAKEN: dict[tuple[FrameKind, int], set[type]] = {
    (FrameKind.HELLO, 3): {float},
    (FrameKind.CALL, 1): {int},
    (FrameKind.ERROR, 3): {str},
}
"""Fields that may be of another type than in the sample; all other types must be refused."""


def confusions() -> list[tuple[Side, FrameKind, int, object]]:
    """Each field of each kind of frame, with a value of each type that it must not have."""
    found = []
    for (side, kind), fields in FIELDS.items():
        for place, field in enumerate(fields):
            allowed = {type(field)} | ALSO_TAKEN.get((kind, place), set())
            found += [(side, kind, place, other) for other in OTHERS if type(other) not in allowed]
    return found


@every(confusions())
def test_a_field_of_another_type_is_refused(side: Side, kind: FrameKind, place: int, other: object) -> None:
    fields = list(FIELDS[side, kind])
    fields[place] = other
    with pytest.raises(RemoteProtocolError, match="malformed"):
        understood(side, kind, fields)


@pytest.mark.parametrize(
    ("side", "kind", "fields"),
    [
        (Side.CLIENT, FrameKind.HELLO, [["1"], "test", SESSION, None]),
        (Side.CLIENT, FrameKind.HELLO, [[1, 2.0], "test", SESSION, None]),
        (Side.CLIENT, FrameKind.HELLO, [[True], "test", SESSION, None]),
        (Side.CLIENT, FrameKind.HELLO, [[[1]], "test", SESSION, None]),
        (Side.CLIENT, FrameKind.HELLO, [[1], "test", b"", None]),
        (Side.CLIENT, FrameKind.HELLO, [[1], "test", SESSION[:15], None]),
        (Side.CLIENT, FrameKind.HELLO, [[1], "test", SESSION + b"g", None]),
        (Side.CLIENT, FrameKind.HELLO, [[1], "test", SESSION, 1]),
        (Side.CLIENT, FrameKind.HELLO, [[1], "test", SESSION, -1.0]),
        (Side.CLIENT, FrameKind.HELLO, [[1], "test", SESSION, 1e11]),
        (Side.CLIENT, FrameKind.HELLO, [[1], "test", SESSION, math.inf]),
        (Side.CLIENT, FrameKind.HELLO, [[1], "test", SESSION, math.nan]),
        (Side.SERVER, FrameKind.READY, ["proof", -1, "generation", "writer"]),
        (Side.CLIENT, FrameKind.CALL, [-1, None, "commit", {}]),
        (Side.CLIENT, FrameKind.CALL, [1, 0, "commit", {}]),
        (Side.CLIENT, FrameKind.CALL, [1, -1, "commit", {}]),
        (Side.SERVER, FrameKind.ACK, [-1, []]),
        (Side.SERVER, FrameKind.ACK, [1, [None]]),
        (Side.SERVER, FrameKind.ACK, [1, ["abc"]]),
        (Side.SERVER, FrameKind.ACK, [1, [(1, "code", "text")]]),
        (Side.SERVER, FrameKind.ACK, [1, [[]]]),
        (Side.SERVER, FrameKind.ACK, [1, [[1, "code"]]]),
        (Side.SERVER, FrameKind.ACK, [1, [[1, "code", "text", 0]]]),
        (Side.SERVER, FrameKind.ACK, [1, [["1", "code", "text"]]]),
        (Side.SERVER, FrameKind.ACK, [1, [[True, "code", "text"]]]),
        (Side.SERVER, FrameKind.ACK, [1, [[0, "code", "text"]]]),
        (Side.SERVER, FrameKind.ACK, [1, [[1, None, "text"]]]),
        (Side.SERVER, FrameKind.ACK, [1, [[1, "code", b"text"]]]),
        (Side.SERVER, FrameKind.NACK, [0, "code", "text"]),
        (Side.SERVER, FrameKind.NACK, [-1, "code", "text"]),
    ],
    ids=lambda value: value.name if isinstance(value, (Side, FrameKind)) else repr(value)[:40],
)
def test_a_field_with_an_impossible_value_is_refused(side: Side, kind: FrameKind, fields: list[Any]) -> None:
    with pytest.raises(RemoteProtocolError, match=f"malformed {kind.name} frame"):
        understood(side, kind, fields)


@pytest.mark.parametrize(
    ("side", "kind", "fields"),
    [
        (Side.CLIENT, FrameKind.HELLO, [[], "", bytes(16), 0.0]),
        (Side.CLIENT, FrameKind.HELLO, [[7, 1], "", bytes(16), 9.9e10]),
        (Side.SERVER, FrameKind.READY, ["", 2**63 - 1, "", ""]),
        (Side.CLIENT, FrameKind.CALL, [0, 1, "", {}]),
        (Side.SERVER, FrameKind.ERROR, [0, "", "", "Traceback"]),
        (Side.SERVER, FrameKind.ACK, [0, []]),
        (Side.SERVER, FrameKind.ACK, [1, [[1, "", ""]]]),
        (Side.SERVER, FrameKind.NACK, [1, "", ""]),
        (Side.CLIENT, FrameKind.PING, [-1]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_field_at_its_bounds_is_accepted(side: Side, kind: FrameKind, fields: list[Any]) -> None:
    understood(side, kind, fields)


def test_the_sides_greet_each_other_differently() -> None:
    with pytest.raises(RemoteProtocolError):
        understood(Side.SERVER, FrameKind.HELLO, FIELDS[Side.CLIENT, FrameKind.HELLO])
    with pytest.raises(RemoteProtocolError):
        understood(Side.CLIENT, FrameKind.HELLO, FIELDS[Side.SERVER, FrameKind.HELLO])


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2**63 - 1)
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=16),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=8,
)


@given(st.sampled_from(SAMPLES), st.lists(ANYTHING, max_size=5))
def test_any_fields_are_understood_or_refused(sample: tuple[Side, FrameKind], fields: list[Any]) -> None:
    try:
        understood(*sample, fields)
    except RemoteProtocolError:
        return
