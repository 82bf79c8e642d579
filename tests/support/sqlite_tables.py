"""The tables of a SQLite store, as anybody sees them who opens its file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

__all__ = ["rows"]


def rows(path: Path, sql: str, *values: Any) -> list[Any]:
    """Execute a statement on a connection of its own, and return what it yields."""
    with closing(apsw.Connection(str(path))) as db:
        return list(db.execute(sql, values))
