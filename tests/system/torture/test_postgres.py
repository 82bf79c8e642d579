"""A database that dies under load, or ends connections: what was acknowledged is there, once and in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import torture_writer
from postgres_server import PROGRAMS, PostgresServer
from running_server import ServerProcess
from torture import count, dice, say
from track_protocol.wire.roles import Role
from worker_processes import WorkerProcesses
from written_series import Verdict, stored_series, verdict

pytestmark = pytest.mark.skipif(
    PROGRAMS is None, reason="PostgreSQL is not installed: its package is called postgresql"
)


def survived(tmp_path: Path, store: str, writers: int, harms: int, harm: Callable[[], None]) -> Verdict:
    """What became of what writers logged while their server's database was harmed again and again."""
    names = [f"writer-{number}" for number in range(writers)]
    moments = dice()
    with (
        ServerProcess(store, tmp_path / "home") as server,
        WorkerProcesses(
            Path(torture_writer.__file__),
            tmp_path / "writers",
            names,
            lambda name: server.served.join(name, Role.WRITER, timeout="60"),
        ) as processes,
    ):
        for _ in range(harms):
            if not processes.await_progress():
                break
            time.sleep(moments.uniform(0.0, 0.2))
            harm()
        processes.stop()
        server.stop()
    confirmed = {name: int(record.read_text().split()[-1]) for name, record in processes.records.items()}
    return verdict(confirmed, stored_series(store))


def test_a_database_that_is_killed_has_every_acknowledged_point_once_and_in_order(tmp_path: Path) -> None:
    database = PostgresServer()
    try:

        def kill() -> None:
            database.kill()
            database.start()

        found = survived(tmp_path, database.uri("track"), count(3, 8), count(3, 20), kill)
    finally:
        database.stop()
    say(f"kills of PostgreSQL: {found}")
    assert found.clean
    assert found.acknowledged > 0


def test_connections_that_end_at_any_moment_lose_and_double_nothing(
    tmp_path: Path, postgres: PostgresServer, postgres_uri: str
) -> None:
    name = f"track-{tmp_path.name}"[:60]

    def cut() -> None:
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "  # noqa: S608 - the name is the test's own
            f"WHERE application_name = '{name}'"
        )

    store = f"{postgres_uri}&application_name={name}"
    found = survived(tmp_path, store, count(3, 8), count(8, 500), cut)
    say(f"connections to PostgreSQL that were ended: {found}")
    assert found.clean
    assert found.acknowledged > 0
