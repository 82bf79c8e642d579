"""A training loop at 10,000 calls a second whose server is stopped: no call waits, and nothing is lost."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from running_server import ServerProcess
from torture import count, say
from track.outbox import Outbox
from track.outbox.queue import Limits
from track.persistence.protocol import Protocol
from track.persistence.socketed import SocketClient
from track_protocol.model.entities import Trial
from track_protocol.wire.roles import Role
from written_series import SERIES

_RATE = 10_000


@dataclass(frozen=True)
class Trained:
    """What a training loop went through.

    Attributes:
        calls: how many log calls it made.
        slowest: of them, in seconds.
        stored: how many points the server has.
    """

    calls: int
    slowest: float
    stored: int


def trained(protocol: Protocol, server: ServerProcess, seconds: float) -> Trained:
    """Log at `_RATE` while the server stands still for so long, and a little before and after."""
    trial = protocol.new_trial(Trial(name="steady"), auto_increment=True)
    assert trial is not None
    write = protocol.metric_writer(trial)
    calls, slowest = 0, 0.0
    signals = [
        threading.Timer(0.2, server.process.send_signal, [signal.SIGSTOP]),
        threading.Timer(0.2 + seconds, server.process.send_signal, [signal.SIGCONT]),
    ]
    for each in signals:
        each.start()
    begun = time.perf_counter()
    while (elapsed := time.perf_counter() - begun) < 0.4 + seconds:
        while calls < elapsed * _RATE:
            before = time.perf_counter()
            write(calls, {SERIES: calls})
            slowest = max(slowest, time.perf_counter() - before)
            calls += 1
        time.sleep(0.001)
    for each in signals:
        each.join()
    protocol.flush(120.0)
    return Trained(calls, slowest, len(protocol.fetch_metrics(trial, SERIES).values))


@pytest.mark.timeout(600)
def test_training_continues_while_the_server_is_stopped(tmp_path: Path) -> None:
    seconds = count(5, 60)
    with ServerProcess(f"sqlite:{tmp_path}/runs.db", tmp_path / "home") as server:
        protocol = SocketClient(server.served.join("trainer", Role.WRITER))
        found = trained(protocol, server, seconds)
        protocol.close()
    say(f"server stopped for {seconds} s at {_RATE:,} calls/s: {found}")
    assert found.slowest < seconds / 2
    assert found.stored == found.calls


@pytest.mark.torture
def test_without_a_bound_a_log_call_waits_as_long_as_the_server_is_stopped(tmp_path: Path) -> None:
    # The protection removed: a full outbox waits for room for as long as it takes.
    with ServerProcess(f"sqlite:{tmp_path}/runs.db", tmp_path / "home") as server:
        protocol = small_client(server, room_timeout=60.0)
        found = trained(protocol, server, 4.0)
        protocol.close()
    assert found.slowest > 2.0
    assert found.stored == found.calls


def test_without_room_for_what_waits_points_are_lost_and_counted(tmp_path: Path) -> None:
    # The protection removed: no spool, and an outbox for a tenth of a second.
    with ServerProcess(f"sqlite:{tmp_path}/runs.db", tmp_path / "home") as server:
        protocol = small_client(server, room_timeout=0.1)
        found = trained(protocol, server, 2.0)
        protocol.close()
    assert found.stored < found.calls
    assert found.calls - found.stored == protocol.outbox.dropped


def small_client(server: ServerProcess, room_timeout: float) -> SocketClient:
    """A client whose outbox holds little and has no disk behind it."""
    client = SocketClient(server.served.join("trainer", Role.WRITER))
    limits = Limits(records=1_000, backlog_bytes=1, batches_in_flight=1, room_timeout=room_timeout)
    client.outbox = Outbox(client.outbox._open_link, "the server", limits=limits)
    return client
