"""One peer and its server, byte by byte: the protocol's order, limits, slow peers and hasty ones."""

from __future__ import annotations

import gc
import select
import socket
import ssl
import time
import uuid
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import pytest

from engine_calls import points, writer_held
from running_server import Served, limited, serving
from socket_peers import SECONDS, Joined, Peer, joined, peer
from track_protocol.errors import (
    AuthenticationError,
    BadArguments,
    ConnectionLost,
    FrameTooLarge,
    PermissionDenied,
    RemoteProtocolError,
    TooBusy,
    TrackError,
    UnknownMethod,
)
from track_protocol.security.tokens import new_token
from track_protocol.wire.batch import CallOp
from track_protocol.wire.connection import State
from track_protocol.wire.events import (
    ErrorReceived,
    PingReceived,
    PongReceived,
    ResultReceived,
    ServerHelloReceived,
)
from track_protocol.wire.frames import FRAME_LIMIT, GREETING_LIMIT, FrameKind, encode_frame
from track_protocol.wire.roles import Role
from track_server.app import Settings
from track_server.network.progress import SLOWEST_BYTES_PER_S
from track_server.network.session import Session
from track_server.storage.contract import SessionState
from waiting import wait_until

SID = b"\x07" * 16


def closing_error(peer: Peer) -> TrackError:
    """What the server closes with."""
    with pytest.raises(TrackError) as caught:
        peer.expect(ServerHelloReceived)
    assert peer.ended()
    return caught.value


def works(served: Served) -> bool:
    """Whether somebody else can log in and write."""
    with joined(served.join(f"other-{uuid.uuid4().hex[:8]}")) as other:
        return bool(other.new_trial()["uid"])


# -- before the login ----------------------------------------------------------------------------


def frame(kind: FrameKind, *fields: object) -> bytes:
    return encode_frame(kind, list(fields))


HELLO = frame(FrameKind.HELLO, [1], "test", SID, None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", frame(FrameKind.BATCH, 1, 1, [])),
        (b"", frame(FrameKind.CALL, 1, None, "fetch_trials", {"query": {}})),
        (b"", frame(FrameKind.AUTH, "n,,n=ann,r=abc")),
        (b"", frame(FrameKind.PING, 1)),
        (b"", frame(FrameKind.READY, "", 0, "", "admin")),
        (HELLO, HELLO),
        (HELLO, frame(FrameKind.CALL, 1, None, "fetch_trials", {"query": {}})),
        (HELLO, frame(FrameKind.BATCH, 1, 1, [])),
        (HELLO, frame(FrameKind.READY, "", 0, "", "admin")),
        (HELLO, frame(FrameKind.RESULT, 1, False, b"\xc0")),
    ],
)
def test_an_unexpected_frame_ends_the_conversation(
    served: Served, unauthenticated: Peer, before: bytes, after: bytes
) -> None:
    if before:
        unauthenticated.protocol.state = State.GREETING
        unauthenticated.socket.sendall(before)
        unauthenticated.expect(ServerHelloReceived)
    else:
        unauthenticated.protocol.state = State.GREETING
    unauthenticated.socket.sendall(after)
    assert type(closing_error(unauthenticated)) is RemoteProtocolError
    assert works(served)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\x05hello",
        b"\0\0\0\0",
        b"\0\0\0\x01\xc0",
        frame(FrameKind.HELLO),
        frame(FrameKind.HELLO, [1], "test", b"short", None),
        frame(FrameKind.HELLO, ["1"], "test", SID, None),
        b"\0\0\0\x02\x91\x63",
        b"GET / HTTP/1.1\r\n\r\n"[:4] + b"x" * 100,
    ],
)
def test_garbage_ends_the_conversation(served: Served, unauthenticated: Peer, data: bytes) -> None:
    unauthenticated.protocol.state = State.GREETING
    unauthenticated.socket.sendall(data)
    assert isinstance(closing_error(unauthenticated), RemoteProtocolError)
    assert works(served)


def test_a_long_frame_is_refused_before_its_body_arrives(unauthenticated: Peer) -> None:
    unauthenticated.protocol.state = State.GREETING
    unauthenticated.socket.sendall((GREETING_LIMIT + 1).to_bytes(4, "big"))
    assert type(closing_error(unauthenticated)) is FrameTooLarge


