"""The steps of the tables, and what they lead to."""

from __future__ import annotations

from pathlib import Path

import apsw

from old_stores import old_sqlite
from track_server.storage.sqlite.migrations import MIGRATIONS, VERSION
from track_server.storage.sqlite.store import open_store


def tables(path: Path) -> list[tuple[str, str, str]]:
    db = apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)
    found = [
        (str(kind), str(name), " ".join(str(sql).split()))
        for kind, name, sql in db.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"
        )
    ]
    db.close()
    return found


def test_there_is_a_step_from_each_version_to_the_next() -> None:
    assert list(MIGRATIONS) == list(range(VERSION))
    assert all(MIGRATIONS.values())


def test_an_old_store_gets_the_tables_of_a_new_one(tmp_path: Path) -> None:
    old, new = old_sqlite(tmp_path / "old.db"), tmp_path / "new.db"
    for path in (old, new):
        open_store(path).close()
    # How the first version broke its lines and ended them is no difference.
    assert [each[:2] for each in tables(old)] == [each[:2] for each in tables(new)]


def test_the_tables_of_the_first_version_are_those_that_it_made(tmp_path: Path) -> None:
    db = apsw.Connection(str(tmp_path / "first.db"))
    for statement in MIGRATIONS[0]:
        db.execute(statement)
    db.close()
    assert tables(tmp_path / "first.db") == tables(old_sqlite(tmp_path / "old.db"))
