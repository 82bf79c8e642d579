"""The machine's own limit: the least that a server must do to make points durable.

uvloop, TLS 1.3 with AES-256-GCM, frames of 1,000 points as packed columns, one thread that writes,
SQLite in WAL mode with synchronous=FULL, an answer after the commit.  No login, no schema, no
statistics, no deduplication, no merging.
"""

from __future__ import annotations

import asyncio
import datetime
import multiprocessing
import random
import socket
import ssl
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import apsw
import msgpack
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from parallel import Span, Wait, run_together

__all__ = ["FRAME_POINTS", "bare_commit_seconds", "bare_ingest_rate", "bare_read_rate"]

FRAME_POINTS: Final = 1_000

_WINDOW: Final = 16
"""Frames of one client that are not answered yet."""

_CIPHER: Final = "TLS_AES_256_GCM_SHA384"
_TRIPLE: Final = 24
_PIECE: Final = 256 * 1024
_SETTINGS: Final = """
PRAGMA page_size=8192;
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
CREATE TABLE chunk(id INTEGER PRIMARY KEY, client INTEGER, seq INTEGER, steps BLOB, times BLOB, points BLOB);
"""
_INSERT: Final = "INSERT INTO chunk(client, seq, steps, times, points) VALUES(?, ?, ?, ?, ?)"


# -- the server ----------------------------------------------------------------------------------


class _Writer:
    """One thread; whatever was queued while it committed is its next transaction."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._path = path
        self._loop = loop
        self._jobs: list[tuple[_Peer, list[Any]]] = []
        self._wake = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, peer: _Peer, row: list[Any]) -> None:
        with self._wake:
            self._jobs.append((peer, row))
            self._wake.notify()

    def _run(self) -> None:
        db = apsw.Connection(str(self._path))
        db.execute(_SETTINGS).fetchall()
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._jobs)
                jobs, self._jobs = self._jobs, []
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_INSERT, [row for _, row in jobs])
            db.execute("COMMIT")
            self._loop.call_soon_threadsafe(_answer, jobs)


class _Peer(asyncio.Protocol):
    def __init__(self, writer: _Writer) -> None:
        self._writer = writer
        self._buffer = bytearray()
        self.transport: Any = None  # uvloop's transports do not inherit from asyncio's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) >= at + 4:
            end = at + 4 + int.from_bytes(buffer[at : at + 4], "big")
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                frame = msgpack.unpackb(view[at + 4 : end])
            at = end
            if isinstance(frame, int):
                self._send_triples(frame)
            else:
                self._writer.add(self, frame)
        del buffer[:at]

    def _send_triples(self, count: int) -> None:
        for start in range(0, count * _TRIPLE, _PIECE):
            self.transport.write(bytes(min(_PIECE, count * _TRIPLE - start)))


def _answer(jobs: list[tuple[_Peer, list[Any]]]) -> None:
    for peer, _ in jobs:
        peer.transport.write(b"!")


async def _serve(folder: Path, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(_certificate(folder / "bare.pem"))
    writer = _Writer(folder / "bare.db", loop)
    server = await loop.create_server(lambda: _Peer(writer), "127.0.0.1", 0, ssl=context)
    pipe.send(server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()


def _main(folder: Path, pipe: Connection) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(folder, pipe))


def _certificate(path: Path) -> Path:
    """A self-signed certificate and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bare")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    valid = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + valid.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def _serving(folder: Path) -> Iterator[int]:
    """The bare server in a process of its own; its port."""
    folder.mkdir()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_main, args=(folder, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


# -- its clients ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    port: int
    client: int
    frames: int


def _connect(port: int) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    raw = socket.create_connection(("127.0.0.1", port))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tls = context.wrap_socket(raw)
    cipher = tls.cipher()
    if cipher is None or cipher[0] != _CIPHER:
        raise RuntimeError(f"the bare server speaks {cipher}, not {_CIPHER}: its figures would not compare")
    return tls


def _frame(fields: Any) -> bytes:
    body: bytes = msgpack.packb(fields)
    return len(body).to_bytes(4, "big") + body


def _send_frames(job: _Job, wait: Wait) -> Span[int]:
    """Send frames, some of them ahead of the answers, until all are answered."""
    noise = random.Random(job.client)
    points = array("d", [noise.random() for _ in range(FRAME_POINTS)])
    steps, times = array("q", range(FRAME_POINTS)), array("d", points)
    tls = _connect(job.port)
    wait()
    began = time.monotonic()
    answered = 0
    for seq in range(job.frames):
        while seq - answered >= _WINDOW:
            answered += len(tls.recv(_WINDOW))
        tls.sendall(_frame([job.client, seq, steps.tobytes(), times.tobytes(), points.tobytes()]))
    while answered < job.frames:
        answered += len(tls.recv(_WINDOW))
    ended = time.monotonic()
    tls.close()
    return Span(began, ended, job.frames * FRAME_POINTS)


def bare_ingest_rate(folder: Path, clients: int, points: int) -> float:
    """Points a second that the bare server makes durable.

    Args:
        folder: made here, for its database.
        clients: how many processes send.
        points: how many all of them send, about.
    """
    frames = max(1, points // clients // FRAME_POINTS)
    with _serving(folder) as port:
        spans = run_together(
            _send_frames, [_Job(port, client, frames) for client in range(clients)], lambda: None
        )
    seconds = max(span.ended for span in spans) - min(span.began for span in spans)
    return sum(span.result for span in spans) / seconds


def bare_commit_seconds(folder: Path, times: int) -> list[float]:
    """What one point takes through a bare TLS socket, a commit and back; so many times, one by one."""
    point = array("d", [0.5]).tobytes()
    taken = []
    with _serving(folder) as port, _connect(port) as tls:
        for seq in range(times):
            began = time.perf_counter()
            tls.sendall(_frame([0, seq, point, point, point]))
            tls.recv(1)
            taken.append(time.perf_counter() - began)
    return taken


def bare_read_rate(folder: Path, points: int) -> float:
    """Points a second that come through a bare TLS socket as raw float64 triples."""
    with _serving(folder) as port, _connect(port) as tls:
        began = time.monotonic()
        tls.sendall(_frame(points))
        received = bytearray()
        while len(received) < points * _TRIPLE:
            received += tls.recv(_PIECE)
        columns = array("d")
        columns.frombytes(received)
        return len(columns) / 3 / (time.monotonic() - began)
