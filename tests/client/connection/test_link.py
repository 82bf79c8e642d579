"""The client's link to a server, against real servers, false ones and none at all."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import socket
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fake_servers import FakePeer, fake_server, relaying_server
from made_certificates import make_certificate
from running_server import Served, serving
from socket_peers import SECONDS, Joined, joined
from track.connection.address import SocketAddress
from track.connection.link import SocketLink
from track.connection.trust import KnownServers
from track_protocol.errors import (
    AuthenticationError,
    ConnectionLost,
    EncryptionMismatch,
    PinMismatch,
    RemoteProtocolError,
    ServerUnreachable,
    TooBusy,
    TrackError,
)
from track_protocol.locations import credential_file
from track_protocol.security.scram import make_verifier
from track_protocol.security.tls import endpoint_binding
from track_protocol.security.tokens import new_token
from track_protocol.wire.batch import Batch
from track_protocol.wire.codec import decode
from track_protocol.wire.events import CloseReceived, Event, HelloReceived, PingReceived
from track_protocol.wire.frames import FrameKind, FrameReader, encode_frame, frame_fields
from track_protocol.wire.link import Acked
from track_protocol.wire.login import ServerLogin
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore
from track_server.app import Settings
from waiting import wait_until
from wire_recorders import recording_tls_server

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(backend="ephemeral:", port=0, home=tmp_path / "home")


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    with serving(settings) as served:
        yield served


@pytest.fixture
def far_away(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the server left for its own user is out of the client's reach, as on another machine."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def attempt(uri: str, seconds: float = SECONDS) -> None:
    """Open a link and close it."""
    link = SocketLink(SocketAddress(uri))
    try:
        link.open(uuid.uuid4().bytes, seconds)
    finally:
        link.close()


def refusal(uri: str) -> TrackError:
    """The error that opening a link ends with."""
    with pytest.raises(TrackError) as caught:
        attempt(uri)
    return caught.value


# -- logging in ----------------------------------------------------------------------------------


def test_a_token_opens_the_link(served: Served) -> None:
    with joined(served.join("ann", Role.WRITER)) as ann:
        assert (ann.opened.last_seq, ann.opened.role) == (0, "writer")


def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(served: Served) -> None:
    served.join("ann")
    wrong = refusal(served.uri("ann", new_token()))
    unknown = refusal(served.uri("nobody", new_token()))
    assert type(wrong) is type(unknown) is AuthenticationError
    assert str(wrong) == str(unknown)
    assert wrong.exit_code == 4


def test_a_login_without_a_user_name_is_explained(served: Served) -> None:
    assert "the login lacks a token" in str(refusal(f"socket://ann@127.0.0.1:{served.port}"))


def test_a_token_may_come_from_the_environment(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACK_TOKEN", UserStore(served.home).add("ann", Role.WRITER))
    with joined(f"socket://ann@127.0.0.1:{served.port}?pin={served.pin}") as ann:
        assert ann.opened.role == "writer"


def test_a_password_of_a_persons_own_works_toward_a_pinned_server(served: Served) -> None:
    UserStore(served.home).add("ann", Role.READER, "correct horse")
    with joined(served.uri("ann", "correct horse")) as ann:
        assert ann.opened.role == "reader"


def test_a_password_without_a_pin_is_refused_before_anything_is_connected(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(AuthenticationError, match="pin=sha256"):
            attempt(f"socket://ann:correct%20horse@127.0.0.1:{port}")
        assert select.select([listener], [], [], 0) == ([], [], [])


def test_a_password_in_plain_text_is_refused_before_anything_is_connected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(AuthenticationError, match="use a token"):
            attempt(f"socket://ann:horse@127.0.0.1:{port}?security_layer=plaintext")
        assert select.select([listener], [], [], 0) == ([], [], [])


# -- whose server is it --------------------------------------------------------------------------


def test_a_wrong_pin_stops_the_client_before_it_sends_a_byte(tmp_path: Path) -> None:
    certificate, key = make_certificate().write(tmp_path)
    other = "sha256:" + "A" * 43
    with recording_tls_server(certificate, key) as recording:
        with pytest.raises(PinMismatch):
            attempt(f"socket://ann:{new_token()}@127.0.0.1:{recording.port}?pin={other}")
        assert recording.ended.wait(SECONDS)
        assert recording.connections == 1
        assert recording.upward == b""


@pytest.mark.usefixtures("far_away")
def test_a_server_that_proved_itself_is_saved_by_its_pin(served: Served) -> None:
    attempt(served.join("ann", pin=""))
    assert KnownServers().saved_pins([f"localhost:{served.port}"]) == {f"localhost:{served.port}": served.pin}


@pytest.mark.usefixtures("far_away")
def test_a_server_that_did_not_prove_itself_is_not_saved(served: Served) -> None:
    refusal(served.uri("ann", new_token(), pin=""))
    assert not KnownServers().saved_pins([f"localhost:{served.port}"])


def test_another_server_at_a_saved_address_gets_no_byte(tmp_path: Path) -> None:
    certificate, key = make_certificate().write(tmp_path)
    with recording_tls_server(certificate, key) as recording:
        KnownServers().save(f"localhost:{recording.port}", "sha256:" + "A" * 43)
        with pytest.raises(PinMismatch, match="known_servers"):
            attempt(f"socket://ann:{new_token()}@127.0.0.1:{recording.port}")
        assert recording.ended.wait(SECONDS)
        assert recording.upward == b""


def test_a_server_that_cannot_prove_itself_is_not_trusted(tmp_path: Path) -> None:
    certificate, key = make_certificate().write(tmp_path)
    binding = endpoint_binding(ssl.PEM_cert_to_DER_cert(certificate.read_text()))

    def pretend(peer: FakePeer) -> None:
        """Let anybody in, in the hope that the client talks."""
        peer.hear(1)
        peer.protocol.send_server_hello("fake", ServerLogin(binding))
        peer.flush()
        peer.hear(2)
        peer.protocol.send_challenge(None, bytes(32))
        peer.flush()
        with pytest.raises(AuthenticationError):
            peer.listen()  # the proof of a user whom it does not know
        peer.socket.sendall(encode_frame(FrameKind.READY, ["v=" + "A" * 43 + "=", 0, "g", "writer"]))
        peer.listen_to_the_end()

    with fake_server(pretend, certificate, key) as port:
        with pytest.raises(AuthenticationError, match="could not prove"):
            attempt(f"socket://ann:{new_token()}@127.0.0.1:{port}")
        assert not KnownServers().saved_pins([f"localhost:{port}"])


def test_a_relayed_login_is_refused(served: Served, tmp_path: Path) -> None:
    certificate, key = make_certificate().write(tmp_path)
    token = UserStore(served.home).add("ann", Role.WRITER)
    with relaying_server(served.port, certificate, key) as port:
        with pytest.raises(AuthenticationError, match="bound to another TLS certificate"):
            attempt(f"socket://ann:{token}@127.0.0.1:{port}")
        assert not KnownServers().saved_pins([f"localhost:{port}"])


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN", "", "PASSWORD"])
def test_a_weaker_login_than_the_bound_one_is_refused_inside_tls(tmp_path: Path, mechanism: str) -> None:
    certificate, key = make_certificate().write(tmp_path)
    said: list[FakePeer] = []

    def weaken(peer: FakePeer) -> None:
        said.append(peer)
        peer.hear(1)
        peer.socket.sendall(encode_frame(FrameKind.HELLO, [1, "fake", mechanism]))
        peer.listen_to_the_end()

    with (
        fake_server(weaken, certificate, key) as port,
        pytest.raises(AuthenticationError, match=r"pin=|not safe"),
    ):
        attempt(f"socket://ann:{new_token()}@127.0.0.1:{port}")
    assert [type(event) for event in said[0].heard] == [HelloReceived]


def test_a_certificate_of_an_authority_is_checked_when_one_is_named(tmp_path: Path) -> None:
    certificate, key = make_certificate().write(tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = make_certificate().write(tmp_path / "other")
    settings = Settings(
        backend="ephemeral:", port=0, home=tmp_path / "home", certificate=certificate, key=key
    )
    with serving(settings) as served:
        token = UserStore(served.home).add("ann", Role.WRITER)
        attempt(f"socket://ann:{token}@localhost:{served.port}?cafile={certificate}")
        with pytest.raises(AuthenticationError, match="not signed"):
            attempt(f"socket://ann:{token}@localhost:{served.port}?cafile={other}")


# -- the server's own user -----------------------------------------------------------------------


def _credentials(port: int) -> Path:
    return credential_file(Path(os.environ["XDG_RUNTIME_DIR"]), port)


def test_the_servers_own_user_needs_no_login_on_the_same_machine(served: Served) -> None:
    with joined(f"socket://localhost:{served.port}") as own:
        assert own.opened.role == "admin"


def test_the_credential_file_is_for_its_owner_only(served: Served) -> None:
    assert _credentials(served.port).stat().st_mode & 0o777 == 0o600


def at_connect(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let something happen just before a client connects."""
    connect = socket.create_connection

    def act_and_connect(*address: Any, **options: Any) -> socket.socket:
        act()
        return connect(*address, **options)

    monkeypatch.setattr(socket, "create_connection", act_and_connect)


