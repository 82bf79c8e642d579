"""Damage found while a store is in use: it turns read-only and says so, and clients queue what they log.

Negative control: `Recovery.record_failure` with ``return False`` in its first line makes each test here fail.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from engine_calls import Caller, points
from running_server import ServerProcess
from track import TrackClient
from track.persistence.remote import OutboxProtocol
from track_protocol.errors import StoreCorrupt
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.stores import open_store
from waiting import wait_until


def _damage_points(path: Path, name: str) -> None:
    """Flip the bits of a metric's points."""
    db = apsw.Connection(str(path))
    db.execute(
        "UPDATE chunk SET data = zeroblob(length(data)) "
        "WHERE series IN (SELECT id FROM series WHERE name = ?)",
        (name,),
    )
    db.close()


def _track(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "track.cli", *map(str, words)], check=True, capture_output=True)


def test_a_damaged_store_is_read_only_until_a_backup_is_restored_and_then_gets_all_points(
    tmp_path: Path,
) -> None:
    path, home = tmp_path / "runs.db", tmp_path / "home"
    with ServerProcess(f"sqlite:{path}", home) as server:
        uri, port = server.served.join("ann"), server.served.port
        with TrackClient(uri) as client:
            assert isinstance(client.protocol, OutboxProtocol)
            trial = client.new_trial(name="t").trial
            client.log_metrics(loss=1.0, acc=0.5)
            client.save()
            _track("backup", tmp_path / "copy", "--home", home)
            _damage_points(path, "loss")
            with pytest.raises(StoreCorrupt, match="is damaged"):
                client.protocol.fetch_metrics(trial, "loss")
            client.log_metrics(loss=2.0)
            outbox = client.protocol.outbox
            wait_until(
                lambda: isinstance(outbox.problem, StoreCorrupt) and "'track restore'" in str(outbox.problem),
                "the client logs why nothing is stored",
            )
            with TrackClient(server.served.join("bob")) as reader:
                assert list(reader.protocol.fetch_metrics(trial, "acc").values) == [0.5]
            assert server.stop() == 0
            assert server.log.read_text().count("is read-only since damage was found in it") == 1
            _track("restore", tmp_path / "copy", "--home", home)
            with ServerProcess(f"sqlite:{path}", home, port=port):
                client.save()
                assert list(client.protocol.fetch_metrics(trial, "loss").values) == [1.0, 2.0]


def test_damage_found_by_maintenance_stops_writes(tmp_path: Path) -> None:
    engine = Engine(open_store(f"sqlite:{tmp_path}/runs.db", exclusive=True))
    try:
        caller = Caller(engine)
        trial = caller.new_trial()["id"]
        for _ in range(2):
            caller.log(points(trial, loss=[1.0]))
        _damage_points(tmp_path / "runs.db", "loss")

        def refused() -> bool:
            outcome = caller.log(points(trial, acc=[1.0]))
            return not isinstance(outcome, Acked)

        wait_until(refused, "background work meets the damage")
        assert caller.read("fetch_metrics", trial=trial, name="acc")["steps"]
    finally:
        engine.close()
