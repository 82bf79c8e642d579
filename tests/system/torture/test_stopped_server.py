"""A training loop at 10,000 calls a second whose server is stopped: no call waits, and nothing is lost."""

from __future__ import annotations

import signal
import threading
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

_BEFORE = 1_000


@dataclass(frozen=True)
class Trained:
    """What a training loop went through.

    Attributes:
        calls: how many log calls it made.
        before_resume: how many of them returned while the server stood still.
        stored: how many points the server has.
    """

    calls: int
    before_resume: int
    stored: int


def trained(
    protocol: Protocol, server: ServerProcess, calls: int, resume_after: float | None = None
) -> Trained:
    """Log while the server stands still: until all calls are made or, if that is given, for some seconds."""
    trial = protocol.new_trial(Trial(name="steady"), auto_increment=True)
    assert trial is not None
    write = protocol.metric_writer(trial)
    for number in range(_BEFORE):
        write(number, {SERIES: number})
    protocol.flush()
    made, before_resume = _BEFORE, 0

    def resume() -> None:
        nonlocal before_resume
        before_resume = made
        server.process.send_signal(signal.SIGCONT)

    timer = None if resume_after is None else threading.Timer(resume_after, resume)
    server.process.send_signal(signal.SIGSTOP)
    if timer is not None:
        timer.start()
    while made < _BEFORE + calls:
        write(made, {SERIES: made})
        made += 1
    if timer is None:
        resume()
    else:
        timer.join()
    protocol.flush(120.0)
    return Trained(made, before_resume, len(protocol.fetch_metrics(trial, SERIES).values))


@pytest.mark.timeout(600)
def test_training_continues_while_the_server_is_stopped(tmp_path: Path) -> None:
    calls = count(50_000, 600_000)
    with ServerProcess(f"sqlite:{tmp_path}/runs.db", tmp_path / "home") as server:
        protocol = SocketClient(server.served.join("trainer", Role.WRITER))
        found = trained(protocol, server, calls)
        protocol.close()
    say(f"{calls:,} calls while the server was stopped: {found}")
    assert found.stored == found.calls == found.before_resume


@pytest.mark.torture
def test_without_a_bound_a_log_call_waits_as_long_as_the_server_is_stopped(tmp_path: Path) -> None:
    # The protection removed: a full outbox waits for room for as long as it takes.
    with ServerProcess(f"sqlite:{tmp_path}/runs.db", tmp_path / "home") as server:
        protocol = small_client(server, room_timeout=60.0)
        found = trained(protocol, server, 50_000, resume_after=4.0)
        protocol.close()
    assert found.before_resume < found.calls
    assert found.stored == found.calls


def test_without_room_for_what_waits_points_are_lost_and_counted(tmp_path: Path) -> None:
    # The protection removed: no spool, and an outbox for a tenth of a second.
    with ServerProcess(f"sqlite:{tmp_path}/runs.db", tmp_path / "home") as server:
        protocol = small_client(server, room_timeout=0.1)
        found = trained(protocol, server, 50_000)
        protocol.close()
    assert found.stored < found.calls
    assert found.calls - found.stored == protocol.outbox.dropped


def small_client(server: ServerProcess, room_timeout: float) -> SocketClient:
    """A client whose outbox holds little and has no disk behind it."""
    client = SocketClient(server.served.join("trainer", Role.WRITER))
    limits = Limits(records=1_000, backlog_bytes=1, batches_in_flight=1, room_timeout=room_timeout)
    client.outbox = Outbox(client.outbox._open_link, "the server", limits=limits)
    return client
