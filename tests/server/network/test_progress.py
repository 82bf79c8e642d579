"""Slow is fine, stuck is not."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

import pytest

from track_server.network.progress import SLOWEST_BYTES_PER_S, Progress, acknowledged
from waiting import wait_until


def test_a_peer_that_moves_nothing_is_late_after_its_time() -> None:
    progress = Progress(30.0)
    progress.begin(100.0)
    assert not progress.is_late(130.0)
    assert progress.is_late(130.1)


def test_a_peer_that_moves_some_bytes_now_and_then_is_never_late() -> None:
    progress = Progress(30.0)
    progress.begin(0.0)
    for now in range(20, 10_000, 20):
        assert not progress.is_late(float(now))
        progress.moved(float(now), 20 * SLOWEST_BYTES_PER_S)


def test_much_at_first_buys_no_more_time_than_there_was() -> None:
    progress = Progress(30.0)
    progress.begin(0.0)
    progress.moved(1.0, 10**9)
    assert not progress.is_late(31.0)
    assert progress.is_late(31.1)


def test_a_byte_now_and_then_is_not_enough() -> None:
    progress = Progress(30.0)
    progress.begin(0.0)
    for now in range(1, 32):
        progress.moved(float(now), 1)
    assert progress.is_late(31.0)


def test_no_peer_is_late_while_nothing_is_expected() -> None:
    progress = Progress(30.0)
    assert not progress.is_late(1e9)
    progress.begin(0.0)
    progress.begin(25.0)  # changes nothing
    assert progress.is_late(31.0)
    progress.end()
    assert not progress.is_late(1e9)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says it")
def test_a_socket_says_what_its_peer_has_acknowledged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as sending:
        sending.connect(listening.getsockname())
        receiving, _ = listening.accept()
        with receiving:
            before, _ = acknowledged(sending) or (0, False)
            sending.sendall(b"x" * 1000)
            wait_until(lambda: acknowledged(sending) == (before + 1000, False), "the bytes to arrive")
            sending.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    sending.send(b"x" * 65_536)
            reported = acknowledged(sending)
            assert reported is not None
            assert reported[1]


def test_what_is_no_socket_says_nothing() -> None:
    assert acknowledged(None) is None
