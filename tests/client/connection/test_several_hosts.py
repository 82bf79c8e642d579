"""A link whose URI names several hosts, some of which are no server, another one, or none at all."""

from __future__ import annotations

import contextlib
import logging
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fake_servers import FakePeer, fake_server
from made_certificates import make_certificate
from running_server import Served, serving
from socket_peers import SECONDS
from track.connection.address import SocketAddress
from track.connection.hosts import Host, Hosts
from track.connection.link import SocketLink
from track.connection.trust import KnownServers
from track_protocol.errors import (
    AuthenticationError,
    ConnectionLost,
    PinMismatch,
    ServerUnreachable,
)
from track_protocol.security.tokens import new_token
from track_protocol.uri import Uri
from track_protocol.wire.link import Opened
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore
from track_server.app import Settings

pytestmark = pytest.mark.usefixtures("own_folders")

NOWHERE = Host("no-such-host.invalid", 8123)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(backend="ephemeral:", port=0, home=tmp_path / "home")


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    with serving(settings) as served:
        yield served


@pytest.fixture
def move_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Take what servers left for their own user out of the client's reach, as on another machine."""
    return lambda: monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def token(served: Served) -> str:
    return UserStore(served.home).add("ann", Role.WRITER)


def host_of(served: Served) -> Host:
    return Host(served.host, served.port)


def uri_of(*hosts: Host, token: str, **query: str) -> str:
    (name, port), *more = hosts
    return Uri(
        "socket", name, port, username="ann", password=token, query=query, more_hosts=tuple(more)
    ).to_text()


class Link:
    """A link to several hosts, which tries them in the order in which they are given.

    Attributes:
        hosts: the order from the next attempt on.
        link: the link.
    """

    def __init__(self, *hosts: Host, token: str, **query: str) -> None:
        self.hosts = Hosts(hosts)
        for host in hosts[1:]:
            self.hosts.note_lost(host)
        self.link = SocketLink(SocketAddress(uri_of(*hosts, token=token, **query)), None, self.hosts)

    def open(self, seconds: float = SECONDS) -> Opened:
        """Open it, with a new session."""
        return self.link.open(uuid.uuid4().bytes, seconds)

    @property
    def peer(self) -> Host:
        """The host to which it is connected."""
        return Host(*self.link.connected_socket.getpeername())

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()


