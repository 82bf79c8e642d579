"""Opening and listening."""

from __future__ import annotations

import socket

import pytest

from track.utils import ItemNotFound, listen_socket, open_socket
from track_protocol import errors


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_plain_sockets_connect(host: str) -> None:
    with listen_socket(host, 0) as listening:
        port = listening.getsockname()[1]
        with open_socket(host, port, backend=None) as opened, listening.accept()[0] as accepted:
            opened.sendall(b"hello")
            assert accepted.recv(10) == b"hello"


def test_connecting_to_a_closed_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(errors.ServerUnreachable, match=str(port)):
        open_socket("127.0.0.1", port)


def test_a_port_in_use_is_an_error() -> None:
    with listen_socket("127.0.0.1", 0) as listening, pytest.raises(errors.UsageError, match="cannot listen"):
        listen_socket("127.0.0.1", listening.getsockname()[1])


def test_another_backend_than_aes_is_refused() -> None:
    with pytest.raises(errors.UsageError, match="'DES'"):
        listen_socket("127.0.0.1", 0, "DES")


def test_a_missing_item_is_the_error_of_the_one_tree() -> None:
    assert ItemNotFound is errors.ItemNotFound
