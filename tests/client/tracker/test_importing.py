"""Imports: all that a database holds arrives, once, however often it is imported or interrupted."""

from __future__ import annotations

import math
import socket
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from older_databases import OlderDatabase
from running_server import environment, serving
from track import TrackClient, Tracker
from track.persistence import get_protocol
from track.persistence.multiplexer import ProtocolMultiplexer
from track.persistence.protocol import Protocol
from track.tracker.importing import IMPORTED, Imported, ImportFailed, import_database
from track.tracker.legacy import LegacyDatabase
from track_protocol.errors import ServerUnreachable
from track_protocol.model.entities import Status, Trial
from track_server.app import Settings
from waiting import wait_until

RUNS = 600


@pytest.fixture
def older(tmp_path: Path) -> OlderDatabase:
    return OlderDatabase(tmp_path / "mnist.db")


@pytest.fixture(params=["sqlite", "file", "ephemeral", "socket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Protocol]:
    """Every kind of store."""
    uris = {"sqlite": f"sqlite:{tmp_path}/new.sqlite", "file": f"file:{tmp_path}/new.json"}
    if request.param == "socket":
        with serving(Settings(backend=f"sqlite:{tmp_path}/server.db", home=tmp_path / "home")) as served:
            protocol = get_protocol(served.join("importer"))
            yield protocol
            protocol.close()
        return
    protocol = get_protocol(uris.get(request.param, "ephemeral:"))
    yield protocol
    protocol.close()


@pytest.fixture
def memory() -> Iterator[Protocol]:
    protocol = get_protocol("ephemeral:")
    yield protocol
    protocol.close()


def imported(older: OlderDatabase, store: Protocol, project: str = "mnist") -> Imported:
    return import_database(LegacyDatabase(older.path), store, project)


def trials(store: Protocol) -> list[Trial]:
    return store.fetch_trials({})


def points(store: Protocol, trial: Trial, name: str) -> list[tuple[Any, float, Any]]:
    series = store.fetch_metrics(trial, name)
    return list(zip(series.steps, series.times, series.values, strict=True))


def everything(store: Protocol) -> list[Any]:
    """All that a store holds of its trials."""
    return [
        (
            *(trial.id, trial.uid, trial.name, trial.status, trial.parameters),
            # How often a trial was changed, and when, is imported, too.
            {name: value for name, value in trial.metadata.items() if not name.startswith("_")},
            [(name, repr(points(store, trial, name))) for name in sorted(trial.metrics)],
        )
        for trial in trials(store)
    ]


def test_a_run_is_imported_completely(older: OlderDatabase, store: Protocol) -> None:
    config = {"lr": 0.01, "layers": [1, 2], "nested": {"a": None}}
    older.add(
        "baseline",
        1_600_000_000.25,
        "failed",
        config,
        [("loss", 0, 2.5, 1.5), ("acc", 0, 0.1, 1.5), ("loss", 1, 1.5, 1.75)],
    )
    assert imported(older, store) == Imported(runs=1, new_runs=1, points=3)
    (trial,) = trials(store)
    assert (trial.name, trial.parameters, trial.status) == ("baseline", config, Status.Broken)
    assert (trial.metadata["run_id"], trial.metadata["created_at"]) == (1, 1_600_000_000.25)
    assert trial.metadata[IMPORTED] == {"database": str(older.path), "run_id": 1, "status": "failed"}
    assert points(store, trial, "loss") == [(0, 1.5, 2.5), (1, 1.75, 1.5)]
    assert points(store, trial, "acc") == [(0, 1.5, 0.1)]


def test_a_second_import_adds_nothing(older: OlderDatabase, store: Protocol) -> None:
    for number in range(5):
        older.add(config={"n": number}, records=[("m", step, step / 2, 1.0) for step in range(20)])
    imported(older, store)
    before = everything(store)
    assert imported(older, store) == Imported(runs=5)
    assert everything(store) == before


def test_what_is_new_since_is_added(older: OlderDatabase, memory: Protocol) -> None:
    run = older.add(status="running", records=[("m", 0, 0.0, 1.0), ("m", 1, 1.0, 2.0)])
    imported(older, memory)
    assert [trial.status for trial in trials(memory)] == [Status.Suspended]
    older.record(run, [("m", 1, 1.5, 3.0), ("other", 0, 9.0, 4.0)])
    older.execute("UPDATE runs SET status = 'completed'")
    older.add("later")
    assert imported(older, memory) == Imported(runs=2, new_runs=1, points=2)
    first = trials(memory)[0]
    assert points(memory, first, "m") == [(0, 1.0, 0.0), (1, 2.0, 1.0), (1, 3.0, 1.5)]
    assert (points(memory, first, "other"), first.status) == ([(0, 4.0, 9.0)], Status.Completed)


def test_an_import_that_was_interrupted_anywhere_is_completed_by_the_next(
    older: OlderDatabase, memory: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        older.add(records=[(name, step, number, 1.0) for step in range(30) for name in ("a", "b")])
    monkeypatch.setattr("track.tracker.importing._POINTS_AT_ONCE", 7)
    for allowed in (0, 1, 3, 10, 20):
        left = iter(range(allowed))

        def interrupted(remaining: int, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            import_database(LegacyDatabase(older.path), memory, "mnist", interrupted)
        assert all(trial.status is Status.Suspended for trial in trials(memory)[-1:]), "it looks complete"
    imported(older, memory)
    with closing(get_protocol("ephemeral:")) as at_once:
        imported(older, at_once)
        assert everything(memory) == everything(at_once)


def test_quirks_of_values_survive(tmp_path: Path, store: Protocol) -> None:
    older = OlderDatabase(tmp_path / "loose.db", strict=False)
    values = [math.inf, -math.inf, None, struct.pack("<f", 0.5), "text", 3, 1e-320]
    older.add(created_at=5.0, records=[("m", 0, value, None) for value in values])
    imported(older, store)
    (trial,) = trials(store)
    read = points(store, trial, "m")
    assert repr([value for _, _, value in read]) == "[inf, -inf, nan, 0.5, 'text', 3.0, 1e-320]"
    assert {at for _, at, _ in read} == {5.0}


def test_runs_of_one_name_and_configuration_are_separate_trials(
    older: OlderDatabase, memory: Protocol
) -> None:
    for _ in range(3):
        older.add("same", 1.0)
    imported(older, memory)
    assert [trial.revision for trial in trials(memory)] == [0, 1, 2]
    assert [trial.metadata["run_id"] for trial in trials(memory)] == [1, 2, 3]


@pytest.mark.parametrize("name", ["", "x" * 300, "line\nbreak", "ümläut " * 60])
def test_a_metric_with_an_invalid_name_is_renamed_and_reported(
    older: OlderDatabase, memory: Protocol, name: str
) -> None:
    older.add(records=[(name, 0, 1.0, 1.0), ("m", 0, 2.0, 1.0)])
    imported(older, memory)
    assert imported(older, memory).points == 0
    (trial,) = trials(memory)
    ((short, long),) = trial.metadata[IMPORTED]["metrics"].items()
    assert long == name
    assert points(memory, trial, short) == [(0, 1.0, 1.0)]


def test_a_configuration_that_cannot_be_stored_completely_is_stored_as_text_too(
    older: OlderDatabase, memory: Protocol
) -> None:
    older.add(config='{"n": 123456789012345678901234567890, "lr": 0.1}')
    imported(older, memory)
    (trial,) = trials(memory)
    assert trial.parameters == {"n": "123456789012345678901234567890", "lr": 0.1}
    assert trial.metadata[IMPORTED]["config"] == '{"n": 123456789012345678901234567890, "lr": 0.1}'


def test_records_of_deleted_runs_are_left_out_and_reported(older: OlderDatabase, memory: Protocol) -> None:
    older.add(records=[("m", 0, 1.0, 1.0)])
    older.record(99, [("m", 0, 1.0, 1.0), ("m", 1, 1.0, 1.0)])
    assert imported(older, memory) == Imported(runs=1, new_runs=1, points=1, orphans=2)


def test_existing_run_numbers_do_not_change(older: OlderDatabase, memory: Protocol) -> None:
    tracker = Tracker(memory)
    tracker.set_experiment("mnist")
    with tracker.run("ours") as ours:
        pass
    older.add("theirs")
    older.add("theirs, too")
    imported(older, memory)
    assert ours == 1
    numbers = {run.name: run.run_id for run in tracker.get_all_runs()}
    assert numbers["ours"] == 1
    assert numbers["theirs"] > 2**32
    assert numbers["theirs, too"] == 2
    with tracker.run("next") as number:
        assert number == 3


def test_a_tracker_and_a_client_read_imported_runs(older: OlderDatabase, memory: Protocol) -> None:
    older.add(
        "r", 1.0, "completed", {"lr": 0.1}, [("loss", step, 1.0 / (1 + step), step) for step in range(9)]
    )
    imported(older, memory)
    tracker = Tracker(memory)
    tracker.set_experiment("mnist")
    old, new = LegacyDatabase(older.path), tracker
    assert [vars(run) | {"full_status": ""} for run in new.get_all_runs()] == [
        vars(run) | {"full_status": ""} for run in old.get_all_runs()
    ]
    assert new.get_results(1) == {"loss": old.get_records(1, "loss")}
    assert new.summary(1)["loss"] == pytest.approx(old.get_metric_summary(1)["loss"])
    client = TrackClient(memory)
    logger = client.set_trial(trial=trials(memory)[0])
    assert logger.trial.metrics["loss"][0] == 1.0


def test_several_stores_at_once_get_the_same(older: OlderDatabase, memory: Protocol, tmp_path: Path) -> None:
    older.add(records=[("m", 3, 1.0, 2.0)])
    with closing(get_protocol(f"file:{tmp_path}/copy.json")) as file:
        both = ProtocolMultiplexer(memory, file)
        assert [imported(older, both).points for _ in range(2)] == [1, 0]
        for store in (memory, file):
            (trial,) = trials(store)
            assert points(store, trial, "m") == [(3, 2.0, 1.0)]
        assert both.failures == []


def test_two_projects_get_a_copy_each(older: OlderDatabase, memory: Protocol) -> None:
    older.add(records=[("m", 0, 1.0, 1.0)])
    imported(older, memory, "a")
    imported(older, memory, "b")
    assert len({trial.id for trial in trials(memory)}) == 2


def test_a_copy_of_the_database_is_the_same_database(
    older: OlderDatabase, memory: Protocol, tmp_path: Path
) -> None:
    older.add(records=[("m", 0, 1.0, 1.0)])
    imported(older, memory)
    copy = tmp_path / "backup" / "other name.db"
    copy.parent.mkdir()
    copy.write_bytes(older.path.read_bytes())
    assert import_database(LegacyDatabase(copy), memory, "mnist") == Imported(runs=1)


def test_a_run_that_cannot_be_stored_ends_the_import_with_an_error(
    older: OlderDatabase, memory: Protocol
) -> None:
    older.add(records=[("m", 0, b"x" * 100_000, 1.0)])
    with pytest.raises(ImportFailed, match=r"mnist\.db could not be stored completely"):
        imported(older, memory)


def test_many_runs_arrive_once(older: OlderDatabase, store: Protocol) -> None:
    with closing(sqlite3.connect(older.path)) as db, db:
        db.executemany(
            "INSERT INTO runs (name, created_at, status, config) VALUES (?, ?, 'completed', ?)",
            [(f"run_{n % 7}", 1e9 + n, f'{{"n": {n}}}') for n in range(RUNS)],
        )
        db.execute("INSERT INTO metrics (name) VALUES ('loss')")
        db.executemany(
            "INSERT INTO records (run_id, metric_id, step, value, wall_time) VALUES (?, 1, ?, ?, ?)",
            [(1 + n, step, n + step / 10, 1e9 + n) for n in range(RUNS) for step in range(4)],
        )
    assert imported(older, store) == Imported(runs=RUNS, new_runs=RUNS, points=4 * RUNS)
    assert imported(older, store) == Imported(runs=RUNS)
    found = trials(store)
    assert [trial.metadata["run_id"] for trial in found] == list(range(1, RUNS + 1))
    assert {trial.metrics.summary("loss")["count"] for trial in found} == {4}  # type: ignore[attr-defined]  # it is a SeriesMapping
    assert points(store, found[567], "loss") == [(step, 1e9 + 567, 567 + step / 10) for step in range(4)]


def test_an_unreachable_store_is_reported(older: OlderDatabase) -> None:
    older.add()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    protocol = get_protocol(
        f"socket://me:token@127.0.0.1:{port}?timeout=0.2&offline=never&pin=sha256:{'A' * 43}"
    )
    with pytest.raises(ServerUnreachable):
        imported(older, protocol)


def test_nothing_is_dropped_however_fast_the_import_is(
    older: OlderDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What does not fit into the outbox would be dropped.
    monkeypatch.setattr("track.tracker.importing._FLUSH_EVERY", 500)
    older.add(records=[("m", step, 1.0, 1.0) for step in range(5_000)])
    with closing(get_protocol("ephemeral:")) as memory:
        waited: list[float | None] = []
        flush = memory.flush

        def counted(timeout: float | None = None) -> None:
            waited.append(timeout)
            flush(timeout)

        monkeypatch.setattr(memory, "flush", counted)
        monkeypatch.setattr("track.tracker.importing._POINTS_AT_ONCE", 500)
        imported(older, memory)
        assert len(waited) >= 10


def media_database(tmp_path: Path) -> OlderDatabase:
    """A run with something in each of the newer tables, some of which no store takes as it is."""
    older = OlderDatabase(tmp_path / "newer.db", media=True)
    run = older.add(created_at=5.0)
    older.execute(
        "INSERT INTO graphs (run_id, graph_json, created_at) VALUES (?, '{\"nodes\": []}', 6.5)", run
    )
    for step, edges, counts in ((2, "[0, 0.5, 1]", "[3, 4]"), (1, "[0, 1]", "[1]"), (3, "[1, 0]", "[1]")):
        older.execute(
            "INSERT INTO histograms (run_id, name, step, bucket_edges, bucket_counts, wall_time) "
            "VALUES (?, 'weights', ?, ?, ?, 7.5)",
            *(run, step, edges, counts),
        )
    for channels in (1, 2):
        older.execute(
            "INSERT INTO images (run_id, name, step, width, height, channels, image_data, wall_time) "
            "VALUES (?, 'sample', 1, 2, 1, ?, ?, 8.5)",
            *(run, channels, bytes(range(2 * channels))),
        )
    older.execute(
        "INSERT INTO texts (run_id, name, step, content) VALUES (?, 'notes', 4, ?)", run, "ü" * 20_000
    )
    return older


def test_media_arrive_with_their_times_and_once(tmp_path: Path, store: Protocol) -> None:
    older = media_database(tmp_path)
    assert imported(older, store) == Imported(runs=1, new_runs=1, media=7)
    assert imported(older, store) == Imported(runs=1)
    tracker = Tracker(store)
    tracker.set_experiment("mnist")
    manager = tracker.db_manager
    assert manager is not None
    reported = manager.get_histograms(1)["weights"]
    assert [(each["step"], each["bucket_counts"], each["wall_time"]) for each in reported] == [
        (1, [1], 7.5),
        (2, [3, 4], 7.5),
    ]
    (image,) = manager.get_images(1)["sample"]
    assert (image["image_data"], image["wall_time"]) == (b"\x00\x01", 8.5)
    (text,) = manager.get_texts(1)["notes"]
    assert (text["step"], text["content"], text["wall_time"]) == (4, "ü" * 20_000, 5.0)
    assert manager.get_comp_graphs(1) == [{"id": 1, "graph": {"nodes": []}, "created_at": 6.5}]
    (trial,) = trials(store)
    # What is no image or histogram of a store's is imported as it was.
    files = store.fetch_media(trial, "file")
    assert files["sample"].content(0) == bytes(range(4))
    assert b'"bucket_edges": [1, 0]' in files["weights"].content(0)


def test_media_that_are_new_since_are_added(tmp_path: Path, memory: Protocol) -> None:
    older = media_database(tmp_path)
    imported(older, memory)
    older.execute("INSERT INTO texts (run_id, name, step, content) VALUES (1, 'notes', 1, 'later')")
    older.execute("REPLACE INTO graphs (run_id, graph_json, created_at) VALUES (1, '{\"edges\": []}', 9.0)")
    assert imported(older, memory) == Imported(runs=1, media=2)
    assert imported(older, memory) == Imported(runs=1)


def test_an_import_that_was_killed_is_completed_by_the_next(tmp_path: Path) -> None:
    older = OlderDatabase(tmp_path / "mnist.db")
    for number in range(3):
        older.add(f"run {number}", records=[("loss", step, step, step) for step in range(40_000)])
    with serving(Settings(backend=f"sqlite:{tmp_path}/s.db", home=tmp_path / "home")) as served:
        uri = served.join("importer")
        command = [sys.executable, "-m", "track.cli", "import", str(older.path), "--to", uri]
        with closing(get_protocol(uri)) as store:
            killed = subprocess.Popen(
                command, stdout=subprocess.PIPE, env=environment(TRACK_SPOOL=f"{tmp_path}/spools")
            )
            wait_until(
                lambda: any(map(_has_points, trials(store))) or killed.poll() is not None, "the first points"
            )
            killed.kill()
            killed.communicate()
            assert imported(older, store).points > 0, "it was not killed under way"
            assert imported(older, store) == Imported(runs=3)
            for trial in trials(store):
                assert points(store, trial, "loss") == [(step, step, step) for step in range(40_000)]
                assert trial.status is Status.Completed


def _has_points(trial: Trial) -> bool:
    return bool(trial.metrics)