@contextmanager
def refusing() -> Iterator[Host]:
    """A port at which nothing listens, and which nobody else takes."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield Host("127.0.0.1", held.getsockname()[1])


@contextmanager
def silent(heard: list[FakePeer] | None = None) -> Iterator[Host]:
    """A host that accepts connections and says nothing."""

    def listen(peer: FakePeer) -> None:
        (heard if heard is not None else []).append(peer)
        while data := peer.socket.recv(65_536):
            peer.received += data

    with fake_server(listen) as port:
        yield Host("127.0.0.1", port)


@contextmanager
def other_key(folder: Path, heard: list[FakePeer]) -> Iterator[Host]:
    """A host whose server shows another key, and records what is sent to it inside TLS."""

    def listen(peer: FakePeer) -> None:
        heard.append(peer)
        while data := peer.socket.recv(65_536):
            peer.received += data

    with fake_server(listen, *make_certificate().write(folder)) as port:
        yield Host("127.0.0.1", port)


def test_a_host_that_refuses_is_passed_over(served: Served, token: str) -> None:
    with refusing() as nobody, Link(nobody, host_of(served), token=token, pin=served.pin) as link:
        assert link.open().role == "writer"
        assert link.peer == host_of(served)
        link.hosts.note_lost(host_of(served))
        assert link.hosts.in_turn() == [host_of(served), nobody]


def test_a_host_that_accepts_and_is_silent_leaves_time_for_the_others(served: Served, token: str) -> None:
    with silent() as one, Link(one, host_of(served), token=token, pin=served.pin) as link:
        assert link.open(4.0).role == "writer"
        assert link.peer == host_of(served)


def test_a_host_whose_name_is_unknown_is_passed_over(served: Served, token: str) -> None:
    with Link(NOWHERE, host_of(served), token=token, pin=served.pin) as link:
        assert link.open().role == "writer"


def test_a_host_with_another_key_gets_no_byte_and_is_reported(
    served: Served, token: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[FakePeer] = []
    with (
        other_key(tmp_path, heard) as impostor,
        Link(impostor, host_of(served), token=token, pin=served.pin) as link,
    ):
        assert link.open().role == "writer"
    (warning,) = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert warning.startswith(f"{impostor.shown} is not used, but another host of the URI: ")
    assert "No password or token was sent" in warning
    assert [bytes(peer.received) for peer in heard] == [b""]


def test_the_key_that_one_host_has_proved_is_expected_of_the_others(
    served: Served, token: str, tmp_path: Path, move_away: Callable[[], None]
) -> None:
    # Fails when each host is trusted at its first connection: the impostor would hear the first message.
    heard: list[FakePeer] = []
    move_away()
    with other_key(tmp_path, heard) as impostor:
        with Link(host_of(served), impostor, token=token) as link:
            link.open()
        with Link(impostor, host_of(served), token=token) as link:
            link.open()
            assert link.peer == host_of(served)
    assert [bytes(peer.received) for peer in heard] == [b""]


def test_each_host_that_proves_the_common_key_is_known_by_itself_later(
    settings: Settings, served: Served, token: str, move_away: Callable[[], None]
) -> None:
    with serving(settings) as other:
        move_away()
        for hosts in ((served, other), (other, served)):
            with Link(*map(host_of, hosts), token=token) as link:
                link.open()
        names = [f"localhost:{each.port}" for each in (served, other)]
        assert KnownServers().saved_pins(names) == dict.fromkeys(sorted(names), served.pin)


def test_the_error_names_every_host_and_its_reason(token: str, served: Served, tmp_path: Path) -> None:
    heard: list[FakePeer] = []
    with (
        refusing() as nobody,
        silent() as one,
        other_key(tmp_path, heard) as impostor,
        Link(nobody, one, impostor, NOWHERE, token=token, pin=served.pin) as link,
        pytest.raises(ServerUnreachable) as caught,
    ):
        link.open(0.5)
    start, *reasons = str(caught.value).split(f"{nobody.shown}: ")
    assert start == "none of the 4 hosts can be used. "
    said = "".join(reasons)
    assert "Connection refused" in said
    for host, reason in (
        (one, "did not finish the TLS handshake in time"),
        (impostor, "the join URI expects"),
        (NOWHERE, "no server answers at"),
    ):
        assert f"; {host.shown}: " in said
        assert reason in said.split(f"; {host.shown}: ")[1]
    assert token not in said
    assert [bytes(peer.received) for peer in heard] == [b""]


def test_only_hosts_with_another_key_are_a_failure_that_stays(
    token: str, served: Served, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with (
        other_key(tmp_path / "one", []) as one,
        other_key(tmp_path / "other", []) as other,
        Link(one, other, token=token, pin=served.pin) as link,
        pytest.raises(PinMismatch, match="none of the 2 hosts can be used"),
    ):
        link.open()


def test_a_wrong_token_is_tried_at_one_host_only(served: Served) -> None:
    # Fails when a refused login is tried at the next host: each wrong token would count as several guesses.
    heard: list[FakePeer] = []
    with silent(heard) as other:
        with (
            Link(host_of(served), other, token=new_token(), pin=served.pin) as link,
            pytest.raises(AuthenticationError) as caught,
        ):
            link.open()
        assert "none of the" not in str(caught.value)
        assert heard == []
        socket.create_connection(other).close()


def test_a_server_of_another_store_whose_key_is_unknown_does_not_refuse_for_all(
    served: Served, token: str, settings: Settings, tmp_path: Path
) -> None:
    with (
        serving(replace(settings, home=tmp_path / "another")) as other,
        Link(host_of(other), host_of(served), token=token) as link,
    ):
        assert link.open().role == "writer"
        assert link.peer == host_of(served)


def test_a_link_whose_server_is_lost_opens_at_the_next_host(
    settings: Settings, served: Served, token: str
) -> None:
    with (
        serving(settings) as other,
        Link(host_of(other), host_of(served), token=token, pin=served.pin) as link,
    ):
        link.open()
        assert link.peer == host_of(other)
        assert other.server is not None
        other.server.close()
        with pytest.raises(ConnectionLost):
            link.link.poll(SECONDS)
        assert {link.hosts.in_turn()[0] for _ in range(20)} == {host_of(served)}
        link.open()
        assert link.peer == host_of(served)


def test_the_hosts_of_the_servers_own_user_need_no_login(settings: Settings, served: Served) -> None:
    with serving(settings) as other, refusing() as nobody:
        ports = [served.port, nobody.port, other.port]
        uri = f"socket://{','.join(f'127.0.0.1:{port}' for port in ports)}"
        for _ in range(3):
            link = SocketLink(SocketAddress(uri))
            with contextlib.closing(link):
                assert link.open(uuid.uuid4().bytes, SECONDS).role == "admin"


def test_links_of_many_clients_spread_over_the_servers(
    settings: Settings, served: Served, token: str
) -> None:
    with serving(settings) as other:
        address = SocketAddress(uri_of(host_of(served), host_of(other), token=token, pin=served.pin))
        ports = set()
        for _ in range(20):
            with contextlib.closing(SocketLink(address)) as link:
                link.open(uuid.uuid4().bytes, SECONDS)
                ports.add(link.connected_socket.getpeername()[1])
        assert ports == {served.port, other.port}
