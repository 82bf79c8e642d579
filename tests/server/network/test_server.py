"""A complete server with its users, sessions and drain, over real TLS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import ssl
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from engine_calls import Caller, points
from made_certificates import make_certificate
from running_server import Served, busy_disk, limited, serving
from socket_peers import SECONDS, Joined, Peer, joined, peer
from track_protocol.errors import (
    AuthenticationError,
    ConnectionLost,
    PermissionDenied,
    RemoteProtocolError,
    ServerUnreachable,
    SessionFenced,
    StoreError,
    StoreInUse,
    TooBusy,
    TrackError,
    UsageError,
)
from track_protocol.locations import credential_file
from track_protocol.security.tls import pin_of_certificate
from track_protocol.security.tokens import new_token
from track_protocol.wire.batch import Batch, CallOp
from track_protocol.wire.columns import column_from_wire, unpack
from track_protocol.wire.connection import State
from track_protocol.wire.events import AckReceived, CloseReceived, Event, ResultReceived
from track_protocol.wire.frames import FrameKind, encode_frame
from track_protocol.wire.link import Acked
from track_protocol.wire.login import ClientLogin
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore
from track_server.app import Settings
from track_server.network.limits import Limits
from track_server.network.runtime import read_server_record
from track_server.network.server import SocketServer
from track_server.network.session import Session
from waiting import wait_until

E = TypeVar("E", bound=Event)

pytestmark = pytest.mark.usefixtures("own_folders")

BLINK = 0.02


def ending(link: Joined) -> TrackError:
    """The error that an open link ends with."""
    with pytest.raises(TrackError) as caught:
        link.link.poll(SECONDS)
    return caught.value


def logged_in(served: Served) -> list[Session]:
    return [session for session in server_of(served).sessions if session.role is not None]


def server_of(served: Served) -> SocketServer:
    assert served.server is not None
    return served.server


# -- made from ------------------------------------------------------------------------------------


def test_a_server_is_made_from_a_uri_or_from_settings(settings: Settings) -> None:
    assert SocketServer("socket://localhost:0?backend=ephemeral:").settings.backend == "ephemeral:"
    assert SocketServer(settings=settings).settings is settings
    with pytest.raises(UsageError, match="one of them"):
        SocketServer()
    with pytest.raises(UsageError, match="one of them"):
        SocketServer("socket://localhost", settings=settings)


def test_what_only_a_started_server_has_cannot_be_asked_before(settings: Settings) -> None:
    with pytest.raises(UsageError, match="has not been started"):
        assert SocketServer(settings=settings).pin


async def awaited(server: SocketServer) -> None:
    await server.run_server()


@pytest.mark.parametrize(
    "run",
    [
        lambda server: server.run_server().close(),
        lambda server: asyncio.run(server.run_server()),
        lambda server: asyncio.run(awaited(server)),
    ],
    ids=["plainly", "as a coroutine", "awaited"],
)
def test_run_server_serves_until_close(
    settings: Settings, tmp_path: Path, run: Callable[[SocketServer], None]
) -> None:
    server = SocketServer(settings=replace(settings, ready_file=tmp_path / "ready"))
    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(run, server)
        wait_until((tmp_path / "ready").exists, "the ready file")
        server.close()
        assert ended.result(SECONDS) is None


def test_close_before_the_start_is_harmless(settings: Settings) -> None:
    SocketServer(settings=settings).close()


# -- what a server leaves for others -------------------------------------------------------------


def test_the_ready_file_reports_host_port_pin_and_pid(settings: Settings, tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    with serving(replace(settings, ready_file=ready)) as served:
        reported = json.loads(ready.read_text())
        assert reported == {"host": "127.0.0.1", "port": served.port, "pin": served.pin, "pid": os.getpid()}
        assert list(tmp_path.glob(".ready*")) == []


def test_a_ready_file_of_an_earlier_server_is_removed_before_this_one_is_ready(
    settings: Settings, tmp_path: Path
) -> None:
    ready = tmp_path / "ready.json"
    ready.write_text("{}")
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(TrackError), serving(replace(settings, ready_file=ready)):
        pass
    assert not ready.exists()


def test_the_server_record_names_the_real_port(served: Served) -> None:
    record = read_server_record(served.home)
    assert record is not None
    assert (record.port, record.pin, record.pid) == (served.port, served.pin, os.getpid())


def test_the_credential_file_lives_as_long_as_the_server(settings: Settings) -> None:
    with serving(settings) as served:
        path = credential_file(Path(os.environ["XDG_RUNTIME_DIR"]), served.port)
        assert path.exists()
    assert not path.exists()


def test_a_server_that_cannot_leave_credentials_serves_all_the_same(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path(os.environ["XDG_RUNTIME_DIR"], "track").write_text("in the way")
    with serving(settings) as served, joined(served.join("ann")) as ann:
        assert ann.new_trial()
    assert "you need a join URI even on this machine" in caplog.text


def test_a_server_whose_ready_file_cannot_be_written_does_not_start_and_leaves_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    store = replace(settings, backend=f"file:{tmp_path / 'runs.json'}")
    with (
        pytest.raises(StoreError, match="cannot be written"),
        serving(replace(store, ready_file=tmp_path / "none" / "ready")),
    ):
        pass
    assert list(Path(os.environ["XDG_RUNTIME_DIR"], "track").iterdir()) == []
    with serving(store) as served, joined(served.join("ann")) as ann:
        assert ann.new_trial()


def test_a_second_server_on_the_same_store_is_refused_with_the_first_ones_pid_and_port(
    settings: Settings, tmp_path: Path
) -> None:
    first = replace(settings, backend=f"sqlite:{tmp_path / 'runs.db'}")
    with serving(first) as served:
        with pytest.raises(StoreInUse) as caught, serving(replace(first, home=tmp_path / "second")):
            pass
        assert f"pid {os.getpid()}" in str(caught.value)
        assert f":{served.port}" in str(caught.value)
        with joined(served.join("ann")) as ann:
            assert ann.new_trial()


def test_an_own_certificate_is_shown_and_pinned(settings: Settings, tmp_path: Path) -> None:
    made = make_certificate()
    certificate, key = made.write(tmp_path)
    with serving(replace(settings, certificate=certificate, key=key)) as served:
        assert served.pin == pin_of_certificate(made.der)
        with joined(served.join("ann")) as ann:
            assert ann.opened.role == "writer"


# -- users ---------------------------------------------------------------------------------------


def test_a_user_added_while_the_server_runs_may_log_in_at_once(served: Served) -> None:
    with joined(served.join("ann", Role.READER)) as ann:
        assert ann.opened.role == "reader"


def test_the_live_session_of_a_removed_user_is_dropped(settings: Settings) -> None:
    with (
        serving(limited(settings, watch_seconds=BLINK)) as served,
        joined(served.join("ann")) as ann,
        joined(served.join("eve")) as eve,
    ):
        UserStore(served.home).remove("ann")
        assert isinstance(ending(ann), PermissionDenied)
        assert eve.new_trial()


def test_a_removed_user_is_dropped_though_another_logs_in_just_then(settings: Settings) -> None:
    with serving(limited(settings, watch_seconds=0.5)) as served, joined(served.join("ann")) as ann:
        eve = served.join("eve")
        UserStore(served.home).remove("ann")
        with joined(eve):
            assert isinstance(ending(ann), PermissionDenied)


def test_the_session_of_a_user_with_a_new_token_is_dropped_too(settings: Settings, tmp_path: Path) -> None:
    UserStore(tmp_path / "other").add("ann", Role.WRITER)
    with serving(limited(settings, watch_seconds=BLINK)) as served, joined(served.join("ann")) as ann:
        os.replace(tmp_path / "other" / "users.json", served.home / "users.json")
        assert isinstance(ending(ann), PermissionDenied)


def test_users_of_others_that_change_end_no_session(settings: Settings) -> None:
    with serving(limited(settings, watch_seconds=BLINK)) as served, joined(served.join("ann")) as ann:
        for number in range(3):
            served.join(f"other{number}")
            assert ann.link.poll(0.1) == []
        assert ann.new_trial()


def test_a_removed_user_cannot_log_in(served: Served) -> None:
    uri = served.join("ann")
    UserStore(served.home).remove("ann")
    with pytest.raises(AuthenticationError):
        Joined(uri)


def test_a_user_who_is_replaced_during_the_login_is_refused(served: Served) -> None:
    uri = served.join("ann")
    users = UserStore(served.home)

    class Meanwhile(Peer):
        def flush(self) -> None:
            if self.protocol.state is State.VERDICT:  # the proof is on its way
                users.remove("ann")
                users.add("ann", Role.ADMIN)
            super().flush()

    with peer(served) as plain:
        ann = Meanwhile(plain.socket, plain.binding)
        with pytest.raises(AuthenticationError, match="removed"):
            ann.log_in(uri)


def test_a_users_file_that_is_damaged_meanwhile_ends_neither_the_server_nor_its_sessions(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(limited(settings, watch_seconds=BLINK)) as served, joined(served.join("ann")) as ann:
        uri = served.join("eve")
        intact = (served.home / "users.json").read_bytes()
        (served.home / "users.json").write_bytes(b"{")
        wait_until(lambda: "users cannot be read" in caplog.text, "the server notices")
        with pytest.raises(TrackError):
            Joined(uri)
        assert ann.new_trial()
        (served.home / "users.json").write_bytes(intact)
        with joined(uri) as eve:
            assert eve.new_trial()


# -- sessions ------------------------------------------------------------------------------------


def test_a_newer_connection_takes_a_session_over_and_ends_the_older(served: Served) -> None:
    uri, session = served.join("ann"), uuid.uuid4().bytes
    with joined(uri, session) as older:
        older.new_trial()
        with joined(uri, session) as newer:
            ended = ending(older)
            assert isinstance(ended, SessionFenced)
            assert "took over" in str(ended)
            assert newer.opened.last_seq == 1
            assert newer.new_trial()["uid"] == "h_1"


def test_what_the_older_connection_had_sent_is_stored_once(served: Served) -> None:
    uri, session = served.join("ann"), uuid.uuid4().bytes
    with joined(uri, session) as older:
        id = older.new_trial()["id"]
        with busy_disk(served) as go_on, ThreadPoolExecutor(1) as thread:
            older.send(points(id, loss=[1.0, 2.0]))
            wait_until(lambda: older.link.poll(0.05) == [] and not _idle(served), "the server has the batch")
            coming = thread.submit(Joined, uri, session)
            wait_until(lambda: len(logged_in(served)) == 2, "the newer connection is known")
            go_on()
            newer = coming.result(SECONDS)
        assert newer.opened.last_seq == 3
        newer.link.send_batch(Batch(2, 3, [points(id, loss=[1.0, 2.0, 3.0])]))
        assert newer.next() == Acked(4)
        answer = newer.read("fetch_metrics", trial=id, name="loss")
        newer.link.close()
    assert list(unpack(column_from_wire(answer["values"], 3))) == [1.0, 2.0, 3.0]


def test_a_reader_takes_no_session_over_durably(served: Served) -> None:
    session = uuid.uuid4().bytes
    with joined(served.join("rea", Role.READER), session) as reader:
        assert reader.opened.last_seq == 0
        with server_of(served).engine.store.snapshot() as view:
            assert view.session(session) is None


def test_a_holder_that_was_not_informed_is_fenced_all_the_same(served: Served) -> None:
    """As with two engines: neither ends the older connection, and the store refuses it."""
    session = uuid.uuid4().bytes
    with joined(served.join("ann"), session) as ann:
        id = ann.new_trial()["id"]
        newer = Caller(server_of(served).engine, user="ann", sid=session)
        assert newer.attach().last_seq == 1
        ann.send(points(id, loss=[1.0]))
        assert isinstance(ending(ann), SessionFenced)
        assert newer.log(points(id, loss=[2.0])) == Acked(2)


def test_a_call_of_a_holder_that_was_not_informed_ends_its_connection_unanswered(served: Served) -> None:
    session = uuid.uuid4().bytes
    with joined(served.join("ann"), session) as ann:
        Caller(server_of(served).engine, user="ann", sid=session).attach()
        with pytest.raises(SessionFenced, match="taken this session over"):
            ann.new_trial()


def test_connections_that_never_finish_their_handshake_leave_nothing_behind(settings: Settings) -> None:
    with serving(settings) as served:
        for garbage in (b"\x16\x03\x01\x00\x05hello", b"GET / HTTP/1.1\r\n\r\n", b""):
            with socket.create_connection((served.host, served.port), SECONDS) as rude:
                rude.sendall(garbage)
                rude.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    while rude.recv(65_536):
                        pass
        with joined(served.join("ann")) as ann:
            assert ann.new_trial()
            assert len(server_of(served).sessions) == 1


def test_a_peer_that_has_disconnected_is_forgotten(served: Served) -> None:
    with joined(served.join("ann")):
        pass
    server = server_of(served)
    wait_until(lambda: not server.sessions, "the session is forgotten")


def test_unauthenticated_peers_over_the_limit_wait_and_then_log_in(settings: Settings) -> None:
    with serving(replace(settings, limits=Limits(unauthenticated_per_address=1))) as served:
        uri = served.join("ann")
        with ThreadPoolExecutor(1) as thread, peer(served) as unauthenticated:
            unauthenticated.greet()
            waiting = thread.submit(Joined, uri)
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
            unauthenticated.socket.close()
            waiting.result(SECONDS).link.close()


def test_who_has_logged_in_is_not_unauthenticated(settings: Settings) -> None:
    with serving(replace(settings, limits=Limits(unauthenticated_per_address=1))) as served:
        uri = served.join("ann")
        with joined(uri), joined(uri) as second:
            assert second.new_trial()


def test_connections_over_the_limit_are_rejected_until_one_ends(settings: Settings) -> None:
    with serving(replace(settings, limits=Limits(connections=1))) as served:
        uri = served.join("ann")
        with joined(uri) as ann:
            with pytest.raises(ServerUnreachable):
                Joined(uri)
            assert ann.new_trial()

        def admitted() -> bool:
            with contextlib.suppress(ServerUnreachable), joined(uri):
                return True
            return False

        wait_until(admitted, "the next one comes in")


# -- a function that decides who may log in -------------------------------------------------------


class OwnRules(SocketServer):
    """Knows one password."""

    def authenticate(self, reader: Session, username: str, password: str) -> bool | str | Role:
        assert not self.is_authenticated(reader)
        assert self.get_username(reader) is None
        return password == "open sesame" and ("reader" if username == "bob" else True)


class AsynchronousRules(SocketServer):
    """Asks somebody who takes a moment."""

    async def authenticate(  # type: ignore[override] # the documented hook may be a coroutine
        self, reader: Session, username: str, password: str
    ) -> bool:
        await asyncio.sleep(0)
        return password == "open sesame"


@pytest.mark.parametrize("rules", [OwnRules, AsynchronousRules])
def test_a_servers_own_function_decides_who_may_log_in(settings: Settings, rules: type[SocketServer]) -> None:
    with serving(settings, rules) as served:
        with joined(served.uri("ali", "open sesame", login="password")) as ali:
            assert ali.opened.role == "writer"
            assert ali.new_trial()
        with pytest.raises(AuthenticationError, match="not accepted"):
            Joined(served.uri("ali", "open barley", login="password"))


def test_a_servers_own_function_may_name_the_role(settings: Settings) -> None:
    with (
        serving(settings, OwnRules) as served,
        joined(served.uri("bob", "open sesame", login="password")) as bob,
    ):
        assert bob.opened.role == "reader"


@pytest.mark.parametrize(
    ("secret", "options"),
    [
        ("open sesame", {}),
        ("open sesame", {"login": "password", "pin": ""}),
        (new_token(), {"login": "password"}),
    ],
    ids=["not requested", "no key is known", "it is a token"],
)
def test_a_password_is_sent_only_where_the_user_asks_for_it_and_the_key_is_known(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, secret: str, options: dict[str, str]
) -> None:
    with serving(settings, OwnRules) as served:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        with pytest.raises(AuthenticationError, match="pin=sha256"):
            Joined(served.uri("ali", secret, **options))


def test_who_is_who_is_known_after_the_login(settings: Settings) -> None:
    with serving(settings, OwnRules) as served, joined(served.uri("ali", "open sesame", login="password")):
        server = server_of(served)
        (session,) = server.sessions
        assert server.get_username(session) == "ali"
        assert server.is_authenticated(session)


def test_the_default_function_knows_the_users_of_the_store(served: Served) -> None:
    token = UserStore(served.home).add("ann", Role.READER)
    server = server_of(served)
    unused: Session = None  # type: ignore[assignment] # the default function does not look at it
    assert server.authenticate(unused, "ann", token) is Role.READER
    assert server.authenticate(unused, "ann", new_token()) is False
    assert server.authenticate(unused, "eve", token) is False


def test_users_of_the_store_do_not_matter_to_a_server_with_rules_of_its_own(settings: Settings) -> None:
    with (
        serving(limited(settings, watch_seconds=BLINK), OwnRules) as served,
        joined(served.uri("ali", "open sesame", login="password")) as ali,
    ):
        served.join("somebody")
        assert ali.link.poll(0.2) == []
        assert ali.new_trial()


class Broken(SocketServer):
    """Has a fault."""

    def authenticate(self, reader: Session, username: str, password: str) -> bool:
        raise RuntimeError(f"no connection to the directory for {username}")


def test_a_function_that_raises_rejects_the_login_and_does_not_end_the_server(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(settings, Broken) as served:
        for _ in range(2):
            with pytest.raises(TrackError, match="failed during the login"):
                Joined(served.uri("ali", "open sesame", login="password"))
    assert "no connection to the directory" in caplog.text
    assert "open sesame" not in caplog.text


class Slow(SocketServer):
    """Never decides."""

    async def authenticate(  # type: ignore[override] # the documented hook may be a coroutine
        self, reader: Session, username: str, password: str
    ) -> bool:
        await asyncio.get_running_loop().create_future()
        return True


def test_a_peer_that_sends_on_while_its_login_is_decided_is_closed(settings: Settings) -> None:
    with serving(settings, Slow) as served, peer(served) as hasty:
        hasty.greet()
        hasty.protocol.log_in(ClientLogin("ali", "open sesame", hasty.binding, may_reveal=True))
        hasty.flush()
        (session,) = server_of(served).sessions
        wait_until(lambda: session._login_task is not None, "the login is under way")
        hasty.socket.sendall(encode_frame(FrameKind.PING, [1]))
        error = hasty.expect(CloseReceived)
        assert error.code == RemoteProtocolError.code
        assert hasty.ended()


def test_a_login_that_is_never_decided_is_ended(settings: Settings) -> None:
    impatient = replace(settings, limits=Limits(login_seconds=0.2))
    with serving(impatient, Slow) as served, pytest.raises(TooBusy):
        Joined(served.uri("ali", "open sesame", login="password"))


class Gated(SocketServer):
    """Answers a login once `go_on` is set."""

    go_on = threading.Event()

    def authenticate(self, reader: Session, username: str, password: str) -> bool:
        return self.go_on.wait(SECONDS)


def test_a_login_that_comes_too_late_takes_no_session_over(settings: Settings) -> None:
    session = uuid.uuid4().bytes
    Gated.go_on.set()
    # Enough for the first one's login, on a busy machine too.
    hurried = replace(settings, limits=Limits(login_seconds=2.0))
    with (
        serving(hurried, Gated) as served,
        joined(served.uri("ali", "open sesame", login="password"), session) as older,
        peer(served) as late,
    ):
        Gated.go_on.clear()
        late.greet(session)
        late.protocol.log_in(ClientLogin("ali", "open sesame", late.binding, may_reveal=True))
        late.flush()
        (slow,) = (s for s in server_of(served).sessions if s.role is None)
        late.expect(CloseReceived)  # the login has taken too long
        Gated.go_on.set()
        wait_until(lambda: slow._login_task is None, "it is decided")
        assert older.new_trial()


# -- the end -------------------------------------------------------------------------------------


def stop(served: Served) -> None:
    """Begin to drain."""
    server_of(served).close()


def test_batches_in_flight_are_answered_before_the_end(settings: Settings, tmp_path: Path) -> None:
    stored = replace(settings, backend=f"sqlite:{tmp_path / 'runs.db'}")
    with serving(stored) as served, joined(served.join("ann")) as ann:
        id = ann.new_trial()["id"]
        with busy_disk(served) as go_on:
            ann.send(CallOp(0, "add_trial_tags", {"trial": id, "tags": {"late": True}}))
            wait_until(lambda: ann.link.poll(0.05) == [] and not _idle(served), "the server has the batch")
            stop(served)
            go_on()
            ann.next()
            assert isinstance(ending(ann), ConnectionLost)
    with serving(stored) as served, joined(served.join("eve")) as eve:
        assert eve.read("get_trial", trial={"id": id})[0]["tags"] == {"late": True}


def test_reads_in_flight_are_answered_before_the_end(settings: Settings) -> None:
    with serving(settings) as served, peer(served) as ann:
        ann.log_in(served.join("ann"))
        with busy_disk(served) as go_on:
            ann.protocol.send_batch(Batch(1, 1, []))
            ann.protocol.send_call(1, None, "fetch_trials", {"query": {}})
            ann.flush()
            wait_until(lambda: _in_flight(served) == 2, "the server has both")
            stop(served)
            go_on()
            ann.socket.settimeout(SECONDS)
            ann.expect(AckReceived)
            assert ann.expect(ResultReceived).value == []


def _idle(served: Served) -> bool:
    return all(session.idle for session in server_of(served).sessions)


def _in_flight(served: Served) -> int:
    return sum(session.requests_in_flight for session in server_of(served).sessions)


def test_what_comes_while_the_server_stops_is_not_taken(settings: Settings) -> None:
    with serving(settings) as served, joined(served.join("ann")) as ann:
        id = ann.new_trial()["id"]
        with busy_disk(served) as go_on:
            ann.send(points(id, loss=[1.0]))
            wait_until(lambda: ann.link.poll(0.05) == [] and not _idle(served), "the server has the batch")
            stop(served)
            wait_until(lambda: all(s.draining for s in server_of(served).sessions), "the server stops")
            ann.send(points(id, loss=[2.0]))
            assert ann.link.poll(0.1) == []
            go_on()
            assert ann.next() == Acked(2)
            assert isinstance(ending(ann), ConnectionLost)


def test_no_client_can_connect_while_the_server_stops(settings: Settings) -> None:
    with serving(settings) as served:
        uri = served.join("ann")
        with joined(uri) as ann, busy_disk(served):
            ann.send(CallOp(0, "add_trial_tags", {"trial": "t", "tags": {}}))
            wait_until(lambda: ann.link.poll(0.05) == [] and not _idle(served), "the server has the batch")
            stop(served)
            wait_until(lambda: all(s.draining for s in server_of(served).sessions), "the server stops")
            with pytest.raises(ServerUnreachable):
                Joined(uri)


def waiting_server(settings: Settings, seconds: float) -> AbstractContextManager[Served]:
    """A server that waits so long for what is in flight."""
    return serving(replace(settings, limits=Limits(drain_seconds=seconds)))


def test_a_peer_that_does_not_end_is_dropped_after_a_while(settings: Settings) -> None:
    with (
        waiting_server(settings, 0.1) as served,
        joined(served.join("ann")) as ann,
        busy_disk(served) as go_on,
    ):
        ann.send(CallOp(0, "add_trial_tags", {"trial": "t", "tags": {}}))
        wait_until(lambda: ann.link.poll(0.05) == [] and not _idle(served), "the server has the batch")
        stop(served)
        assert isinstance(ending(ann), ConnectionLost)
        go_on()


def test_a_second_close_does_not_wait(settings: Settings) -> None:
    with (
        waiting_server(settings, 3600) as served,
        joined(served.join("ann")) as ann,
        busy_disk(served) as go_on,
    ):
        ann.send(CallOp(0, "add_trial_tags", {"trial": "t", "tags": {}}))
        wait_until(lambda: ann.link.poll(0.05) == [] and not _idle(served), "the server has the batch")
        stop(served)
        stop(served)
        assert isinstance(ending(ann), ConnectionLost)
        go_on()


def test_a_close_behind_the_end_of_the_loop_is_harmless(settings: Settings) -> None:
    # Fails when `SocketServer.close` does not mind that its loop is closed.
    with serving(settings) as served:
        server = served.server
    assert server is not None
    server.close()


def test_a_peer_that_reads_nothing_does_not_prevent_the_server_from_stopping(settings: Settings) -> None:
    with serving(settings) as served, peer(served) as deaf:
        deaf.log_in(served.join("deaf"))
        stop(served)


# -- addresses -----------------------------------------------------------------------------------


def test_a_port_in_use_is_named_with_what_to_do(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TrackError, match=f"127.0.0.1:{port}.*choose another port"):
            asyncio.run(SocketServer(settings=replace(settings, port=port)).start())
        assert not settings.home.exists()


@pytest.mark.parametrize("host", ["nonsense.invalid", "not a host", "300.1.1.1"])
def test_an_address_that_is_none_is_a_mistake_of_the_caller(settings: Settings, host: str) -> None:
    with pytest.raises(UsageError, match="give an address of this machine"):
        asyncio.run(SocketServer(settings=replace(settings, host=host)).start())


def test_an_ipv6_address_can_be_listened_on(settings: Settings) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")
    with serving(replace(settings, host="::1")) as served, joined(served.join("ann")) as ann:
        assert ann.new_trial()


def test_everything_on_the_wire_is_tls_of_the_required_kind(served: Served) -> None:
    for version in (ssl.TLSVersion.TLSv1_2,):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = version
        with (
            socket.create_connection((served.host, served.port), SECONDS) as plain,
            pytest.raises(ssl.SSLError),
            context.wrap_socket(plain),
        ):
            pass


def test_no_secret_is_logged(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(settings) as served:
        uri = served.join("ann")
        with joined(uri):
            pass
        with pytest.raises(AuthenticationError):
            Joined(served.uri("ann", "trk_" + "a" * 32))
    assert "trk_" not in caplog.text
