"""An honest client beside peers that ask for too much, send too little, or say nothing.

Each ratio is measured against the same client alone, in the same run: the figures of a machine that is busy
with other things are as far apart, but so is what they are compared with.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from engine_calls import Caller
from running_server import Served, ServerProcess
from socket_peers import SECONDS, Joined, Peer, joined, peer
from track_protocol.wire.batch import CallOp
from track_protocol.wire.codec import encode
from track_protocol.wire.frames import FrameKind
from track_protocol.wire.roles import Role
from track_server.engine.engine import Engine
from track_server.stores import open_store

pytestmark = pytest.mark.usefixtures("own_folders")

TRIALS = 1_500
TRIAL_BYTES = 20_000
"""Of each, at least."""
TIMES = 300
ITEMS = 250_000
SILENT = 3_000


_log = logging.getLogger(__name__)


def report(figures: str) -> None:
    """Shown with ``-o log_cli=true --log-cli-level=info``."""
    _log.info("%s", figures)


def filled(path: Path) -> str:
    """The URI of a store with trials of 20 kB each."""
    uri = f"sqlite:{path}"
    engine = Engine(open_store(uri, exclusive=True))
    caller = Caller(engine)
    for first in range(0, TRIALS, 50):
        ops = [
            CallOp(
                at,
                "create_trial",
                {
                    "trial": {
                        "id": uuid.uuid4().bytes,
                        "hash": f"h{first + at}",
                        "revision": 0,
                        "parameters": {str(part): "x" * 4_000 for part in range(5)},
                    }
                },
            )
            for at in range(50)
        ]
        assert caller.log(*ops).rejected == []
    engine.close()
    return uri


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return filled(tmp_path_factory.mktemp("store") / "runs.db")


@pytest.fixture
def server(store: str, tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(store, tmp_path / "home") as process:
        yield process


def seconds(client: Joined, times: int = TIMES) -> list[float]:
    """How long small reads take, one after the other."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        client.read("get_trial", trial={"uid": "h7_0"})
        taken.append(time.perf_counter() - began)
    return taken


def p90(client: Joined, times: int = TIMES) -> float:
    """Seconds of a small read, of 90 in 100; what delays fewer is the other work of this machine."""
    return sorted(seconds(client, times))[int(times * 0.9) - 1]


def resident_bytes(process: ServerProcess) -> int:
    """Bytes of memory of the server."""
    pages = Path(f"/proc/{process.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def ask_for_all(asking: Peer) -> None:
    asking.protocol.send_call(1, None, "fetch_trials", {"query": {}})
    asking.flush()


def seconds_of_all(asking: Peer) -> float:
    """How long a read of all trials takes."""
    began, received = time.perf_counter(), 0
    ask_for_all(asking)
    while received < TRIALS * TRIAL_BYTES:
        received += len(asking.socket.recv(1 << 20))
    return time.perf_counter() - began


@contextmanager
def in_the_background(work: Callable[[threading.Event], None]) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def many(served: Served, uri: str, count: int) -> Iterator[list[Peer]]:
    """Peers that have logged in."""
    with ExitStack() as stack:
        peers = []
        for _ in range(count):
            peers.append(stack.enter_context(peer(served)))
            peers[-1].log_in(uri)
        yield peers


def test_no_small_call_waits_for_a_whole_large_read(server: ServerProcess) -> None:
    # Fails when a page holds a whole list.
    with joined(server.served.join("ann")) as ann, many(server.served, server.served.join("bob"), 6) as peers:

        def read_all(stop: threading.Event) -> None:
            for each in peers[1:]:
                each.socket.settimeout(0.01)
                ask_for_all(each)
            while not stop.is_set():
                for each in peers[1:]:
                    with suppress(TimeoutError):
                        each.socket.recv(1 << 20)

        whole = seconds_of_all(peers[0])
        with in_the_background(read_all):
            longest = max(seconds(ann))
    report(f"large read: {whole * 1000:.0f} ms; longest small call beside five: {longest * 1000:.0f} ms")
    assert longest < whole


def test_unread_answers_take_little_memory(server: ServerProcess) -> None:
    with joined(server.served.join("ann")) as ann:
        before = resident_bytes(server)
        with many(server.served, server.served.join("bob"), 100) as peers:
            for each in peers:
                each.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
                ask_for_all(each)
            quiet = p90(ann)
            grown = resident_bytes(server) - before
    report(
        f"100 peers that read nothing: {grown / 1e6:.0f} MB more, p90 of a small call {quiet * 1000:.1f} ms"
    )
    assert grown < 100e6


def test_half_frames_take_little_memory(server: ServerProcess) -> None:
    served, bob = server.served, server.served.join("bob")
    with joined(served.join("ann")) as ann, many(served, bob, 200) as peers:
        before = resident_bytes(server)  # what a connection itself takes is another figure
        for each in peers:
            each.socket.settimeout(0.05)
            try:
                each.socket.sendall((1_000_000).to_bytes(4, "big") + bytes(990_000))
            except TimeoutError:
                continue  # it is not read any more
        p90(ann, 50)
        grown = resident_bytes(server) - before
    report(f"200 half frames: {grown / 1e6:.0f} MB more")
    # What each connection has for TLS is half of it; without a limit there were the frames besides.
    assert grown < 200e6


def test_a_frame_of_very_many_items_stalls_no_other_client(server: ServerProcess) -> None:
    body = encode([int(FrameKind.CALL), 1, None, "fetch_trials", {"query": {"a": [{}] * ITEMS}}])
    frame = len(body).to_bytes(4, "big") + body

    with joined(server.served.join("ann")) as ann, many(server.served, server.served.join("bob"), 1) as peers:
        sent, rest = threading.Event(), memoryview(frame)

        def send(stop: threading.Event) -> None:
            nonlocal rest
            peers[0].socket.settimeout(0.05)
            while not stop.is_set():
                with suppress(TimeoutError):  # it is not read just now
                    rest = rest[peers[0].socket.send(rest) :]
                if not rest:
                    sent.set()
                    rest = memoryview(frame)

        quiet = p90(ann)
        with in_the_background(send):
            assert sent.wait(SECONDS)
            beside = p90(ann)
    report(f"small call: p90 {quiet * 1000:.1f} ms alone, {beside * 1000:.1f} ms beside frames of empty maps")
    assert beside < 5 * quiet + 0.15


@pytest.mark.parametrize("addresses", [1, 200])
def test_silent_connections_do_not_block_logins(server: ServerProcess, addresses: int) -> None:
    uri = server.served.join("ann", Role.READER)

    def login() -> float:
        began = time.perf_counter()
        with joined(uri):
            return time.perf_counter() - began

    quiet = min(login() for _ in range(5))
    with ExitStack() as stack:
        for number in range(SILENT):
            source = (f"127.0.0.{2 + number % addresses}" if addresses > 1 else "127.0.0.1", 0)
            place = (server.served.host, server.served.port)
            stack.enter_context(socket.create_connection(place, source_address=source))
        crowded = min(login() for _ in range(5))
    report(f"login: {quiet * 1000:.0f} ms alone, {crowded * 1000:.0f} ms beside {SILENT} silent connections")
    assert crowded < 3 * quiet + 0.1
