"""A tracker behind connections that break anywhere: what it logs arrives exactly once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from chaos_proxy import ChaosProxy
from running_server import serving
from track import Tracker
from track.persistence import get_protocol
from track_protocol.uri import Uri
from track_protocol.wire.roles import Role
from track_server.app import Settings

FAULTS = 12


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.torture)])
def test_everything_that_a_run_logs_is_there_once(tmp_path: Path, seed: int) -> None:
    with (
        serving(Settings(f"sqlite:{tmp_path}/s.db", home=tmp_path / "home")) as served,
        ChaosProxy(served.port, random.Random(seed)) as proxy,
    ):
        direct = served.join("ann", Role.WRITER)
        query = {"security_layer": "AES", "pin": served.pin, "timeout": "30", "offline": "never"}
        password = Uri.parse(direct).password
        through = Uri("socket", "127.0.0.1", proxy.new_port(), username="ann", password=password, query=query)
        with Tracker(through.to_text()) as tracker:
            tracker.set_experiment("chaos")
            with tracker.run("harmed") as run_id:
                logged = 0
                while proxy.faults.total() < FAULTS:
                    for step in range(logged, logged + 10):
                        tracker.record("loss", float(step), step)
                        tracker.histogram("weights", [0.0, float(step), 2.0 * step], step, bins=3)
                        tracker.image("sample", [[step % 256, 0], [0, step // 256]], step)
                        tracker.text("notes", f"step {step}", step)
                    logged += 10
                    assert tracker.db_manager is not None
                    tracker.db_manager.experiment.protocol.flush()
                proxy.stop_faults()
        assert proxy.faults.total() >= FAULTS
        protocol = get_protocol(direct)
        try:
            (trial,) = protocol.fetch_trials({"name": "harmed"})
            everything = list(range(logged))
            assert trial.metadata["run_id"] == run_id
            assert list(protocol.fetch_metrics(trial, "loss").steps) == everything
            for kind, name in (("histogram", "weights"), ("image", "sample"), ("text", "notes")):
                assert list(protocol.fetch_media(trial, kind, name).steps) == everything
        finally:
            protocol.close()
