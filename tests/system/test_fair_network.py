"""An honest client beside peers that ask for too much, send too little, or say nothing."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from engine_calls import Caller
from running_server import Served, ServerProcess, limited, serving
from socket_peers import SECONDS, Joined, Peer, joined, peer
from track_protocol.wire.batch import CallOp
from track_protocol.wire.codec import encode
from track_protocol.wire.frames import FrameKind
from track_server.app import Settings
from track_server.engine.engine import Engine
from track_server.stores import open_store

pytestmark = pytest.mark.usefixtures("own_folders")

TRIALS = 1_500
TRIAL_BYTES = 20_000
"""Of each, at least."""
TIMES = 50
ITEMS = 250_000
SILENT = 1_000


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


def resident_bytes(process: ServerProcess) -> int:
    """Bytes of memory of the server."""
    pages = Path(f"/proc/{process.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def read_often(client: Joined) -> None:
    """Small reads, one after the other; what others have sent before is handled between them."""
    for _ in range(TIMES):
        client.read("fetch_projects", query={})


def ask_for_all(asking: Peer) -> None:
    asking.protocol.send_call(1, None, "fetch_trials", {"query": {}})
    asking.flush()


@contextmanager
def many(served: Served, uri: str, count: int) -> Iterator[list[Peer]]:
    """Peers that have logged in."""
    with ExitStack() as stack:
        peers = []
        for _ in range(count):
            peers.append(stack.enter_context(peer(served)))
            peers[-1].log_in(uri)
        yield peers


def test_unread_answers_take_little_memory(server: ServerProcess) -> None:
    with joined(server.served.join("ann")) as ann:
        before = resident_bytes(server)
        with many(server.served, server.served.join("bob"), 100) as peers:
            for each in peers:
                each.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
                ask_for_all(each)
            read_often(ann)
            grown = resident_bytes(server) - before
    report(f"100 peers that read nothing: {grown / 1e6:.0f} MB more")
    assert grown < 100e6


def send_half_a_frame(each: Peer) -> None:
    each.socket.settimeout(0.02)
    with suppress(TimeoutError):  # it is not read any more
        each.socket.sendall((1_000_000).to_bytes(4, "big") + bytes(990_000))


def test_half_frames_take_little_memory(server: ServerProcess) -> None:
    served, bob = server.served, server.served.join("bob")
    with joined(served.join("ann")) as ann, many(served, bob, 100) as peers:
        before = resident_bytes(server)  # what a connection itself takes is another figure
        for each in peers:
            send_half_a_frame(each)
        read_often(ann)
        grown = resident_bytes(server) - before
    report(f"100 half frames: {grown / 1e6:.0f} MB more")
    # What each connection has for TLS is half of it; without a limit there were the frames besides.
    assert grown < 130e6


def test_a_frame_of_very_many_items_stalls_no_other_client(tmp_path: Path) -> None:
    body = encode([int(FrameKind.CALL), 1, None, "fetch_trials", {"query": {"a": [{}] * ITEMS}}])
    with serving(Settings("ephemeral:", home=tmp_path / "home")) as served:
        assert served.server is not None
        decode = threading.Event()
        served.server.decoder.submit(decode.wait, SECONDS)
        with joined(served.join("ann")) as ann, many(served, served.join("bob"), 1) as (bob,):
            bob.socket.sendall(len(body).to_bytes(4, "big") + body)
            # Decoded between the calls of the others, it would be answered by now.
            read_often(ann)
            bob.socket.settimeout(0.0)
            with pytest.raises(ssl.SSLWantReadError):
                bob.socket.recv(1)
            bob.socket.settimeout(SECONDS)
            decode.set()
            assert bob.socket.recv(1)


@pytest.mark.parametrize("addresses", [1, 200])
def test_silent_connections_do_not_block_logins(tmp_path: Path, addresses: int) -> None:
    # None of them ends or gives way within the time of this test.
    settings = Settings("ephemeral:", home=tmp_path / "home")
    endless = limited(settings, handshake_seconds=3600.0, slot_seconds=3600.0)
    with serving(endless) as served, ExitStack() as stack:
        for number in range(SILENT):
            source = (f"127.0.0.{2 + number % addresses}" if addresses > 1 else "127.0.0.1", 0)
            stack.enter_context(socket.create_connection((served.host, served.port), source_address=source))
        with joined(served.join("ann")) as ann:
            assert ann.new_trial()