@pytest.mark.parametrize("plaintext", [False, True], ids=["TLS", "plain text"])
def test_credentials_of_a_killed_server_do_not_block_the_next_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, plaintext: bool
) -> None:
    # Fails when `SocketLink` logs in with what it read before it was connected.
    with serving(replace(settings, plaintext=plaintext)) as served:
        file = _credentials(served.port)
        current = json.loads(file.read_text())
        stale = {**current, "token": new_token(), "pin": current["pin"] and f"sha256:{'A' * 43}"}
        file.write_text(json.dumps(stale))
        # A server listens first, opens its store, and leaves its login before it accepts.
        at_connect(monkeypatch, lambda: file.write_text(json.dumps(current)))
        layer = "?security_layer=plaintext" if plaintext else ""
        attempt(f"socket://localhost:{served.port}{layer}")


def test_a_credential_file_that_others_may_read_is_not_used(served: Served) -> None:
    _credentials(served.port).chmod(0o644)
    with pytest.raises(AuthenticationError, match="no login"):
        attempt(f"socket://localhost:{served.port}")


@needs_root
def test_a_credential_file_of_another_user_is_not_used(served: Served) -> None:
    os.chown(_credentials(served.port), 12345, 12345)
    try:
        with pytest.raises(AuthenticationError, match="no login"):
            attempt(f"socket://localhost:{served.port}")
    finally:
        os.chown(_credentials(served.port), 0, 0)


