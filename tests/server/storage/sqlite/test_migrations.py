"""The steps of the tables."""

from __future__ import annotations

from track_server.storage.sqlite.migrations import MIGRATIONS, current_version


def test_there_is_a_step_from_each_version_to_the_next() -> None:
    assert list(MIGRATIONS) == list(range(current_version()))
    assert all(MIGRATIONS.values())
