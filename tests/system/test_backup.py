"""``track check``, ``backup`` and ``restore`` as processes, beside a server at work."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from engine_calls import Caller, points
from running_server import ServerProcess
from socket_peers import SECONDS, Joined, joined
from stored_trials import add_trials, log_points, points_of
from track_protocol.wire.columns import unpack
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.stores import open_store
from waiting import wait_until


@pytest.fixture(params=["sqlite:{}/runs.db", "file:{}/runs.json"], ids=["sqlite", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.param).format(tmp_path)


def track(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "track.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)


def acknowledged(peer: Joined, last: int) -> None:
    """Wait until that record is acknowledged."""
    done = 0
    while done < last:
        done = max([done, *(event.last_seq for event in peer.next_events() if isinstance(event, Acked))])


def values_in_backup(path: Path, id: bytes) -> list[float]:
    opened = open_store(f"sqlite:{path}", exclusive=True)
    with opened.snapshot() as view:
        found = view.points(id, "metric", "loss", 0, 10**9)
    opened.close()
    return [] if found is None else list(unpack(found.values))


def test_a_backup_under_load_holds_every_acknowledged_point_in_order(store: str, tmp_path: Path) -> None:
    with ServerProcess(store, tmp_path / "home") as server:
        with joined(server.served.join("ann"), uuid.uuid4().bytes) as ann:
            id = ann.new_trial()["id"]
            for value in range(200):
                ann.send(points(id, loss=[float(value)]))
            acknowledged(ann, 201)
            command = [sys.executable, "-m", "track.cli", "backup", str(tmp_path / "copy")]
            command += ["--home", str(tmp_path / "home")]
            backing_up = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            sent = 200
            while backing_up.poll() is None:
                ann.send(points(id, loss=[float(sent)]))
                sent += 1
                acknowledged(ann, sent + 1)
            printed, _ = backing_up.communicate(timeout=SECONDS)
        assert backing_up.returncode == 0
        assert printed.startswith(f"{tmp_path}/copy: ")
        assert " points, 1 trials, " in printed
        checked = track("check", "--home", tmp_path / "home", "--json")
        seen = json.loads(checked.stdout)
        assert (checked.returncode, seen["sound"], seen["points"]) == (0, True, sent)
        assert server.stop() == 0
    found = values_in_backup(tmp_path / "copy", id)
    assert 200 <= len(found) <= sent
    assert found == [float(value) for value in range(len(found))]


def test_a_backup_that_is_killed_leaves_nothing_under_its_name(tmp_path: Path) -> None:
    store = open_store(f"sqlite:{tmp_path}/runs.db", exclusive=True)
    add_trials(store, 1)
    for number in range(40):
        log_points(store, points_of([0.1 * value for value in range(50_000)]), name=f"loss{number}")
    store.close()
    command = [sys.executable, "-m", "track.cli", "backup", str(tmp_path / "copy")]
    backing_up = subprocess.Popen([*command, f"sqlite:{tmp_path}/runs.db"])
    part = tmp_path / f".copy.{backing_up.pid}.part"
    wait_until(part.exists, "the backup's beginning")
    backing_up.kill()
    backing_up.wait(SECONDS)
    assert part.exists()
    assert not (tmp_path / "copy").exists()
    assert track("backup", tmp_path / "copy", f"sqlite:{tmp_path}/runs.db").returncode == 0


def test_a_store_is_not_restored_while_a_server_has_it_open(store: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with ServerProcess(store, home) as server:
        with joined(server.served.join("ann"), uuid.uuid4().bytes) as ann:
            ann.new_trial()
        assert track("backup", tmp_path / "copy", store).returncode == 0
        refused = track("restore", tmp_path / "copy", "--home", home)
        assert refused.returncode == 1
        assert f"pid {server.process.pid}" in refused.stderr
        assert server.stop() == 0
    restored = track("restore", tmp_path / "copy", "--home", home)
    assert restored.returncode == 0, restored.stderr
    assert "1 trials restored\nthe previous store is now " in restored.stdout
    with ServerProcess(store, home):
        assert track("check", store).stdout.endswith("is undamaged: 1 trials, 0 series, 0 points\n")


def test_a_check_counts_what_was_rejected(store: str) -> None:
    engine = Engine(open_store(store, exclusive=True))
    Caller(engine).log(points(b"?" * 16, loss=[1.0, 2.0, 3.0]), points(b"!" * 16, offset=3, loss=[4.0]))
    engine.close()
    checked = track("check", store)
    assert checked.returncode == 0
    assert checked.stdout.endswith(" 0 points; 4 rejected records (fetch_rejected shows them)\n")
    assert json.loads(track("check", store, "--json").stdout)["rejected"] == 4


def test_a_check_reports_each_damage_in_a_line_and_by_its_exit_code(store: str, tmp_path: Path) -> None:
    assert track("check", store).returncode == 3
    Path(store.partition(":")[2]).write_text("nonsense")
    damaged = track("check", store)
    assert (damaged.returncode, damaged.stdout.count("\n")) == (1, 1)
    assert "restore a" in damaged.stdout