def test_even_a_reason_in_long_characters_can_be_sent_to_an_unauthenticated_peer(
    unauthenticated: Peer,
) -> None:
    unauthenticated.protocol.state = State.GREETING
    kind = "😀".encode() * ((GREETING_LIMIT - 4) // 4)
    body = b"\x91\xda" + len(kind).to_bytes(2, "big") + kind
    unauthenticated.socket.sendall(len(body).to_bytes(4, "big") + body)
    assert type(closing_error(unauthenticated)) is RemoteProtocolError


def test_a_client_of_another_version_learns_which_one_is_spoken(unauthenticated: Peer) -> None:
    unauthenticated.protocol.state = State.GREETING
    unauthenticated.socket.sendall(frame(FrameKind.HELLO, [99], "test", SID, None))
    assert "version 1" in str(closing_error(unauthenticated))


def test_a_login_in_small_bites_is_ended(settings: Settings) -> None:
    with serving(limited(settings, login_seconds=0.3)) as served, peer(served) as slow:
        slow.protocol.state = State.GREETING
        for byte in HELLO[:-1]:
            slow.socket.sendall(bytes([byte]))
            if select.select([slow.socket], [], [], 0.05)[0]:
                break
        assert type(closing_error(slow)) is TooBusy
        assert works(served)


def test_an_unauthenticated_peer_that_says_nothing_is_asked_to_come_back(settings: Settings) -> None:
    with serving(limited(settings, login_seconds=0.2)) as served, peer(served) as silent:
        silent.protocol.state = State.GREETING
        assert type(closing_error(silent)) is TooBusy


def test_a_login_that_is_in_time_is_not_ended_later(settings: Settings) -> None:
    for seconds in (0.3, 3.0, 10.0):  # a busy machine may need more for a login
        with serving(limited(settings, login_seconds=seconds)) as served, peer(served) as ann:
            try:
                ann.log_in(served.join(f"ann-{seconds}"))
            except (TooBusy, ConnectionLost, ConnectionError):
                continue
            assert select.select([ann.socket], [], [], 2 * seconds)[0] == []
            return
    pytest.fail("no login was in time")


def test_two_messages_of_a_login_at_once_end_it(unauthenticated: Peer) -> None:
    unauthenticated.greet()
    message = frame(FrameKind.AUTH, "p=tls-server-end-point,,n=ann,r=abcdefgh")
    unauthenticated.socket.sendall(message + message)
    assert type(closing_error(unauthenticated)) is RemoteProtocolError


def test_what_is_no_login_message_is_refused(served: Served, unauthenticated: Peer) -> None:
    unauthenticated.greet()
    unauthenticated.socket.sendall(frame(FrameKind.AUTH, "let me in"))
    assert type(closing_error(unauthenticated)) is AuthenticationError
    assert works(served)


def test_a_login_with_an_unbound_mechanism_is_refused_inside_tls(served: Served) -> None:
    uri = served.join("ann")
    with peer(served) as unbound:
        unbound.binding = None
        with pytest.raises(AuthenticationError):
            unbound.log_in(uri)


def test_a_client_without_the_protocols_name_learns_so(served: Served) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((served.host, served.port), SECONDS) as plain,
        context.wrap_socket(plain) as tls,
    ):
        nameless = Peer(tls, None)
        nameless.protocol.state = State.GREETING
        assert closing_error(nameless).code == "encryption"


# -- after the login -----------------------------------------------------------------------------


@pytest.fixture
def ann(served: Served, unauthenticated: Peer) -> Peer:
    unauthenticated.log_in(served.join("ann"))
    return unauthenticated


def test_an_oversized_frame_ends_the_conversation_before_its_body_arrives(served: Served, ann: Peer) -> None:
    ann.socket.sendall((FRAME_LIMIT + 1).to_bytes(4, "big"))
    assert type(closing_error(ann)) is FrameTooLarge
    assert works(served)


def test_a_frame_of_the_largest_size_is_taken(ann: Peer) -> None:
    ann.protocol.send_call(1, None, "fetch_trials", {"query": {"uid": "x" * (FRAME_LIMIT - 100)}})
    assert ann.expect(ErrorReceived).call_id == 1


