"""Training processes that are killed while they log: what they logged is stored once after a sync."""

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
    """What became of what killed processes had logged, while their server was stopped now and then."""
    store, folder = f"sqlite:{tmp_path}/runs.db", tmp_path / "clients"
    counts: dict[str, int] = {}
    with ServerProcess(store, tmp_path / "home") as server:
        uri = server.served.join("killed", Role.WRITER)
        while len(counts) < kills:
            names = [
                f"client-{len(counts) + number}" for number in range(min(_TOGETHER, kills - len(counts)))
            ]
            with KilledClients(f"{uri}&spool_sync={spool_sync}", folder, names) as clients:
                clients.await_logging()
                server.process.send_signal(dice.choice([signal.SIGSTOP, signal.SIGCONT]))
                time.sleep(dice.uniform(0.0, 0.3))
                counts |= clients.kill()
            server.process.send_signal(signal.SIGCONT)
        for _ in range(2):
            sync(folder / "spool", uri)
        assert server.stop() == 0
    # Of a spool whose process was killed while it made or removed the folder, an empty lock may stay.
    assert look_in(folder / "spool") == []
    return verdict(counts, stored_series(store))


@pytest.mark.timeout(1800)
def test_what_a_log_call_returned_for_is_stored_once_though_its_process_was_killed(tmp_path: Path) -> None:
    kills = count(4, 500)
    found = survived(tmp_path, kills, "always", dice())
    say(f"kills of clients while they log: {kills} kills, {found}")
    assert found.clean
    assert found.acknowledged > kills


def test_without_waiting_for_the_disk_kills_lose_points(tmp_path: Path) -> None:
    # The protection removed: `spool_sync=none` writes in the background.
    def loses(folder: Path) -> bool:
        found = survived(folder, 4, "none", dice())
        assert (found.doubled, found.misplaced) == (0, 0)
        return found.lost > 0

    assert happens(loses, tmp_path)
