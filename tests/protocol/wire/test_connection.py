from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from every_case import every
from track_protocol.errors import (
    AuthenticationError,
    BadArguments,
    BadValue,
    ConnectionLost,
    EncryptionMismatch,
    FrameTooLarge,
    LocalProtocolError,
    RemoteProtocolError,
    TrackError,
)
from track_protocol.security.tokens import Secret
from track_protocol.wire import connection as module
from track_protocol.wire.codec import encode
from track_protocol.wire.connection import TRANSITIONS, VERSIONS, Connection, Side, State
from track_protocol.wire.events import (
    AckReceived,
    BatchReceived,
    CallReceived,
    ClientProved,
    CloseReceived,
    ErrorReceived,
    HelloReceived,
    NackReceived,
    PasswordReceived,
    PingReceived,
    PongReceived,
    ReadyReceived,
    ResultReceived,
    ServerHelloReceived,
    Undecoded,
    VerifierNeeded,
)
from track_protocol.wire.frames import FRAME_LIMIT, GREETING_LIMIT, FrameKind, encode_frame
from track_protocol.wire.keepalive import SILENCE_S
from track_protocol.wire.link import Rejection
from track_protocol.wire.login import ClientLogin, ServerLogin
from wire_samples import (
    BATCH,
    FIELDS,
    MOCK_SECRET,
    SAY,
    SESSION,
    TOKEN,
    VERIFIER,
    allocation,
    deliver,
    frame_of,
    talk,
)

EVERYTHING = [(side, state, kind) for side in Side for state in State for kind in FrameKind]
ALLOWED = [case for case in EVERYTHING if case[2] in TRANSITIONS[case[0]][case[1]]]
FORBIDDEN = [case for case in EVERYTHING if case not in ALLOWED]
TALKING = [state for state in State if state is not State.CLOSED]
STANDING = [(side, state) for side in Side for state in State if (side, state) != (Side.CLIENT, State.PROOF)]
"""Where a side comes to rest: a client answers a challenge at once."""


def named(value: object) -> str:
    return value.name if isinstance(value, (Side, State, FrameKind)) else repr(value)[:30]