@pytest.mark.parametrize(
    "data",
    [
        frame(FrameKind.READY, "", 0, "", "admin"),
        frame(FrameKind.AUTH, "n,,n=ann,r=abc"),
        frame(FrameKind.ACK, 1, []),
        HELLO,
        frame(FrameKind.BATCH, 0, 1, []),
        frame(FrameKind.BATCH, 1, 0, []),
        frame(FrameKind.BATCH, 1, 1, [[0]]),
        frame(FrameKind.BATCH, 1, 1, "ops"),
        frame(FrameKind.CALL, 1, 0, "new_trial", {}),
        frame(FrameKind.CALL, -1, None, "fetch_trials", {}),
        frame(FrameKind.CALL, 1, None, "fetch_trials", []),
        frame(FrameKind.CALL, 1, None, b"fetch_trials", {}),
        b"\0\0\0\x05hello",
    ],
)
def test_a_malformed_frame_ends_the_conversation_of_its_sender_only(
    served: Served, ann: Peer, data: bytes
) -> None:
    ann.socket.sendall(data)
    assert isinstance(closing_error(ann), RemoteProtocolError)
    assert works(served)


@pytest.mark.parametrize(
    "name",
    [
        "drop_everything",
        "",
        "__class__",
        "__init__",
        "submit_batch",
        "log_trial_start",
        "store.close",
        "x" * 10_000,
    ],
)
@pytest.mark.parametrize("seq", [None, 1])
def test_a_name_outside_the_method_table_is_no_call(ann: Peer, name: str, seq: int | None) -> None:
    ann.protocol.send_call(1, seq, name, {})
    failed = ann.expect(ErrorReceived)
    assert failed.code == UnknownMethod.code
    assert "fetch_trials" in failed.message
    ann.protocol.send_call(2, None, "fetch_trials", {"query": {}})
    assert ann.expect(ResultReceived).value == []


@pytest.mark.parametrize(
    ("method", "arguments", "part"),
    [
        ("fetch_trials", {}, "'query' is missing"),
        ("fetch_trials", {"query": 1}, "'query' must be"),
        ("fetch_trials", {"query": {}, "sort": 1}, "unknown argument 'sort'"),
        ("fetch_metrics", {"trial": b"short", "name": "loss"}, "'trial' must be"),
        ("fetch_metrics", {"trial": b"\0" * 16, "name": "loss", "start": -1}, "'start' must be"),
        ("fetch_metrics", {"trial": b"\0" * 16, "name": "loss", "kind": "x"}, "'kind' must be"),
    ],
)
def test_wrong_arguments_are_named_and_end_nothing(
    ann: Peer, method: str, arguments: dict[str, object], part: str
) -> None:
    ann.protocol.send_call(1, None, method, arguments)
    failed = ann.expect(ErrorReceived)
    assert failed.code == BadArguments.code
    assert part in failed.message
    ann.protocol.send_call(2, None, "fetch_trials", {"query": {}})
    assert ann.expect(ResultReceived).value == []


@pytest.mark.parametrize(("method", "seq"), [("fetch_trials", 1), ("new_project", None)])
def test_a_call_is_numbered_exactly_when_it_writes(ann: Peer, method: str, seq: int | None) -> None:
    ann.protocol.send_call(1, seq, method, {"query": {}} if seq else {"project": {"uid": "p"}})
    assert ann.expect(ErrorReceived).code == RemoteProtocolError.code


def test_a_ping_is_answered_with_its_token(ann: Peer) -> None:
    ann.protocol.send_ping(42)
    assert ann.expect(PongReceived).token == 42


def test_a_goodbye_ends_the_connection(ann: Peer) -> None:
    ann.protocol.send_close()
    ann.flush()
    assert ann.ended()


# -- sessions ------------------------------------------------------------------------------------


def test_the_session_of_another_user_cannot_be_continued(served: Served) -> None:
    with joined(served.join("ann"), SID) as ann:
        ann.new_trial()
    with pytest.raises(PermissionDenied, match="another user"):
        Joined(served.join("eve"), SID)


def test_a_session_continues_where_it_ended(served: Served) -> None:
    uri = served.join("ann")
    with joined(uri, SID) as ann:
        ann.new_trial()
    with joined(uri, SID) as again:
        assert again.opened.last_seq == 1


def test_a_gap_is_refused_and_said_so(served: Served) -> None:
    with joined(served.join("ann")) as ann:
        ann.seq = 7
        with pytest.raises(TrackError, match="record 8 came where 1 was expected"):
            ann.log(CallOp(0, "add_trial_tags", {"trial": "t", "tags": {}}))


