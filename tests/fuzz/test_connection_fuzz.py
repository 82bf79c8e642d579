"""Peers that send arbitrary bytes: a connection returns events or raises an error of this project's tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from track_protocol.errors import LocalProtocolError, TrackError
from track_protocol.security.scram import Verifier
from track_protocol.security.tokens import is_generated, new_token
from track_protocol.wire.codec import encode
from track_protocol.wire.connection import TRANSITIONS, Connection, Side, State
from track_protocol.wire.events import Event, VerifierNeeded
from track_protocol.wire.frames import FrameKind
from track_protocol.wire.login import ClientLogin, ServerLogin
from wire_samples import FIELDS, MOCK_SECRET, SAY, SESSION, TOKEN, VERIFIER, deliver, frame_of, talk

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


def accepts_or_closes(end: Connection, data: bytes) -> None:
    """Check that `end` accepts `data` or closes with an error."""
    try:
        end.receive_data(data)
    except TrackError as error:
        assert end.receive_data(frame_of(end.side.other, FrameKind.PING)) == []
        end.send_close(error)
        assert end.state is State.CLOSED
        assert end.data_to_send() != b""


@given(SIDES, STATES, st.binary(max_size=300))
def test_any_bytes_end_in_events_or_an_error(side: Side, state: State, data: bytes) -> None:
    accepts_or_closes(talk(state)[side], data)


@given(SIDES, STATES, st.lists(st.binary(max_size=60).map(framed), max_size=4))
def test_frames_of_any_bytes_end_in_events_or_an_error(side: Side, state: State, frames: list[bytes]) -> None:
    accepts_or_closes(talk(state)[side], b"".join(frames))


@given(SIDES, STATES, st.lists(VALUES, max_size=5))
def test_frames_of_any_values_end_in_events_or_an_error(side: Side, state: State, fields: list[Any]) -> None:
    accepts_or_closes(talk(state)[side], framed(encode(fields)))


@given(SIDES, STATES, KINDS, st.data())
def test_frames_with_any_value_in_any_field_end_in_events_or_an_error(
    side: Side, state: State, kind: FrameKind, data: st.DataObject
) -> None:
    fields = list(FIELDS[side.other, kind])
    fields[data.draw(st.integers(0, len(fields) - 1))] = data.draw(VALUES)
    accepts_or_closes(talk(state)[side], framed(encode([int(kind), *fields])))


@given(SIDES, STATES, st.lists(KINDS, min_size=1, max_size=3), st.data())
def test_damaged_frames_end_in_events_or_an_error(
    side: Side, state: State, kinds: list[FrameKind], data: st.DataObject
) -> None:
    stream = bytearray(b"".join(frame_of(side.other, kind) for kind in kinds))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(stream)))
    accepts_or_closes(talk(state)[side], bytes(stream[:end]))


@settings(max_examples=80)
@given(st.lists(st.tuples(SIDES, TALK), max_size=25))
def test_two_sides_that_send_at_random_agree_on_the_state(said: list[tuple[Side, FrameKind]]) -> None:
    """Each side accepts exactly what the other may send, and both then are in the state of the table."""
    ends = talk(State.START)
    state = State.START
    for side, kind in said:
        following = TRANSITIONS[side][state].get(kind)
        try:
            SAY[kind](ends[side])
        except LocalProtocolError:
            assert following is None or (state, kind) == (State.CHALLENGE, FrameKind.READY)  # no proof yet
            continue
        state = following or state
        assert following is not None or kind is FrameKind.CLOSE
        deliver(ends)
        if state is State.PROOF:  # the client answers a challenge by itself
            state = TRANSITIONS[Side.CLIENT][state][FrameKind.AUTH]
        assert ends[Side.CLIENT].state is ends[Side.SERVER].state is state


class Login:
    """One login, step by step, whose messages may be changed on their way."""

    def __init__(self, change: Callable[[int, bytes], bytes]) -> None:
        self._ends = {side: Connection(side) for side in Side}
        self._change = change
        self._step = 0

    def passes(self, client: ClientLogin, server: ServerLogin, verifier: Verifier | None) -> set[Side]:
        """The sides that are open in the end."""
        to, at = self._ends[Side.CLIENT], self._ends[Side.SERVER]
        try:
            to.send_client_hello("test", SESSION)
            self._move(to, at)
            at.send_server_hello("test", server)
            self._move(at, to)
            to.log_in(client)
            if [type(event) for event in self._move(to, at)] == [VerifierNeeded]:
                at.send_challenge(verifier, MOCK_SECRET)
                self._move(at, to)
                self._move(to, at)
            at.send_ready(0, "generation", "writer")
            self._move(at, to)
        except TrackError:
            pass
        return {side for side, end in self._ends.items() if end.state is State.OPEN}

    def _move(self, source: Connection, target: Connection) -> list[Event]:
        self._step += 1
        return target.receive_data(self._change(self._step, source.data_to_send()))


SECRETS = st.sampled_from([TOKEN, new_token(), "horse"])
BINDINGS = st.sampled_from([None, bytes(32), b"\x01" * 32])


@given(SECRETS, st.sampled_from([VERIFIER, None]), BINDINGS, BINDINGS, st.booleans(), st.booleans())
def test_both_sides_open_only_with_the_right_secret_over_the_same_tls_session(
    secret: str,
    verifier: Verifier | None,
    shown: bytes | None,
    own: bytes | None,
    password: bool,
    may_reveal: bool,
) -> None:
    client = ClientLogin("ann", secret, shown, may_reveal=may_reveal)
    opened = Login(lambda step, data: data).passes(client, ServerLogin(own, password=password), verifier)
    right = secret == TOKEN and verifier is not None and shown == own
    # Whoever asks for the password decides about it; here everybody who sends it gets in.  No token is sent.
    reveals = may_reveal and not is_generated(secret)
    assert opened == (set(Side) if (reveals if password else right) else set())


@given(st.integers(1, 6), st.data())
def test_a_login_that_is_changed_on_its_way_opens_nothing_that_is_not_proved(
    where: int, data: st.DataObject
) -> None:
    """Whatever happens to one message, the server opens only to the right proof, and the client likewise."""
    changed: list[bytes] = []

    def change(step: int, sent: bytes) -> bytes:
        if step != where or not sent:
            return sent
        stream = bytearray(sent)
        for _ in range(data.draw(st.integers(1, 3))):
            stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
        changed.extend([sent, bytes(stream)])
        return bytes(stream)

    opened = Login(change).passes(ClientLogin("ann", TOKEN, bytes(32)), ServerLogin(bytes(32)), VERIFIER)
    if changed and changed[0] != changed[1] and 3 <= where <= 5:
        assert opened == set()  # RFC 5802: each proof covers all messages before it
    elif opened == {Side.CLIENT}:
        raise AssertionError("the client opened and the server did not")
