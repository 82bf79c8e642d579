"""Training processes that are killed in mid-log: what a log call returned for is stored once after a sync."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import torture_spooler
from running_server import ServerProcess, environment
from torture import count, dice, say
from track_protocol.roles import Role
from waiting import wait_until
from written_series import Verdict, stored_series, verdict

_TOGETHER = 4


class Round:
    """Some processes that log until all are killed at once.

    Args:
        uri: of their server.
        folder: for their spools and records.
        names: of their trials.
    """

    def __init__(self, uri: str, folder: Path, names: list[str]) -> None:
        self._records = {name: folder / name for name in names}
        self._log = folder / "log"
        with self._log.open("ab") as log:
            self._processes = [
                subprocess.Popen(
                    [sys.executable, torture_spooler.__file__, uri, name, str(record)],
                    env=environment(TRACK_SPOOL=str(folder / "spool")),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
                for name, record in self._records.items()
            ]

    def await_logging(self) -> None:
        """Wait until all have logged something."""

        def all_have() -> bool:
            assert all(process.poll() is None for process in self._processes), self._log.read_text()
            return all(path.exists() and path.stat().st_size for path in self._records.values())

        wait_until(all_have, "every process has logged", 60.0)

    def kill(self) -> dict[str, int]:
        """kill -9; how many log calls of each had returned."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(60.0)
        return {name: len(path.read_text().split()) for name, path in self._records.items()}


def survived(tmp_path: Path, kills: int, spool_sync: str, dice: random.Random) -> Verdict:
    """What became of what killed processes had logged, while their server stood still now and then."""
    store, folder = f"sqlite:{tmp_path}/runs.db", tmp_path / "clients"
    folder.mkdir()
    told: dict[str, int] = {}
    with ServerProcess(store, tmp_path / "home") as server:
        uri = server.served.join("killed", Role.WRITER)
        while len(told) < kills:
            names = [f"client-{len(told) + number}" for number in range(min(_TOGETHER, kills - len(told)))]
            clients = Round(f"{uri}&spool_sync={spool_sync}", folder, names)
            clients.await_logging()
            server.process.send_signal(dice.choice([signal.SIGSTOP, signal.SIGCONT]))
            time.sleep(dice.uniform(0.0, 0.3))
            told |= clients.kill()
            server.process.send_signal(signal.SIGCONT)
        for _ in range(2):
            _sync(folder / "spool", uri)
        assert server.stop() == 0
    assert list((folder / "spool").iterdir()) == []
    return verdict(told, stored_series(store))


def _sync(spool: Path, uri: str) -> None:
    command = [sys.executable, "-m", "track.cli", "sync", str(spool), "--to", uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(1800)
def test_what_a_log_call_returned_for_is_stored_once_though_its_process_was_killed(tmp_path: Path) -> None:
    kills = count(8, 500)
    found = survived(tmp_path, kills, "always", dice())
    say(f"kills of clients in mid-log: {kills} kills, {found}")
    assert found.clean
    assert found.acknowledged > kills


def test_without_waiting_for_the_disk_kills_lose_points(tmp_path: Path) -> None:
    # The protection taken away: `spool_sync=none` writes in the background.
    found = survived(tmp_path, 8, "none", dice())
    assert found.lost > 0
    assert (found.doubled, found.misplaced) == (0, 0)
