"""Stores as older versions of this software left them, and whether they still hold what they held."""

from __future__ import annotations

import gzip
import math
import shutil
from pathlib import Path
from typing import Any

from track_protocol.query.parse import parse_query
from track_protocol.wire.columns import unpack
from track_server.storage.contract import Store

__all__ = ["ASSETS", "SID", "check_holds_everything", "old_json", "old_sqlite"]

ASSETS = Path(__file__).parents[1] / "server" / "storage" / "assets"
SID = b"v" * 16


def old_sqlite(path: Path, version: int = 1) -> Path:
    """A SQLite store of an old version at `path`."""
    path.write_bytes(gzip.decompress((ASSETS / f"v{version}.db.gz").read_bytes()))
    return path


def old_json(path: Path, version: int = 1) -> Path:
    """A file store of an old version at `path`, whose journal holds its last transaction."""
    shutil.copy(ASSETS / f"v{version}.json", path)
    shutil.copy(ASSETS / f"v{version}.json.journal", path.with_name(f"{path.name}.journal"))
    return path


def check_holds_everything(store: Store, version: int = 1) -> None:
    """Fail unless the store holds what the old ones of that version hold."""
    with store.snapshot() as view:
        trials: list[Any] = view.trials(parse_query({}))
        assert [trial["uid"] for trial in trials] == ["hash0_0", "hash1_0", "hash2_0"]
        assert [trial["parameters"]["lr"] for trial in trials] == [0.1, 0.1 / 2, 0.1 / 3]
        assert all(trial["tags"] == {"old": True} for trial in trials)
        for trial in trials:
            points = view.points(trial["id"], "metric", "loss", 0, 10)
            assert points is not None
            *numbers, last = unpack(points.values)
            assert (numbers, math.isnan(last)) == ([1.0, 0.5, 0.25, 0.125], True)
        assert view.group("g") is not None
        project = view.project("last")
        assert project is not None
        state = view.session(SID)
        assert state is not None
        assert state.last_seq == 24
        assert state.last_reply is not None
        assert state.last_reply[0] == 24
        assert [record.runs for record in view.rejected(None, 0, 10)] == [((25, 25),)] * (version - 1)
        assert [lease.sid for lease in view.leases(trials[1]["id"])] == [SID] * (version - 1)
        assert all(trial["media"] == {} for trial in trials)
