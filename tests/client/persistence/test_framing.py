"""Messages one by one over a connection of one's own, under their documented names."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from track.persistence import socketed
from track.persistence.socketed import ServerSignalHandler, read, recv, send, to_bytes, to_obj, write
from track_protocol.errors import BadValue, CallTimeout, ConnectionLost, FrameTooLarge, RemoteProtocolError

MESSAGE = {"a": [1, 2.5, None, True, "x", b"y"], "nested": {"t": (1, 2)}}


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with (left_right := socket.socketpair())[0], left_right[1]:
        yield left_right


def test_bytes_and_objects_are_each_others_reverse() -> None:
    assert to_obj(to_bytes(MESSAGE)) == MESSAGE
    with pytest.raises(BadValue):
        to_bytes(object())
    with pytest.raises(RemoteProtocolError):
        to_obj(b"\xc1")


def test_messages_arrive_one_by_one(pair: tuple[socket.socket, socket.socket]) -> None:
    send(pair[0], MESSAGE)
    send(pair[0], None)
    assert (recv(pair[1]), recv(pair[1], timeout=20)) == (MESSAGE, None)
    assert pair[1].gettimeout() is None


def test_a_missing_message_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(CallTimeout, match="within"):
        recv(pair[1], timeout=0.01)
    pair[0].sendall((2**31).to_bytes(4, "big"))
    with pytest.raises(FrameTooLarge):
        recv(pair[1])
    pair[0].sendall(b"\0\0\0\x09half")
    pair[0].close()
    with pytest.raises(ConnectionLost, match="has closed the connection"):
        recv(pair[1])
    with pytest.raises(ConnectionLost, match="could not be sent"):
        send(pair[1], MESSAGE)
    with pytest.raises(FrameTooLarge):
        send(pair[1], b"x" * 2**21)


async def test_streams_of_an_event_loop_carry_the_same_messages(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    reader, writer = await asyncio.open_connection(sock=pair[0].dup())
    send(pair[1], MESSAGE)
    assert await read(reader) == MESSAGE
    await write(writer, MESSAGE)
    assert await asyncio.to_thread(recv, pair[1], 20) == MESSAGE
    with pytest.raises(CallTimeout):
        await read(reader, timeout=0.01)
    pair[1].shutdown(socket.SHUT_RDWR)
    with pytest.raises(ConnectionLost):
        await read(reader)
    writer.close()


def test_a_signal_closes_the_server() -> None:
    class Server:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    server = Server()
    handler = ServerSignalHandler(server)
    handler.sigint(2, None)
    handler.sigterm(15, None)
    handler.atexit()
    assert server.closed == 2
    assert not hasattr(socketed, "nothing")