def test_a_record_that_can_never_be_stored_is_rejected_and_blocks_nothing(served: Served) -> None:
    with joined(served.join("ann")) as ann:
        id = ann.new_trial()["id"]
        acked = ann.log(
            CallOp(0, "__class__", {}),
            CallOp(1, "add_trial_tags", {"trial": id, "tags": 7}),
            CallOp(2, "add_trial_tags", {"trial": id, "tags": {"good": 1}}),
        )
        assert [(rejected.seq, rejected.code) for rejected in acked.rejected] == [
            (2, UnknownMethod.code),
            (3, BadArguments.code),
        ]
        assert ann.read("get_trial", trial={"id": id})[0]["tags"] == {"good": 1}


# -- peers that say or read nothing --------------------------------------------------------------


def test_a_peer_that_does_not_read_its_answers_is_dropped(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "track_server.network.session")
    with serving(limited(settings, stalled_seconds=0.3)) as served:
        with joined(served.join("writer")) as writer:
            id = writer.new_trial()["id"]
            writer.log(points(id, loss=[float(number) for number in range(40_000)]))
        with peer(served) as deaf:
            deaf.log_in(served.join("deaf", Role.READER))
            for number in range(200):
                deaf.protocol.send_call(number, None, "fetch_metrics", {"trial": id, "name": "loss"})
            deaf.flush()
            wait_until(lambda: "does not read what is sent" in caplog.text, "the server drops the peer")
            assert deaf.ended()
        assert works(served)


def test_a_silent_peer_is_asked_for_a_sign_of_life_and_then_dropped(settings: Settings) -> None:
    watchful = limited(settings, silence_seconds=0.2, watch_seconds=0.02)
    with serving(watchful) as served, peer(served) as silent:
        silent.log_in(served.join("silent"))
        silent.expect(PingReceived)
        assert silent.ended()


def test_a_peer_that_answers_pings_stays(settings: Settings) -> None:
    watchful = limited(settings, silence_seconds=0.5, watch_seconds=0.02)
    with serving(watchful) as served, joined(served.join("ann")) as ann:
        assert ann.link.poll(1.5) == []
        assert ann.new_trial()


def test_the_wrong_token_cannot_even_be_tried_twice_on_one_connection(
    served: Served, unauthenticated: Peer
) -> None:
    served.join("ann")
    with pytest.raises(AuthenticationError):
        unauthenticated.log_in(served.uri("ann", new_token()))
    assert unauthenticated.ended()


# -- what is left of a disconnected peer ---------------------------------------------------------


def _has_half_a_frame(known: weakref.ref[Session]) -> bool:
    session = known()
    return session is not None and session._connection.incomplete > 0


