"""Disks that fill up for real, under real engines, stores and clients.

Negative controls, each of which makes a test here fail:

* `Lane._commit` without its ``tx.rollback()``: no write succeeds after the first refusal.
* `copied_before_migration` behind the migration: an old store is changed though no copy of it was made.
* `Engine.submit_attach` without its check for `StoreFull`: a new client cannot read while the disk is full.
* `Hub.events` without its look at ``fault``: a page does not say why no point comes.
* `Delivery._refuse` with ``self._backlog.clear()`` for its last line: points are lost.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from board_visits import Visit
from engine_calls import Caller, points
from running_server import serving
from track import TrackClient
from track.persistence.remote import OutboxProtocol
from track_protocol.errors import StoreFull
from track_protocol.wire.batch import Batch
from track_protocol.wire.columns import Column, unpack
from track_protocol.wire.link import Acked
from track_server.app import Settings
from track_server.engine.engine import Engine
from track_server.http.settings import HttpSettings
from track_server.stores import open_store
from waiting import wait_until

STORES = ["sqlite:{}/runs.db", "file:{}/runs.json"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a disk that fills up needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(disk: Path) -> Path:
    """A file that takes all the room that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return filler


def _noise(count: int) -> list[float]:
    return [random.random() for _ in range(count)]


def _stored(caller: Caller, trial: bytes) -> list[float]:
    answer = caller.read("fetch_metrics", trial=trial, name="loss")
    return list(unpack(Column(*answer["values"])))


def _refusal(caller: Caller, trial: bytes, stored: list[float]) -> tuple[Batch, list[float], StoreFull]:
    """Log until the disk has no more room; the batch that was refused, its values, and the error."""
    for _ in range(100):
        values = _noise(20_000)
        batch = Batch(caller.seq + 1, len(values), [points(trial, loss=values)])
        outcome = caller.batch(batch)
        if isinstance(outcome, StoreFull):
            return batch, values, outcome
        assert outcome == Acked(batch.last)
        caller.seq = batch.last
        stored += values
    raise AssertionError("the disk never filled up")


@pytest.mark.parametrize("uri", STORES)
def test_a_full_disk_refuses_writes_serves_reads_and_resumes_exactly_once(disk: Path, uri: str) -> None:
    engine = Engine(open_store(uri.format(disk), exclusive=True))
    try:
        caller = Caller(engine)
        trial = caller.new_trial()["id"]
        stored = [1.0, 2.0]
        assert caller.log(points(trial, loss=stored)) == Acked(3)
        filler = _fill(disk)
        batch, values, error = _refusal(caller, trial, stored)
        assert "runs." in str(error)
        assert isinstance(caller.batch(batch), StoreFull)
        assert engine.last_seq(caller.writer) == caller.seq
        assert _stored(caller, trial) == stored
        filler.unlink()
        assert caller.batch(batch) == Acked(batch.last)
        assert caller.batch(batch) == Acked(batch.last)
        assert _stored(caller, trial) == stored + values
    finally:
        engine.close()
    again = Engine(open_store(uri.format(disk), exclusive=True))
    try:
        assert _stored(Caller(again), trial) == stored + values
    finally:
        again.close()


def _log_across_a_full_disk(uri: str, disk: Path) -> None:
    with TrackClient(uri) as client:
        client.set_project(name="full")
        trial = client.new_trial(name="t").trial
        client.log_metrics(loss=-1.0)
        assert len(client.protocol.fetch_metrics(trial, "loss")) == 1
        filler = _fill(disk)
        for step in range(30_000):
            client.log_metrics(step=step, loss=random.random(), acc=random.random())
        assert isinstance(client.protocol, OutboxProtocol)
        outbox = client.protocol.outbox
        wait_until(
            lambda: isinstance(outbox.problem, StoreFull),
            "the store refuses what it has no room for",
        )
        filler.unlink()
        assert len(client.protocol.fetch_metrics(trial, "acc")) == 30_000
        assert len(client.protocol.fetch_metrics(trial, "loss")) == 30_001


@pytest.mark.parametrize("uri", STORES)
def test_a_served_client_needs_no_help_when_there_is_room_again(disk: Path, tmp_path: Path, uri: str) -> None:
    with serving(Settings(backend=uri.format(disk), home=tmp_path / "home")) as served:
        _log_across_a_full_disk(served.join("ann"), disk)


@pytest.mark.parametrize("uri", STORES)
def test_an_embedded_client_needs_no_help_when_there_is_room_again(disk: Path, uri: str) -> None:
    _log_across_a_full_disk(uri.format(disk), disk)


@pytest.mark.parametrize("uri", STORES)
def test_a_writer_who_comes_while_the_disk_is_full_can_read(disk: Path, tmp_path: Path, uri: str) -> None:
    with serving(Settings(backend=uri.format(disk), home=tmp_path / "home")) as served:
        join = served.join("ann")
        with TrackClient(join) as first:
            first.set_project(name="full")
            first.new_trial(name="t")
            first.log_metrics(loss=-1.0)
            first.protocol.flush(30)
            _fill(disk)
            with TrackClient(join) as second:
                assert len(second.protocol.fetch_trials({})) == 1
            (disk / "filler").unlink()


@pytest.mark.parametrize("uri", STORES)
def test_pages_of_the_board_are_told_that_the_disk_is_full(disk: Path, tmp_path: Path, uri: str) -> None:
    settings = Settings(backend=uri.format(disk), home=tmp_path / "home", http=HttpSettings(port=0))
    with serving(settings) as served:
        assert served.server is not None
        visit = Visit(str(served.server.board_url))
        assert visit.log_in().status == 200
        with TrackClient(served.join("ann")) as client, visit.listening() as events:
            client.set_project(name="full")
            client.new_trial(name="t")
            client.log_metrics(loss=-1.0)
            client.protocol.flush(30)
            _fill(disk)
            for step in range(30_000):
                client.log_metrics(step=step, loss=random.random())
            told = next(data["message"] for name, _, data in events if name == "fault")
            assert "writes are refused" in told
            with visit.listening() as others:  # a page that comes later
                assert next(data["message"] for name, _, data in others if name == "fault") == told
            (disk / "filler").unlink()
