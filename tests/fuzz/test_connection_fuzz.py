"""Peers that say anything at all: what they say is understood, or ends in an error of this project's tree."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from track_protocol.errors import LocalProtocolError, TrackError
from track_protocol.wire.codec import encode
from track_protocol.wire.connection import TRANSITIONS, Connection, Side, State
from track_protocol.wire.frames import FrameKind
from wire_samples import FIELDS, SAY, frame_of, talk

SIDES = st.sampled_from(Side)
STATES = st.sampled_from(State)
KINDS = st.sampled_from(FrameKind)
TALK = KINDS.filter(lambda kind: kind not in (FrameKind.CALL, FrameKind.RESULT, FrameKind.ERROR))
"""Without calls and answers, which also depend on each other."""

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(-1, 16)
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=4)
    | st.sampled_from(["metric", "d", "q", "n", "o", "commit"])
    | st.binary(max_size=8)
    | st.sampled_from([bytes(16), bytes(8)])
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text("ab", max_size=2) | st.integers(0, 3), inner, max_size=2)
    ),
    max_leaves=8,
)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def survives(end: Connection, data: bytes) -> None:
    """Whatever `data` is, `end` takes it or closes properly."""
    try:
        end.receive_data(data)
    except TrackError as error:
        assert end.receive_data(frame_of(end.side.other, FrameKind.PING)) == []
        end.send_close(error)
        assert end.state is State.CLOSED
        assert end.data_to_send() != b""


@settings(max_examples=150)
@given(SIDES, STATES, st.binary(max_size=300))
def test_any_bytes_are_survived(side: Side, state: State, data: bytes) -> None:
    survives(talk(state)[side], data)


@settings(max_examples=150)
@given(SIDES, STATES, st.lists(st.binary(max_size=60).map(framed), max_size=4))
def test_frames_of_any_bytes_are_survived(side: Side, state: State, frames: list[bytes]) -> None:
    survives(talk(state)[side], b"".join(frames))


@settings(max_examples=150)
@given(SIDES, STATES, st.lists(VALUES, max_size=5))
def test_frames_of_any_values_are_survived(side: Side, state: State, fields: list[Any]) -> None:
    survives(talk(state)[side], framed(encode(fields)))


@settings(max_examples=200)
@given(SIDES, STATES, KINDS, st.data())
def test_frames_with_any_value_in_any_field_are_survived(
    side: Side, state: State, kind: FrameKind, data: st.DataObject
) -> None:
    fields = list(FIELDS[side.other, kind])
    fields[data.draw(st.integers(0, len(fields) - 1))] = data.draw(VALUES)
    survives(talk(state)[side], framed(encode([int(kind), *fields])))


@settings(max_examples=200)
@given(SIDES, STATES, st.lists(KINDS, min_size=1, max_size=3), st.data())
def test_damaged_frames_are_survived(
    side: Side, state: State, kinds: list[FrameKind], data: st.DataObject
) -> None:
    stream = bytearray(b"".join(frame_of(side.other, kind) for kind in kinds))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(stream)))
    survives(talk(state)[side], bytes(stream[:end]))


@settings(max_examples=80)
@given(st.lists(st.tuples(SIDES, TALK), max_size=25))
def test_two_sides_that_talk_at_random_stay_together(said: list[tuple[Side, FrameKind]]) -> None:
    """What one side may say is what the other takes, and both then stand where the table says."""
    ends = talk(State.START)
    state = State.START
    for side, kind in said:
        following = TRANSITIONS[side][state].get(kind)
        try:
            SAY[kind](ends[side])
        except LocalProtocolError:
            assert following is None
            continue
        state = following or state
        assert following is not None or kind is FrameKind.CLOSE
        ends[side.other].receive_data(ends[side].data_to_send())
        assert ends[Side.CLIENT].state is ends[Side.SERVER].state is state