def cases(chosen: list[tuple[Side, State, FrameKind]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("speaker", "state", "kind"), chosen, ids=named)


every_side = pytest.mark.parametrize("side", Side, ids=named)


# -- the table ------------------------------------------------------------------------------------


def test_the_table_covers_both_sides_in_every_state() -> None:
    assert set(TRANSITIONS) == set(Side)
    assert all(set(states) == set(State) for states in TRANSITIONS.values())


def test_anything_but_a_closed_conversation_can_be_closed_by_either_side() -> None:
    for states in TRANSITIONS.values():
        assert all(FrameKind.CLOSE in kinds for state, kinds in states.items() if state is not State.CLOSED)
        assert states[State.CLOSED] == {}


def test_every_state_is_reached_and_every_kind_is_sent() -> None:
    following = {
        (kind, to)
        for states in TRANSITIONS.values()
        for kinds in states.values()
        for kind, to in kinds.items()
    }
    assert {to for _, to in following} == set(State) - {State.START}
    assert {kind for kind, _ in following} == set(FrameKind)


def test_only_the_server_opens_and_only_after_the_client_named_its_user() -> None:
    opening = [
        (side, state, kind) for side, state, kind in ALLOWED if TRANSITIONS[side][state][kind] is State.OPEN
    ]
    assert [case for case in opening if case[1] is not State.OPEN] == [
        (Side.SERVER, State.CHALLENGE, FrameKind.READY),
        (Side.SERVER, State.VERDICT, FrameKind.READY),
    ]


def test_during_the_login_one_side_sends_and_the_other_waits() -> None:
    speaking = {
        state: [side for side in Side if set(TRANSITIONS[side][state]) - {FrameKind.CLOSE}] for state in State
    }
    del speaking[State.OPEN], speaking[State.CLOSED]
    assert all(len(sides) == 1 for sides in speaking.values())


# -- the table in DESIGN.md -----------------------------------------------------------------------


def drawing() -> str:
    """The states as a Mermaid diagram: one arrow for each pair of states."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> START"]
    for state in State:
        for to in State:
            said = {
                side: " ".join(kind.name for kind, then in TRANSITIONS[side][state].items() if then is to)
                for side in Side
            }
            labels = [f"{side.value} {kinds}" for side, kinds in said.items() if kinds]
            if labels:
                lines.append(f"    {state.name} --> {to.name} : {', '.join(labels)}")
    return "\n".join([*lines, "```"])


def table() -> str:
    """What each side may send in each state; an arrow shows the next state where it is another one."""
    lines = ["| state | the client may say | the server may say |", "| --- | --- | --- |"]
    for state in State:
        cells = [
            ", ".join(
                kind.name if then is state else f"{kind.name} → {then.name}"
                for kind, then in TRANSITIONS[side][state].items()
            )
            for side in Side
        ]
        lines.append(f"| {state.name} | {' | '.join(cell or '–' for cell in cells)} |")
    return "\n".join(lines)


DESIGN = Path(module.__file__).with_name("DESIGN.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "rendered"), [("drawing", drawing), ("table", table)])
def test_the_design_document_shows_the_table_of_transitions(name: str, rendered: Callable[[], str]) -> None:
    shown = DESIGN.split(f"<!-- {name} of TRANSITIONS -->\n")[1].split(f"\n<!-- end of {name} -->")[0]
    assert shown == rendered()


def test_the_design_document_lists_every_kind_of_frame_with_its_number() -> None:
    listed = re.findall(r"^\| (\d+) \| ([A-Z]+) \|", DESIGN, flags=re.MULTILINE)
    assert dict.fromkeys(listed) == {(str(kind.value), kind.name): None for kind in FrameKind}


# -- saying ---------------------------------------------------------------------------------------


@cases(
    [
        case
        for case in ALLOWED
        if case[:2] in STANDING and case != (Side.SERVER, State.CHALLENGE, FrameKind.READY)  # see below
    ]
)
def test_both_sides_move_to_the_tables_next_state(speaker: Side, state: State, kind: FrameKind) -> None:
    ends = talk(state)
    SAY[kind](ends[speaker])
    following = TRANSITIONS[speaker][state][kind]
    assert ends[speaker].state is following
    ends[speaker.other].receive_data(ends[speaker].data_to_send())
    assert ends[speaker.other].state is (State.VERDICT if following is State.PROOF else following)


def test_a_client_answers_a_challenge() -> None:
    ends = talk(State.CHALLENGE)
    ends[Side.SERVER].send_challenge(VERIFIER, MOCK_SECRET)
    assert deliver(ends) == {Side.CLIENT: [], Side.SERVER: [ClientProved("ann")]}
    assert {end.state for end in ends.values()} == {TRANSITIONS[Side.CLIENT][State.PROOF][FrameKind.AUTH]}


def test_a_server_that_asks_for_the_password_needs_no_challenge() -> None:
    ends = talk(State.GREETING)
    ends[Side.SERVER].send_server_hello("test", ServerLogin(None, password=True))
    deliver(ends)
    ends[Side.CLIENT].log_in(ClientLogin("ann", "horse", None, may_reveal=True))
    assert deliver(ends)[Side.SERVER] == [PasswordReceived("ann", Secret("horse"))]
    ends[Side.SERVER].send_ready(0, "generation", "writer")
    deliver(ends)
    assert {end.state for end in ends.values()} == {
        TRANSITIONS[Side.SERVER][State.CHALLENGE][FrameKind.READY]
    }


def test_a_server_cannot_open_before_the_client_has_proved_itself() -> None:
    server = talk(State.CHALLENGE)[Side.SERVER]
    with pytest.raises(LocalProtocolError, match="has not proved itself"):
        server.send_ready(0, "generation", "writer")
    assert server.data_to_send() == b""


def test_a_server_that_opens_without_a_challenge_has_not_proved_itself() -> None:
    client = talk(State.CHALLENGE)[Side.CLIENT]
    with pytest.raises(AuthenticationError, match="could not prove"):
        client.receive_data(frame_of(Side.SERVER, FrameKind.READY))
    assert client.state is not State.OPEN
    assert_only_close_is_left(client)


@every([case for case in FORBIDDEN if case[:2] in STANDING and case[2] is not FrameKind.CLOSE])
def test_a_frame_outside_the_table_is_not_sent(speaker: Side, state: State, kind: FrameKind) -> None:
    end = talk(state)[speaker]
    with pytest.raises(LocalProtocolError, match=f"the {speaker.value} may not send {kind.name} in state"):
        SAY[kind](end)
    assert end.state is state
    assert end.data_to_send() == b""


@every([case for case in FORBIDDEN if (case[0].other, case[1]) in STANDING and case[1] is not State.CLOSED])
def test_a_frame_outside_the_table_is_not_accepted(speaker: Side, state: State, kind: FrameKind) -> None:
    end = talk(state)[speaker.other]
    with pytest.raises(RemoteProtocolError, match=f"the {speaker.value} may not send {kind.name} in state"):
        end.receive_data(frame_of(speaker, kind))
    assert_only_close_is_left(end)


@every_side
@pytest.mark.parametrize("kind", FrameKind, ids=named)
def test_no_frame_is_accepted_after_the_end(side: Side, kind: FrameKind) -> None:
    assert talk(State.CLOSED)[side].receive_data(frame_of(side.other, kind)) == []


@every_side
def test_closing_again_is_harmless(side: Side) -> None:
    end = talk(State.CLOSED)[side]
    end.send_close(TrackError("again"))
    assert end.data_to_send() == b""


def test_a_mistake_of_this_side_spoils_nothing() -> None:
    ends = talk(State.OPEN)
    client = ends[Side.CLIENT]
    with pytest.raises(LocalProtocolError):
        client.send_ack(1, [])
    with pytest.raises(BadValue):
        client.send_call(2, None, "commit", {"x": {1}})
    client.send_call(2, None, "commit", {})
    events = ends[Side.SERVER].receive_data(client.data_to_send())
    assert events == [CallReceived(2, None, "commit", {})]


# -- a peer that breaks the protocol --------------------------------------------------------------


def assert_only_close_is_left(end: Connection) -> None:
    """Nothing is read or said any more, but for the reason why this side closes."""
    end.data_to_send()
    assert end.receive_data(frame_of(end.side.other, FrameKind.PING)) == []
    for kind in TRANSITIONS[end.side][end.state]:
        if kind is not FrameKind.CLOSE:
            with pytest.raises(LocalProtocolError):
                SAY[kind](end)
    assert end.data_to_send() == b""
    end.send_close(RemoteProtocolError("it broke the protocol"))
    assert end.state is State.CLOSED
    expected = encode_frame(FrameKind.CLOSE, ["remote-protocol", "it broke the protocol"])
    assert end.data_to_send() == expected


GARBAGE = {
    "no array": b"\x00\x00\x00\x01\x05",
    "an empty array": b"\x00\x00\x00\x01\x90",
    "an empty body": bytes(4),
    "an unknown kind": b"\x00\x00\x00\x02\x91\x63",
    "a byte too many": b"\x00\x00\x00\x04\x92\x0a\x05\x05",
    "an incomplete body": b"\x00\x00\x00\x02\x92\x0a",
    "a length without end": b"\xff\xff\xff\xff",
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "a huge array": b"\x00\x00\x00\x05\xdd\x7f\xff\xff\xff",
    "a map as a close": b"\x00\x00\x00\x03\x92\x0c\x80",
}


@every(product(Side, TALKING, GARBAGE.values()))
def test_after_garbage_only_close_can_be_sent(side: Side, state: State, data: bytes) -> None:
    end = talk(state)[side]
    with pytest.raises(RemoteProtocolError):
        end.receive_data(data)
    assert_only_close_is_left(end)


@every_side
@pytest.mark.parametrize("kind", [kind for kind in FrameKind if kind is not FrameKind.CLOSE], ids=named)
def test_after_a_malformed_frame_only_close_can_be_sent(side: Side, kind: FrameKind) -> None:
    state = next(
        (state for speaker, state, said in ALLOWED if speaker is side.other and said is kind), State.OPEN
    )
    end = talk(state)[side]
    with pytest.raises(RemoteProtocolError):
        end.receive_data(encode_frame(kind, [*FIELDS[side.other, kind], None]))
    assert_only_close_is_left(end)


def test_events_before_a_fault_are_not_returned_later() -> None:
    server = talk(State.OPEN)[Side.SERVER]
    with pytest.raises(RemoteProtocolError):
        server.receive_data(frame_of(Side.CLIENT, FrameKind.PING) + GARBAGE["no array"])
    assert server.receive_data(frame_of(Side.CLIENT, FrameKind.PING)) == []


def test_tls_on_a_plain_connection_is_recognised() -> None:
    server = Connection(Side.SERVER)
    with pytest.raises(EncryptionMismatch):
        server.receive_data(bytes.fromhex("1603010200010001fc0303") + bytes(64))
    server.send_close(EncryptionMismatch("this side speaks plain text"))
    assert server.data_to_send() != b""


@pytest.mark.parametrize("version", [0, 2, -1, 2**63 - 1])
def test_a_protocol_version_that_was_not_offered_is_refused(version: int) -> None:
    client = talk(State.GREETING)[Side.CLIENT]
    with pytest.raises(RemoteProtocolError, match="chose protocol version"):
        client.receive_data(encode_frame(FrameKind.HELLO, [version, "server", "SCRAM-SHA-256"]))
    assert version not in VERSIONS


@pytest.mark.parametrize("offered", [[], [2], [0, 7, -1]], ids=str)
def test_a_client_that_offers_no_known_protocol_version_is_asked_to_update(offered: list[int]) -> None:
    server = Connection(Side.SERVER)
    server.receive_data(encode_frame(FrameKind.HELLO, [offered, "test", SESSION, None]))
    with pytest.raises(RemoteProtocolError, match="update the older side"):
        server.send_server_hello("test", ServerLogin(None))


# -- signs of life --------------------------------------------------------------------------------


@every_side
def test_a_peer_that_sends_gets_no_ping(side: Side) -> None:
    end = talk(State.OPEN)[side]
    for now in range(100):
        end.note_life(now)
        assert end.next_timeout() == now + SILENCE_S
        end.handle_timeout(now)
    assert end.data_to_send() == b""


@every_side
def test_a_silent_peer_gets_one_ping_and_is_then_lost(side: Side) -> None:
    end = talk(State.OPEN)[side]
    end.note_life(100)
    end.handle_timeout(100 + SILENCE_S)
    end.handle_timeout(100 + SILENCE_S)
    assert end.data_to_send() == encode_frame(FrameKind.PING, [0])
    assert end.next_timeout() == 100 + 2 * SILENCE_S
    with pytest.raises(ConnectionLost, match=f"the {side.other.value} has sent nothing for 40 s"):
        end.handle_timeout(100 + 2 * SILENCE_S)


@every_side
def test_a_peer_that_answers_in_time_is_not_lost(side: Side) -> None:
    end = talk(State.OPEN)[side]
    end.note_life(100)
    end.handle_timeout(100 + SILENCE_S)
    end.note_life(99 + 2 * SILENCE_S)
    end.handle_timeout(100 + 2 * SILENCE_S)


@every_side
def test_after_a_long_stop_of_this_side_the_peer_gets_a_ping_before_it_is_lost(side: Side) -> None:
    end = talk(State.OPEN)[side]
    end.note_life(0)
    end.handle_timeout(3600)
    assert end.next_timeout() == 3600 + SILENCE_S


@every_side
@pytest.mark.parametrize("state", [state for state in State if state is not State.OPEN], ids=named)
def test_only_an_open_peer_gets_a_ping(side: Side, state: State) -> None:
    end = talk(state)[side]
    end.data_to_send()
    end.note_life(0)
    end.handle_timeout(3600)
    assert end.next_timeout() == math.inf
    assert end.data_to_send() == b""


# -- sizes ----------------------------------------------------------------------------------------


@every_side
@pytest.mark.parametrize("state", [state for state in TALKING if state is not State.OPEN], ids=named)
def test_before_login_a_frame_over_4_kib_is_refused(side: Side, state: State) -> None:
    end = talk(state)[side]
    with pytest.raises(FrameTooLarge):
        end.receive_data((GREETING_LIMIT + 1).to_bytes(4, "big"))
    assert_only_close_is_left(end)


@every_side
def test_after_login_a_frame_over_1_mib_is_refused(side: Side) -> None:
    end = talk(State.OPEN)[side]
    assert end.receive_data(FRAME_LIMIT.to_bytes(4, "big")) == []
    end = talk(State.OPEN)[side]
    with pytest.raises(FrameTooLarge):
        end.receive_data((FRAME_LIMIT + 1).to_bytes(4, "big"))
    assert_only_close_is_left(end)


def test_before_login_a_frame_over_4_kib_is_not_sent() -> None:
    client = talk(State.LOGIN)[Side.CLIENT]
    with pytest.raises(LocalProtocolError, match="exceeds the limit of 4,096"):
        client.log_in(ClientLogin("x" * GREETING_LIMIT, TOKEN, None))
    assert client.data_to_send() == b""


def test_after_login_a_frame_over_1_mib_is_not_sent() -> None:
    client = talk(State.OPEN)[Side.CLIENT]
    with pytest.raises(LocalProtocolError, match="exceeds the limit of 1,048,576"):
        client.send_call(2, None, "commit", {"x": b"x" * FRAME_LIMIT})
    client.send_call(2, None, "commit", {})


def test_a_long_frame_may_follow_right_behind_the_login() -> None:
    ends = talk(State.VERDICT)
    client, server = ends[Side.CLIENT], ends[Side.SERVER]
    server.send_ready(0, "generation", "writer")
    server.send_ack(50, [Rejection(seq, "bad-value", "x" * 1000) for seq in range(1, 51)])
    events = client.receive_data(server.data_to_send())
    assert [type(event) for event in events] == [ReadyReceived, AckReceived]


BOMB = b"\xdc\x0f\x00" * 1300


@pytest.mark.parametrize("state", TALKING, ids=named)
def test_a_few_bytes_cannot_allocate_much_memory(state: State) -> None:
    server = talk(state)[Side.SERVER]
    with allocation() as peak:
        with pytest.raises(RemoteProtocolError):
            server.receive_data(len(BOMB).to_bytes(4, "big") + BOMB)
        used = peak()
    assert used < 128 * 1024


def test_the_bytes_of_an_incomplete_frame_are_counted() -> None:
    server = Connection(Side.SERVER)
    server.receive_data(frame_of(Side.CLIENT, FrameKind.HELLO)[:-1])
    assert server.incomplete == len(frame_of(Side.CLIENT, FrameKind.HELLO)) - 1


# -- a complete conversation -------------------------------------------------------------------------


def test_a_conversation() -> None:
    client, server = Connection(Side.CLIENT), Connection(Side.SERVER)
    client.send_client_hello("track", SESSION)
    assert server.receive_data(client.data_to_send()) == [HelloReceived(list(VERSIONS), "track", SESSION)]
    server.send_server_hello("track", ServerLogin(SESSION))
    assert client.receive_data(server.data_to_send()) == [
        ServerHelloReceived(1, "track", "SCRAM-SHA-256-PLUS")
    ]
    client.log_in(ClientLogin("ann", TOKEN, SESSION))
    assert server.receive_data(client.data_to_send()) == [VerifierNeeded("ann")]
    server.send_challenge(VERIFIER, MOCK_SECRET)
    assert client.receive_data(server.data_to_send()) == []
    assert server.receive_data(client.data_to_send()) == [ClientProved("ann")]
    server.send_ready(3, "generation", "writer")
    [ready] = client.receive_data(server.data_to_send())
    assert isinstance(ready, ReadyReceived)
    assert (ready.last_seq, ready.generation, ready.role) == (3, "generation", "writer")
    client.send_batch(BATCH)
    client.send_call(1, 2, "new_trial", {"trial": {"uid": "a"}})
    client.send_call(2, None, "fetch_trials", {"query": {}})
    client.send_ping(9)
    assert server.receive_data(client.data_to_send()) == [
        BatchReceived(BATCH),
        CallReceived(1, 2, "new_trial", {"trial": {"uid": "a"}}),
        CallReceived(2, None, "fetch_trials", {"query": {}}),
        PingReceived(9),
    ]
    server.send_ack(1, [])
    server.send_result(1, encode([{"uid": ("a", 1)}]))
    server.send_error(2, BadArguments("no such trial"), "Traceback")
    server.send_pong(9)
    server.send_nack(2, TrackError("no"))
    server.send_close()
    assert client.receive_data(server.data_to_send()) == [
        AckReceived(1, []),
        ResultReceived(1, [{"uid": ("a", 1)}]),
        ErrorReceived(2, "bad-arguments", "no such trial", "Traceback"),
        PongReceived(9),
        NackReceived(2, "error", "no"),
        CloseReceived("", ""),
    ]
    assert client.state is server.state is State.CLOSED


def test_data_to_send_is_returned_once() -> None:
    client = Connection(Side.CLIENT)
    client.send_client_hello("track", SESSION)
    assert client.data_to_send() != b""
    assert client.data_to_send() == b""


def test_sizes_are_those_of_the_bytes_to_send() -> None:
    client = talk(State.OPEN)[Side.CLIENT]
    assert client.send_batch(BATCH) == len(client.data_to_send())
    assert client.send_call(2, None, "commit", {}) == len(client.data_to_send())


def test_bytes_after_a_close_are_not_read() -> None:
    server = talk(State.OPEN)[Side.SERVER]
    close, ping = frame_of(Side.CLIENT, FrameKind.CLOSE), frame_of(Side.CLIENT, FrameKind.PING)
    assert server.receive_data(close + ping + b"\xff\xff\xff\xff") == [CloseReceived("", "")]


@settings(max_examples=30)
@given(st.data())
def test_events_do_not_depend_on_how_the_bytes_are_cut(data: st.DataObject) -> None:
    ends = talk(State.OPEN)
    client, server = ends[Side.CLIENT], ends[Side.SERVER]
    kinds = data.draw(
        st.lists(st.sampled_from([FrameKind.BATCH, FrameKind.PING, FrameKind.PONG]), max_size=6)
    )
    for kind in [*kinds, FrameKind.CALL, FrameKind.CLOSE]:
        SAY[kind](client)
    stream = client.data_to_send()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    events = [event for piece in pieces for event in server.receive_data(piece)]
    assert events == talk(State.OPEN)[Side.SERVER].receive_data(stream)
    assert len(events) == len(kinds) + 2


# -- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100, FRAME_LIMIT, 3 * FRAME_LIMIT])
def test_an_answer_takes_as_many_frames_as_it_needs(size: int) -> None:
    ends = talk(State.OPEN)
    ends[Side.SERVER].send_result(1, encode(b"x" * size))
    sent = ends[Side.SERVER].data_to_send()
    assert ends[Side.CLIENT].receive_data(sent) == [ResultReceived(1, b"x" * size)]


@pytest.mark.parametrize("less", range(-2, 3))
@pytest.mark.parametrize("parts", [1, 2])
def test_an_answer_may_fill_its_frames_exactly(parts: int, less: int) -> None:
    data = encode(b"x" * (parts * (FRAME_LIMIT - 1024) - 5 - less))
    ends = talk(State.OPEN)
    ends[Side.SERVER].send_result(1, data)
    [event] = ends[Side.CLIENT].receive_data(ends[Side.SERVER].data_to_send())
    assert isinstance(event, ResultReceived)
    assert len(event.value) == len(data) - 5


def test_answers_may_come_in_another_order_than_the_calls() -> None:
    ends = talk(State.OPEN)
    client, server = ends[Side.CLIENT], ends[Side.SERVER]
    client.send_call(2, None, "commit", {})
    server.receive_data(client.data_to_send())
    server.send_result(2, encode("second"))
    server.send_result(1, encode("first"))
    assert client.receive_data(server.data_to_send()) == [
        ResultReceived(2, "second"),
        ResultReceived(1, "first"),
    ]


@pytest.mark.parametrize("kind", [FrameKind.RESULT, FrameKind.ERROR], ids=named)
def test_an_answer_to_no_call_ends_the_conversation(kind: FrameKind) -> None:
    ends = talk(State.OPEN)
    client = ends[Side.CLIENT]
    client.receive_data(frame_of(Side.SERVER, kind))
    with pytest.raises(RemoteProtocolError, match="is not pending"):
        client.receive_data(frame_of(Side.SERVER, kind))
    assert_only_close_is_left(client)


def test_a_call_has_an_id_of_its_own_while_it_waits() -> None:
    ends = talk(State.OPEN)
    client = ends[Side.CLIENT]
    with pytest.raises(LocalProtocolError, match="still waits"):
        client.send_call(1, None, "commit", {})
    client.receive_data(frame_of(Side.SERVER, FrameKind.RESULT))
    client.send_call(1, None, "commit", {})


def test_a_call_that_could_not_be_sent_waits_for_nothing() -> None:
    client = talk(State.OPEN)[Side.CLIENT]
    with pytest.raises(BadValue):
        client.send_call(2, None, "commit", {"x": object()})
    client.send_call(2, None, "commit", {})


def test_a_list_in_pages_arrives_as_one() -> None:
    ends = talk(State.OPEN)
    for page in ([1, 2], [], [b"x" * 2_000_000]):
        ends[Side.SERVER].send_result(1, encode(page), more=True)
    assert ends[Side.CLIENT].receive_data(ends[Side.SERVER].data_to_send()) == []
    ends[Side.SERVER].send_result(1, encode([3]))
    assert ends[Side.CLIENT].receive_data(ends[Side.SERVER].data_to_send()) == [
        ResultReceived(1, [1, 2, b"x" * 2_000_000, 3])
    ]


# -- reasons --------------------------------------------------------------------------------------

AWKWARD = ["", "x" * 1_000_000, "😀" * 1_000_000, "/data/\udcff/runs.db", "\ud800" * 100_000]


@every(product(Side, TALKING, AWKWARD))
def test_any_reason_to_close_can_be_sent(side: Side, state: State, message: str) -> None:
    ends = talk(state)
    ends[side].send_close(TrackError(message))
    *_, event = ends[side.other].receive_data(ends[side].data_to_send())
    assert isinstance(event, CloseReceived)
    assert event.code == "error"
    assert message[:5].encode(errors="replace").decode() == event.message[:5]


@pytest.mark.parametrize("message", AWKWARD, ids=named)
def test_any_reason_to_refuse_can_be_sent(message: str) -> None:
    ends = talk(State.OPEN)
    ends[Side.SERVER].send_nack(1, TrackError(message))
    ends[Side.SERVER].send_error(1, TrackError(message), message)
    ends[Side.SERVER].send_ack(1, [Rejection(1, "bad-value", message)] * 300)
    events = ends[Side.CLIENT].receive_data(ends[Side.SERVER].data_to_send())
    assert [type(event) for event in events] == [
        NackReceived,
        ErrorReceived,
        AckReceived,
        AckReceived,
        AckReceived,
    ]


def test_the_end_of_a_long_traceback_is_sent() -> None:
    ends = talk(State.OPEN)
    ends[Side.SERVER].send_error(1, TrackError("no"), "x" * 100_000 + "ValueError: the cause")
    [event] = ends[Side.CLIENT].receive_data(ends[Side.SERVER].data_to_send())
    assert isinstance(event, ErrorReceived)
    assert event.trace is not None
    assert event.trace.endswith("ValueError: the cause")


def test_every_rejection_is_reported_before_its_record_is_acknowledged() -> None:
    rejected = [Rejection(seq, "bad-value", "x" * 5000) for seq in range(1000, 0, -2)]
    ends = talk(State.OPEN)
    ends[Side.SERVER].send_ack(1001, rejected)
    events = ends[Side.CLIENT].receive_data(ends[Side.SERVER].data_to_send())
    reported: set[int] = set()
    acked = 0
    for event in events:
        assert isinstance(event, AckReceived)
        assert acked <= event.last_seq
        reported |= {rejection.seq for rejection in event.rejected}
        acked = event.last_seq
        assert {seq for seq in range(2, acked + 1, 2) if seq <= 1000} <= reported
    assert acked == 1001
    assert reported == {rejection.seq for rejection in rejected}


# -- large frames ---------------------------------------------------------------------------------


def many_items(count: int) -> bytes:
    body = encode([int(FrameKind.CALL), 1, None, "fetch_trials", {"query": {"a": [{}] * count}}])
    return len(body).to_bytes(4, "big") + body


def test_a_frame_of_many_items_is_decoded_by_its_owner() -> None:
    ends = talk(State.OPEN)
    server, client = ends[Side.SERVER], ends[Side.CLIENT]
    client.send_ping(7)
    [undecoded] = server.receive_data(many_items(10_000) + client.data_to_send())
    assert isinstance(undecoded, Undecoded)
    assert undecoded.charge > 10_000 * 64
    assert server.receive_data(b"") == []  # nothing behind it is looked at
    call, ping = server.receive_decoded(undecoded.decode())
    assert isinstance(call, CallReceived)
    assert call.arguments == {"query": {"a": [{}] * 10_000}}
    assert ping == PingReceived(7)


def test_a_frame_of_too_many_items_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(FrameTooLarge, match="items"):
        talk(State.OPEN)[Side.SERVER].receive_data(many_items(500_000))


def test_items_that_are_slow_to_count_are_refused_by_the_decoding_side() -> None:
    body = encode([int(FrameKind.CALL), 1, None, "fetch_trials", {"query": {"a": ["x"] * 400_000}}])
    [undecoded] = talk(State.OPEN)[Side.SERVER].receive_data(len(body).to_bytes(4, "big") + body)
    assert isinstance(undecoded, Undecoded)
    with pytest.raises(FrameTooLarge, match="items"):
        undecoded.decode()


def test_a_frame_of_few_items_is_decoded_at_once() -> None:
    [event] = talk(State.OPEN)[Side.SERVER].receive_data(many_items(1_000))
    assert isinstance(event, CallReceived)
    assert event.charge > 64_000
