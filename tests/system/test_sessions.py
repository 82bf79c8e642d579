"""Sessions that another client takes over, and reports of records that can never be stored."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from running_server import serving
from socket_peers import joined
from track import TrackClient
from track.outbox import Outbox
from track.persistence.remote import OutboxProtocol
from track_protocol.errors import SessionFenced
from track_protocol.model.entities import Trial
from track_server.app import Settings
from track_server.embedded import open_file, open_sqlite
from track_server.methods.rejected import POINTS

SECONDS = 20.0


def outbox_of(client: TrackClient) -> Outbox:
    assert isinstance(client.protocol, OutboxProtocol)
    return client.protocol.outbox


def drop_counts(client: TrackClient) -> tuple[int, int]:
    """Dropped and rejected."""
    drops = outbox_of(client).drops
    return drops.dropped, drops.rejected


def values_of(client: TrackClient, trial: Trial) -> list[float]:
    return list(client.protocol.fetch_metrics(trial, "loss").values)


def test_a_live_client_takes_its_session_back_without_loss(tmp_path: Path) -> None:
    settings = Settings(backend=f"sqlite:{tmp_path}/runs.db", home=tmp_path / "home")
    with serving(settings) as served:
        uri = served.join("ann")
        client = TrackClient(uri)
        trial = client.protocol.new_trial(Trial(name="t"))
        assert trial is not None
        outbox = outbox_of(client)
        for round in range(5):
            client.protocol.log_trial_metrics(trial, step=round, loss=float(round))
            with pytest.raises(SessionFenced), joined(uri, outbox.session) as thief:
                thief.link.poll(SECONDS)  # unless it was fenced while it logged in
            client.protocol.log_trial_metadata(trial, round=round)
            client.protocol.flush(SECONDS)
        assert client.protocol.new_trial(Trial(name="behind it")) is not None
        assert values_of(client, trial) == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert (outbox.problem, drop_counts(client)) == (None, (0, 0))
        client.protocol.close()


@pytest.mark.parametrize("opener", [open_sqlite, open_file])
def test_an_embedded_client_takes_its_session_back_too(opener: Any, tmp_path: Path) -> None:
    uri = f"{'sqlite' if opener is open_sqlite else 'file'}:{tmp_path}/runs"
    client = TrackClient(uri)
    trial = client.protocol.new_trial(Trial(name="t"))
    assert trial is not None
    session = outbox_of(client).session
    for round in range(3):
        thief = opener(uri)()
        thief.open(session, SECONDS)
        thief.close()
        client.protocol.log_trial_metrics(trial, step=round, loss=float(round))
        client.protocol.flush(SECONDS)
    thief = opener(uri)()
    thief.open(session, SECONDS)
    assert client.protocol.new_trial(Trial(name="a call is sent again")) is not None
    thief.close()
    assert values_of(client, trial) == [0.0, 1.0, 2.0]
    assert (outbox_of(client).problem, drop_counts(client)) == (None, (0, 0))
    client.protocol.close()


@pytest.mark.parametrize("backend", ["sqlite:{}/runs.db", "file:{}/runs.json", "ephemeral:"])
def test_a_client_can_fetch_its_rejected_records(backend: str, tmp_path: Path) -> None:
    settings = Settings(backend=backend.format(tmp_path), home=tmp_path / "home")
    with serving(settings) as served:
        client = TrackClient(served.join("ann"))
        trial, unknown = (
            client.protocol.new_trial(Trial(name="t")),
            Trial(name="unknown", id=uuid.uuid4().bytes),
        )
        assert trial is not None
        for step in range(300):
            client.protocol.log_trial_metrics(unknown, step=step, loss=0.5, accuracy=1.0)
        client.protocol.log_trial_metrics(trial, step=0, loss=0.5)
        client.protocol.flush(SECONDS)
        records = client.protocol.fetch_rejected()
        assert sum(record.records for record in records) == 300
        assert sum(record.points for record in records) == 600
        assert {(record.method, record.trial, record.names) for record in records} == {
            (POINTS, unknown.id, ("loss", "accuracy"))
        }
        assert client.protocol.fetch_rejected(unknown) == records
        assert client.protocol.fetch_rejected(trial) == []
        assert drop_counts(client) == (0, 300)
        client.protocol.close()


def test_a_report_shows_dropped_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with TrackClient(f"sqlite:{tmp_path}/runs.db") as client:
        client.set_project(name="lossy")
        trial = client.new_trial(name="t").trial
        client.log_metrics(loss=1.0)
        client.protocol.log_trial_dropped_points(trial, 7, "no room was left")
        client.protocol.flush(SECONDS)
        client.report()
    losses = json.loads(capsys.readouterr().out)["metadata"]["dropped_points"]
    assert losses == {"points": 7, "reasons": {"no room was left": 7}}