@pytest.mark.usefixtures("far_away")
def test_without_a_login_the_error_says_where_to_get_one(served: Served) -> None:
    assert "track user add" in str(refusal(f"socket://localhost:{served.port}"))
    assert "track user add" in str(refusal("socket://example.org"))


@pytest.mark.parametrize("layer", ["AES", "plaintext"])
def test_without_any_login_no_server_is_unreachable_too(layer: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = refusal(f"socket://localhost:{port}?security_layer={layer}")
    assert type(error) is ServerUnreachable
    assert "is it running" in str(error)


def test_a_login_that_a_starting_server_writes_meanwhile_is_used(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = _credentials(served.port)
    left = credentials.read_text()
    credentials.unlink()

    def leave() -> None:
        credentials.write_text(left)
        credentials.chmod(0o600)

    at_connect(monkeypatch, leave)
    attempt(f"socket://localhost:{served.port}")


def test_the_login_of_a_killed_server_is_not_used_once_the_next_one_wrote_its_own(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = _credentials(served.port)
    of_this_server = credentials.read_text()
    token = json.loads(of_this_server)["token"]
    credentials.write_text(of_this_server.replace(token, new_token()))
    at_connect(monkeypatch, lambda: credentials.write_text(of_this_server))
    attempt(f"socket://localhost:{served.port}")


# -- who is there at all -------------------------------------------------------------------------


def test_no_server_at_the_address_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = refusal(f"socket://ann:{new_token()}@127.0.0.1:{port}")
    assert type(error) is ServerUnreachable
    assert error.exit_code == 5
    assert f"127.0.0.1:{port}" in str(error)


def test_what_can_be_no_host_name_is_unreachable() -> None:
    assert type(refusal(f"socket://ann:{new_token()}@a..b:1")) is ServerUnreachable


def test_a_silent_peer_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(ServerUnreachable):
        attempt(f"socket://ann:{new_token()}@127.0.0.1:{listener.getsockname()[1]}", 0.2)


def test_a_login_that_is_not_answered_is_unreachable_in_time(tmp_path: Path) -> None:
    certificate, key = make_certificate().write(tmp_path)
    with fake_server(FakePeer.listen_to_the_end, certificate, key) as port, pytest.raises(ServerUnreachable):
        attempt(f"socket://ann:{new_token()}@127.0.0.1:{port}", 0.5)


def test_a_server_that_hangs_up_during_the_handshake_may_be_back_soon() -> None:
    with fake_server(lambda peer: None) as port, pytest.raises(ServerUnreachable):
        attempt(f"socket://ann:{new_token()}@127.0.0.1:{port}")


def test_a_plain_text_server_is_distinguished_from_a_tls_one(tmp_path: Path) -> None:
    plain = Settings(backend="ephemeral:", port=0, home=tmp_path / "home", plaintext=True)
    with serving(plain) as served, pytest.raises(EncryptionMismatch, match="does not use TLS"):
        attempt(f"socket://ann:{new_token()}@127.0.0.1:{served.port}")


def test_a_tls_server_sends_a_plain_text_client_the_remedy(served: Served) -> None:
    with pytest.raises(EncryptionMismatch, match="leave security_layer=plaintext out"):
        attempt(f"socket://ann:{new_token()}@127.0.0.1:{served.port}?security_layer=plaintext")


def test_plain_text_on_loopback_works_with_a_token(tmp_path: Path) -> None:
    plain = Settings(backend="ephemeral:", port=0, home=tmp_path / "home", plaintext=True)
    with serving(plain) as served, joined(served.join("ann", pin="")) as ann:
        assert ann.new_trial()["uid"] == "h_0"


def test_garbage_instead_of_a_greeting_is_the_servers_fault(tmp_path: Path) -> None:
    def babble(peer: FakePeer) -> None:
        peer.socket.sendall(b"\0\0\0\x05hello")
        peer.listen_to_the_end()

    certificate, key = make_certificate().write(tmp_path)
    with fake_server(babble, certificate, key) as port, pytest.raises(RemoteProtocolError):
        attempt(f"socket://ann:{new_token()}@127.0.0.1:{port}")


def test_the_reason_for_which_a_server_closes_is_raised_during_the_login(tmp_path: Path) -> None:
    def refuse(peer: FakePeer) -> None:
        peer.listen()
        peer.protocol.send_close(TooBusy("come back later"))
        peer.flush()

    certificate, key = make_certificate().write(tmp_path)
    with fake_server(refuse, certificate, key) as port, pytest.raises(TooBusy, match="come back later"):
        attempt(f"socket://ann:{new_token()}@127.0.0.1:{port}")


# -- an open link --------------------------------------------------------------------------------


@pytest.fixture
def ann(served: Served) -> Iterator[Joined]:
    with joined(served.join("ann")) as ann:
        yield ann


def test_a_call_is_answered(ann: Joined) -> None:
    uid = ann.new_trial("hash")["uid"]
    assert [trial["uid"] for trial in ann.read("fetch_trials", query={"uid": uid})] == [uid]


def test_a_wake_from_another_thread_ends_a_poll(ann: Joined) -> None:
    waker = threading.Thread(target=ann.link.wake)
    waker.start()
    assert ann.link.poll(3600.0) == []
    waker.join()


def test_a_wake_before_a_poll_ends_the_poll_at_once(ann: Joined) -> None:
    for _ in range(100_000):  # more than the pipe holds
        ann.link.wake()
    assert ann.link.poll(SECONDS) == []


def test_a_wake_after_the_end_is_harmless(ann: Joined) -> None:
    ann.link.close()
    descriptors = os.pipe()
    try:
        ann.link.wake()
        assert select.select([descriptors[0]], [], [], 0)[0] == []
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_a_call_whose_answer_was_not_read_gets_it_from_the_next_connection(served: Served) -> None:
    """Fails when `close` says goodbye all the same: the server then forgets the answer."""
    uri, session = served.join("ann"), uuid.uuid4().bytes
    trial = {"id": uuid.uuid4().bytes, "hash": "h", "revision": 0}
    with joined(uri, session) as first:
        first.link.send_call(1, 1, "new_trial", {"trial": trial, "auto_increment": True})
    with joined(uri, session) as second:
        second.seq = 0
        assert second.call("new_trial", trial=trial, auto_increment=True)["uid"] == "h_0"


def test_closing_twice_is_harmless(ann: Joined) -> None:
    ann.link.close()
    ann.link.close()


def test_a_closed_link_raises_when_it_is_polled(ann: Joined) -> None:
    ann.link.close()
    with pytest.raises(ConnectionLost):
        ann.link.poll(0)


def test_a_poll_without_events_times_out(ann: Joined) -> None:
    assert ann.link.poll(0.01) == []


def test_a_server_that_stops_ends_the_link(settings: Settings) -> None:
    with serving(settings) as served:
        ann = Joined(served.join("ann"))
    try:
        with pytest.raises(ConnectionLost, match="stopping"):
            ann.link.poll(SECONDS)
    finally:
        ann.link.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_leaves_the_connection_to_its_parent(ann: Joined) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ann.link.after_fork_in_child()
            ann.link.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert ann.new_trial()["uid"] == "h_0"


@contextmanager
def logged_in(behave: Callable[[FakePeer], None], silence: float = 20) -> Iterator[SocketLink]:
    """A link to a server in plain text that lets it in and then behaves so."""
    token = new_token()
    verifier = make_verifier(token)

    def serve(peer: FakePeer) -> None:
        peer.admit(verifier)
        behave(peer)

    with fake_server(serve) as port:
        address = SocketAddress(f"socket://ann:{token}@127.0.0.1:{port}?security_layer=plaintext")
        link = SocketLink(address, silence=silence)
        try:
            link.open(uuid.uuid4().bytes, SECONDS)
            yield link
        finally:
            link.close()


def test_a_silent_server_gets_a_ping_and_is_then_lost() -> None:
    heard: list[Event] = []

    def fall_silent(peer: FakePeer) -> None:
        peer.heard = heard
        peer.listen_to_the_end()

    with (
        logged_in(fall_silent, silence=0.1) as link,
        pytest.raises(ConnectionLost, match="has sent nothing for"),
    ):
        link.poll(SECONDS)
    assert [type(event) for event in heard] == [PingReceived, CloseReceived]


@pytest.mark.parametrize("something_to_send", [True, False])
def test_why_a_server_closed_is_raised_though_the_connection_broke_just_then(something_to_send: bool) -> None:
    opened, broken = threading.Event(), threading.Event()

    def close_and_break(peer: FakePeer) -> None:
        assert opened.wait(SECONDS)
        peer.protocol.send_close(TooBusy("come back later"))
        peer.flush()
        peer.reset()
        broken.set()

    with logged_in(close_and_break) as link:
        opened.set()
        assert broken.wait(SECONDS)
        if something_to_send:
            link.send_call(1, None, "fetch_trials", {"query": {}})
        with pytest.raises(TooBusy, match="come back later"):
            link.poll(SECONDS)


def test_answers_before_a_close_are_returned_before_it() -> None:
    opened, said = threading.Event(), threading.Event()

    def answer_and_close(peer: FakePeer) -> None:
        assert opened.wait(SECONDS)
        peer.protocol.send_ack(1, [])
        peer.protocol.send_ack(2, [])
        peer.protocol.send_close(TooBusy("come back later"))
        peer.flush()
        said.set()
        peer.listen_to_the_end()

    with logged_in(answer_and_close) as link:
        opened.set()
        assert said.wait(SECONDS)
        assert link.poll(SECONDS) == [Acked(1), Acked(2)]
        with pytest.raises(TooBusy, match="come back later"):
            link.poll(SECONDS)


def test_sending_after_an_unread_close_raises_the_close() -> None:
    opened, said = threading.Event(), threading.Event()

    def answer_and_close(peer: FakePeer) -> None:
        assert opened.wait(SECONDS)
        peer.protocol.send_ack(1, [])
        peer.protocol.send_ping(1)
        peer.protocol.send_close(TooBusy("come back later"))
        peer.flush()
        said.set()
        peer.listen_to_the_end()

    with logged_in(answer_and_close) as link:
        opened.set()
        assert said.wait(SECONDS)
        assert link.poll(SECONDS) == [Acked(1)]
        # An error here would be taken for a batch or a call that can never be sent, and lose it.
        link.send_batch(Batch(2, 1, []))
        link.send_call(1, 3, "new_trial", {"trial": {}, "auto_increment": True})
        with pytest.raises(TooBusy, match="come back later"):
            link.poll(SECONDS)


def test_a_connection_that_breaks_without_a_reason_is_lost() -> None:
    opened = threading.Event()

    def break_off(peer: FakePeer) -> None:
        assert opened.wait(SECONDS)
        peer.reset()

    with logged_in(break_off) as link:
        opened.set()
        with pytest.raises(ConnectionLost, match="was lost"):
            link.poll(SECONDS)


# -- what is logged ------------------------------------------------------------------------------


def everything_in(caplog: pytest.LogCaptureFixture) -> str:
    """All that the records hold, shown or not."""
    return "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)


def test_each_state_of_a_connection_is_logged_and_never_the_token(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    uri = served.join("ann")
    token = urlsplit(uri).password
    with joined(uri) as ann:
        ann.new_trial()
    refusal(served.uri("ann", new_token()))
    said = [record.getMessage() for record in caplog.records if record.name == "track.connection"]
    steps = ["connecting to", "TLS is established", "requires SCRAM", "logging in to .* as ann"]
    steps += ["is attached to .* as writer", "closing the connection", "connecting to", "no connection to"]
    assert re.search(".*".join(steps), " ".join(said))
    assert token is not None
    assert token not in everything_in(caplog)


def test_no_message_of_a_login_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    # Fails when a message of an AUTH frame, or the event that holds it, is logged.
    caplog.set_level(logging.DEBUG)
    passed: list[bytearray] = []
    with logged_in(lambda peer: passed.extend([peer.received, peer.sent])):
        wait_until(lambda: passed, "the login is over")
    secrets = [
        field for stream in passed for message in login_messages(stream) for field in message.split(",")
    ]
    assert len(secrets) > 8
    logged = everything_in(caplog)
    assert [field for field in secrets if len(field) > 16 and field in logged] == []


def login_messages(stream: bytearray) -> Iterator[str]:
    """What the AUTH and READY frames of a stream say of the login."""
    reader = FrameReader()
    reader.feed(bytes(stream))
    while (body := reader.next_body()) is not None:
        kind, fields = frame_fields(decode(body))
        if kind in (FrameKind.AUTH, FrameKind.READY):
            yield fields[0]
