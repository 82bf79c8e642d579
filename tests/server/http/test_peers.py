"""The user at the other end of a loopback connection, as the kernel of this machine knows it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from other_user import OTHER_USER, as_other_user, needs_two_users
from track_server.http.peers import is_own_user, uid_of_peer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose connection it is")

FAMILIES = [
    pytest.param(socket.AF_INET, "127.0.0.1", id="IPv4"),
    pytest.param(socket.AF_INET6, "::1", id="IPv6"),
]


@contextmanager
def listening(family: int, host: str) -> Iterator[socket.socket]:
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        yield listener


@contextmanager
def connected(family: int, host: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end and the peer's of a connection."""
    with listening(family, host) as listener, socket.create_connection(listener.getsockname()[:2]) as theirs:
        ours, _ = listener.accept()
        with ours:
            yield ours, theirs


def uid_at(ours: socket.socket) -> int | None:
    return uid_of_peer(ours.getsockname()[:2], ours.getpeername()[:2])


@pytest.mark.parametrize(("family", "host"), FAMILIES)
def test_the_own_user_is_known(family: int, host: str) -> None:
    with connected(family, host) as (ours, _):
        assert uid_at(ours) == os.geteuid()
        assert is_own_user(ours.getsockname()[:2], ours.getpeername()[:2])


def test_a_peer_is_known_whose_socket_of_ipv6_speaks_ipv4() -> None:
    with listening(socket.AF_INET, "127.0.0.1") as listener, socket.socket(socket.AF_INET6) as theirs:
        theirs.connect(("::ffff:127.0.0.1", listener.getsockname()[1]))
        ours, _ = listener.accept()
        with ours:
            assert uid_at(ours) == os.geteuid()


@needs_two_users
@pytest.mark.parametrize(("family", "host"), FAMILIES)
def test_another_user_is_known_as_another(family: int, host: str) -> None:
    with listening(family, host) as listener:
        address = listener.getsockname()[:2]

        def connects() -> None:
            with socket.create_connection(address) as theirs:
                assert theirs.recv(1) == b"x"  # until it was looked at

        def looks() -> None:
            ours, _ = listener.accept()
            assert not is_own_user(ours.getsockname()[:2], ours.getpeername()[:2])
            ours.sendall(b"x")

        child = os.fork()
        if child == 0:
            try:
                looks()
                os._exit(0)
            finally:
                os._exit(1)
        as_other_user(connects)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0


@needs_two_users
def test_a_user_without_a_number_here_is_nobody() -> None:
    # All users who are not mapped into a user namespace share this one.
    assert OTHER_USER == 65_534
    with listening(socket.AF_INET, "127.0.0.1") as listener:
        address = listener.getsockname()[:2]

        def connects() -> None:
            with socket.create_connection(address) as theirs:
                ours, _ = listener.accept()
                with ours:
                    assert os.geteuid() == OTHER_USER
                    assert uid_at(ours) is None
                theirs.recv(1)

        as_other_user(connects)


@pytest.mark.parametrize(("family", "host"), FAMILIES)
def test_a_peer_that_has_closed_is_nobody(family: int, host: str) -> None:
    # The kernel gives what no process holds any more to user 0, whoever it was.
    with connected(family, host) as (ours, theirs):
        theirs.sendall(b"GET / HTTP/1.1\r\n\r\n")
        theirs.close()
        assert uid_at(ours) is None


@pytest.mark.parametrize(("family", "host"), FAMILIES)
def test_a_peer_that_closes_one_way_is_nobody(family: int, host: str) -> None:
    with connected(family, host) as (ours, theirs):
        theirs.shutdown(socket.SHUT_WR)
        assert uid_at(ours) is None


def test_a_connection_that_is_none_is_nobodys() -> None:
    assert uid_of_peer(("127.0.0.1", 1), ("127.0.0.1", 2)) is None


def test_a_peer_of_another_machine_is_nobody() -> None:
    assert uid_of_peer(("192.0.2.1", 8124), ("192.0.2.2", 50_000)) is None
    assert uid_of_peer(("127.0.0.1", 8124), ("192.0.2.2", 50_000)) is None