def test_a_peer_that_has_disconnected_leaves_nothing_for_the_search_for_cycles(served: Served) -> None:
    # That search goes by the number of objects: half frames of a megabyte each would fill the memory.
    server = served.server
    assert server is not None
    gc.collect()
    gc.disable()
    try:
        with peer(served) as bob:
            bob.log_in(served.join("bob"))
            bob.socket.sendall(FRAME_LIMIT.to_bytes(4, "big") + bytes(FRAME_LIMIT // 2))
            (session,) = [each for each in server.sessions if each.username == "bob"]
            known = weakref.ref(session)
            wait_until(partial(_has_half_a_frame, known), "the half frame")
            del session
        wait_until(lambda: known() is None, "the end of the session")
    finally:
        gc.enable()


def test_reads_that_a_disconnected_peer_has_waited_for_count_no_more(served: Served) -> None:
    server = served.server
    assert server is not None
    with joined(served.join("cid")) as cid:
        trial = cid.new_trial()
        with writer_held(server.engine):
            cid.send(points(trial["id"], loss=[1.0]))
            for number in range(20):
                cid.link.send_call(1_000 + number, None, "fetch_trials", {"query": {}})
            cid.link.poll(0.0)
            wait_until(lambda: any(each.requests_in_flight == 21 for each in server.sessions), "all of them")
            cid.link.close()
            wait_until(lambda: not server.sessions, "the end of the connection")
    wait_until(lambda: server.bytes_in_flight == 0, "that nothing is under way")


def test_a_session_that_says_goodbye_shrinks_and_keeps_its_number(served: Served) -> None:
    uri, session = served.join("ann"), uuid.uuid4().bytes
    with joined(uri, session) as ann:
        ann.new_trial(parameters={"text": "x" * 60_000})
    assert served.server is not None
    store = served.server.engine.store

    def state() -> SessionState:
        with store.snapshot() as view:
            found = view.session(session)
        assert found is not None
        return found

    wait_until(lambda: state().last_reply is None, "the goodbye")
    assert (state().user, state().last_seq) == ("ann", 1)
    with joined(uri, session) as ann:
        assert ann.seq == 1


@pytest.mark.parametrize("per_user", [1, 2])
def test_a_user_may_not_take_all_connections(settings: Settings, per_user: int) -> None:
    with serving(limited(settings, connections_per_user=per_user)) as served:
        uri = served.join("ann")
        with ExitStack() as stack:
            for _ in range(per_user):
                stack.enter_context(joined(uri))
            with pytest.raises(TooBusy, match="limit for one user"):
                Joined(uri)
            with joined(served.join("bob")) as bob:
                assert bob.new_trial()
        wait_until(lambda: able_to_join(uri), "a place for ann")


def able_to_join(uri: str) -> bool:
    try:
        with joined(uri):
            return True
    except TooBusy:
        return False


def is_connected(served: Served, user: str) -> bool:
    """Whether the server has a session of that user."""
    assert served.server is not None
    return any(each.username == user for each in served.server.sessions)


def move_on(served: Served, stuck: str, move: Callable[[float], None]) -> None:
    """Move bytes with the time that has passed, for half as long again as a stuck user is there."""
    begun = time.monotonic()
    gone: list[float] = []

    def is_over() -> bool:
        passed = time.monotonic() - begun
        move(passed)
        if not gone and not is_connected(served, stuck):
            gone.append(passed)
        return bool(gone) and passed > 1.5 * gone[0]

    wait_until(is_over, f"the end of {stuck}'s connection, and half as long again")


@pytest.mark.parametrize("trials", [1, 10], ids=["what the kernel holds", "more than it holds"])
def test_a_peer_that_reads_slowly_is_not_dropped(settings: Settings, trials: int) -> None:
    # One who reads nothing has lost its connection in the middle, and pings wait behind what is not read.
    with serving(limited(settings, stalled_seconds=1.5, silence_seconds=1.0, watch_seconds=0.1)) as served:
        with joined(served.join("ann")) as ann:
            for _ in range(trials):
                ann.new_trial(parameters={str(number): "x" * 60_000 for number in range(15)})
        with peer(served) as slow, peer(served) as stuck:
            slow.log_in(served.join("bob", Role.READER))
            stuck.log_in(served.join("cid", Role.READER))
            for each in (slow, stuck):
                each.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
                each.protocol.send_call(1, None, "fetch_trials", {"query": {}})
                each.flush()
            read = 0

            def read_on(passed: float) -> None:
                nonlocal read
                while read < 120_000 * passed:
                    read += len(slow.socket.recv(16_384))

            move_on(served, "cid", read_on)
            assert is_connected(served, "bob")


def test_a_frame_that_is_begun_and_not_finished_ends_the_connection(settings: Settings) -> None:
    with serving(limited(settings, stalled_seconds=0.5)) as served, peer(served) as half:
        half.log_in(served.join("ann"))
        half.socket.sendall((1000).to_bytes(4, "big") + b"x" * 10)
        assert half.ended()


def test_a_frame_that_comes_slowly_is_taken(settings: Settings) -> None:
    strict = limited(settings, stalled_seconds=1.0, watch_seconds=0.1)
    with serving(strict) as served, peer(served) as slow, peer(served) as stuck:
        slow.log_in(served.join("ann", Role.READER))
        stuck.log_in(served.join("bob", Role.READER))
        slow.protocol.send_call(1, None, "fetch_trials", {"query": {"name": "x" * 50_000}})
        data = slow.protocol.data_to_send()
        stuck.socket.sendall(data[:10])
        sent = 0

        def send_on(passed: float) -> None:
            nonlocal sent
            until = 1 + int(4 * SLOWEST_BYTES_PER_S * passed)
            slow.socket.sendall(data[sent:until])
            sent = until

        move_on(served, "bob", send_on)
        slow.socket.sendall(data[sent:])
        assert slow.expect(ResultReceived).value == []
