"""A server that is killed under load: what it acknowledged is there, once and in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import torture_writer
from killed_server import KilledServer
from torture import count, dice, happens, say
from track_protocol.uri import scheme_of
from unprotected_server import without
from worker_processes import WorkerProcesses
from written_series import Verdict, stored_series, verdict


def acknowledged(record: Path) -> int:
    """The last number that a writer wrote down."""
    return int(record.read_text().split()[-1])


def survived(
    tmp_path: Path, store: str, writers: int, kills: int, program: Sequence[str] = ("-m", "track.cli")
) -> Verdict:
    """What became of what writers logged while their server was killed."""
    names = [f"writer-{number}" for number in range(writers)]
    with (
        KilledServer(store, tmp_path / "home", dice(), program) as server,
        WorkerProcesses(Path(torture_writer.__file__), tmp_path / "writers", names, server.join) as processes,
    ):
        server.kill(kills, processes.await_progress)
        processes.stop()
        server.report(f"{scheme_of(store)} under {writers} writers")
    confirmed = {name: acknowledged(record) for name, record in processes.records.items()}
    return verdict(confirmed, stored_series(store))


@pytest.mark.parametrize("scheme", ["sqlite", pytest.param("file", marks=pytest.mark.torture)])
def test_a_killed_server_has_every_acknowledged_point_once_and_in_order(tmp_path: Path, scheme: str) -> None:
    found = survived(tmp_path, f"{scheme}:{tmp_path}/runs", count(3, 16), count(4, 200))
    say(f"kills of the server: {found}")
    assert found.clean
    assert found.acknowledged > 0


def test_a_killed_server_leaves_in_postgres_what_it_acknowledged(tmp_path: Path, postgres_uri: str) -> None:
    found = survived(tmp_path, postgres_uri, count(3, 16), count(3, 200))
    say(f"kills of the server over PostgreSQL: {found}")
    assert found.clean
    assert found.acknowledged > 0


@pytest.mark.torture
def test_without_deduplication_kills_leave_doubles(tmp_path: Path) -> None:
    # The protection removed: the server recognises no record that comes again.
    program = without("deduplication")
    assert happens(
        lambda folder: survived(folder, f"sqlite:{folder}/runs", 4, 3, program).doubled > 0, tmp_path
    )


def test_with_acknowledgements_before_the_commit_kills_lose_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The protection removed: a batch is acknowledged when it arrives, not when it is committed.  Clients
    # would notice and send again what their spools still have, so they have none.
    monkeypatch.setenv(torture_writer.WITHOUT_SPOOL, "1")
    program = without("commit-before-acknowledgement")
    assert happens(lambda folder: survived(folder, f"sqlite:{folder}/runs", 3, 2, program).lost > 0, tmp_path)
