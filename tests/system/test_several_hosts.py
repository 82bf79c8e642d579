"""Programs whose URI names several servers of one store, of which one runs at a time."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from balancer import balancing
from board_process import board_of
from board_visits import Visit
from moving_server import MovingServer
from running_server import environment
from torture import dice
from track import TrackClient
from track.connection.credentials import StoredLogins
from track_protocol.uri import Uri
from waiting import wait_until

pytestmark = pytest.mark.usefixtures("own_folders")

TRAIN = """
import sys
from track import TrackClient

client = TrackClient(sys.argv[1])
with client.new_trial(name=sys.argv[2]) as trial:
    for step in range(100):
        trial.log_metrics(step=step, loss=1.0)
client.close()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MovingServer]:
    with MovingServer(f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "home", dice()) as moving:
        yield moving


def train(uri: str, name: str) -> None:
    command = [sys.executable, "-c", TRAIN, uri, name]
    subprocess.run(command, env=environment(), check=True, timeout=120, capture_output=True)


def track(*words: str, given: str = "") -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "track.cli", *words]
    done = subprocess.run(
        command, env=environment(), input=given, text=True, timeout=120, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def points(uri: str) -> dict[str, int]:
    """How many points the trials have, by name."""
    with TrackClient(uri) as client:
        return {
            str(trial.name): len(client.protocol.fetch_metrics(trial, "loss"))
            for trial in client.protocol.fetch_trials({})
            if "loss" in trial.metrics
        }


def test_a_client_that_logs_while_its_server_moves_loses_and_doubles_nothing(server: MovingServer) -> None:
    with TrackClient(server.join("ann")) as client:
        trial = client.new_trial(name="moving")
        for step in range(40):
            trial.log_metrics(step=step, loss=1.0)
            if step % 10 == 5:
                client.protocol.flush()
                server.move(kill=step % 20 == 5)
        client.protocol.flush()
        (stored,) = client.protocol.fetch_trials({})
        assert list(client.protocol.fetch_metrics(stored, "loss").steps) == list(range(40))


def arrived(port: int) -> bool:
    """Whether bytes wait for the process that listens on a port of 127.0.0.1."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, _, state, queues = line.split()[1:5]
        if local == f"0100007F:{port:04X}" and state == "01" and int(queues.partition(":")[2], 16):
            return True
    return False


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="what waits in a socket is read from /proc")
def test_a_read_that_is_under_way_when_its_server_is_lost_is_answered_by_the_next(
    server: MovingServer,
) -> None:
    with TrackClient(server.join("ann")) as client, ThreadPoolExecutor(1) as reader:
        client.new_trial(name="moving").log_metrics(step=0, loss=1.0)
        client.protocol.flush()
        server.process.process.send_signal(signal.SIGSTOP)
        reading = reader.submit(client.protocol.fetch_trials, {})
        wait_until(lambda: arrived(server.process.served.port), "the read at the server")
        server.move()
        assert [trial.name for trial in reading.result(60)] == ["moving"]


def test_a_spool_is_that_of_the_store_and_not_of_a_host(server: MovingServer) -> None:
    # Fails when a spool is sent to a server of the same list of hosts only.
    first, second, third = server.places
    joined = Uri.parse(server.join("ann"))
    server.process.kill()
    train(f"{server.uri(joined, first, second)}&timeout=0.5", "offline")
    server.move()  # to the second or the third
    uri = server.uri(joined, third, second)
    wait_until(lambda: points(uri) == {"offline": 100}, "the points of the spool", 60)


def test_a_load_balancer_in_front_is_one_address(server: MovingServer) -> None:
    with balancing(server.places) as place, TrackClient(server.join("ann", place)) as client:
        trial = client.new_trial(name="balanced")
        for step in range(30):
            trial.log_metrics(step=step, loss=1.0)
            if step % 10 == 5:
                client.protocol.flush()
                server.move()
        client.protocol.flush()
        (stored,) = client.protocol.fetch_trials({})
        assert list(client.protocol.fetch_metrics(stored, "loss").steps) == list(range(30))


@contextmanager
def silent(place: tuple[str, int]) -> Iterator[None]:
    """Accept connections at an address, and say nothing."""
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    with socket.create_server(place, family=family):
        yield


def test_a_host_that_has_become_silent_is_passed_over(server: MovingServer) -> None:
    with TrackClient(f"{server.join('ann')}&timeout=6") as client:
        trial = client.new_trial(name="moving")
        trial.log_metrics(step=0, loss=1.0)
        client.protocol.flush()
        left = server.places[server.at]
        server.process.kill()
        with silent(left):
            server.move()
            trial.log_metrics(step=1, loss=1.0)
            client.protocol.flush()
    assert points(server.join("bob")) == {"moving": 2}


def test_commands_read_from_whichever_host_serves(server: MovingServer) -> None:
    uri = server.join("ann")
    train(uri, "moving")
    for _ in range(2):
        server.move()
        assert "moving" in track("ls", "--uri", uri)


def test_a_board_follows_the_servers_of_its_store(server: MovingServer) -> None:
    uri = server.join("ann")
    train(uri, "moving")
    with board_of(uri) as board:
        visit = Visit(board.url)
        assert visit.log_in().status == 200
        for _ in range(2):
            (trial,) = visit.call("fetch_trials", query={}).json
            assert trial["name"] == "moving"
            server.move()


def test_a_login_is_stored_once_for_all_hosts(server: MovingServer) -> None:
    token = Uri.parse(server.join("ann")).password
    public = server.uri(Uri("socket", username="ann"))
    assert "use it: TrackClient('socket://ann@localhost" in track("login", public, given=f"{token}\n")
    for _ in range(2):
        train(public, "logged in")
        server.move()
    assert "logged in" in track("ls", "--uri", public)
    assert "removed" in track("login", "--remove", f"socket://ann@127.0.0.1:{server.places[0][1]}")
    assert StoredLogins().find([f"localhost:{port}" for _, port in server.places]) is None
