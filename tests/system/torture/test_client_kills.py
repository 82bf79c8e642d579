"""Training processes that are killed in mid-log: what a log call returned for is stored once after a sync."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from killed_clients import KilledClients, sync
from running_server import ServerProcess
from torture import count, dice, happens, say
from track.spool.reader import look_in
from track_protocol.wire.roles import Role
from written_series import Verdict, stored_series, verdict

_TOGETHER = 4


def survived(tmp_path: Path, kills: int, spool_sync: str, dice: random.Random) -> Verdict:
    """What became of what killed processes had logged, while their server stood still now and then."""
    store, folder = f"sqlite:{tmp_path}/runs.db", tmp_path / "clients"
    told: dict[str, int] = {}
    with ServerProcess(store, tmp_path / "home") as server:
        uri = server.served.join("killed", Role.WRITER)
        while len(told) < kills:
            names = [f"client-{len(told) + number}" for number in range(min(_TOGETHER, kills - len(told)))]
            with KilledClients(f"{uri}&spool_sync={spool_sync}", folder, names) as clients:
                clients.await_logging()
                server.process.send_signal(dice.choice([signal.SIGSTOP, signal.SIGCONT]))
                time.sleep(dice.uniform(0.0, 0.3))
                told |= clients.kill()
            server.process.send_signal(signal.SIGCONT)
        for _ in range(2):
            sync(folder / "spool", uri)
        assert server.stop() == 0
    # Of a spool whose process was killed while it made or removed the folder, an empty lock may stay.
    assert look_in(folder / "spool") == []
    return verdict(told, stored_series(store))


@pytest.mark.timeout(1800)
def test_what_a_log_call_returned_for_is_stored_once_though_its_process_was_killed(tmp_path: Path) -> None:
    kills = count(4, 500)
    found = survived(tmp_path, kills, "always", dice())
    say(f"kills of clients in mid-log: {kills} kills, {found}")
    assert found.clean
    assert found.acknowledged > kills


def test_without_waiting_for_the_disk_kills_lose_points(tmp_path: Path) -> None:
    # The protection taken away: `spool_sync=none` writes in the background.
    def loses(folder: Path) -> bool:
        found = survived(folder, 4, "none", dice())
        assert (found.doubled, found.misplaced) == (0, 0)
        return found.lost > 0

    assert happens(loses, tmp_path)
