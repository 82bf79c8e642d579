"""The SQLite store of each version as this software left it: how it is made, and what it holds.

``python tests/support/frozen_store.py`` makes the one of the present version anew.  That is right while the
version is not released, and its tables change; behind a release they get a step, and the file stays as it is.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import tempfile
from pathlib import Path

from engine_calls import Caller, points
from track_protocol.query.parse import parse_query
from track_protocol.wire.batch import CallOp
from track_protocol.wire.columns import unpack
from track_server.engine.engine import Engine
from track_server.storage.contract import Store
from track_server.storage.sqlite.migrations import current_version
from track_server.storage.sqlite.store import open_store

__all__ = ["VERSIONS", "check_holds_everything", "thawed"]

_ASSETS = Path(__file__).parents[1] / "server" / "storage" / "assets"
VERSIONS = range(1, current_version() + 1)
SID = b"v" * 16
CONTENT = b"weights" * 1_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
LOSSES = [1.0, 0.5, math.inf, 0.25]


def thawed(path: Path, version: int) -> Path:
    """The store of a version, at `path`."""
    path.write_bytes(gzip.decompress((_ASSETS / f"v{version}.db.gz").read_bytes()))
    return path


def check_holds_everything(store: Store) -> None:
    """Fail unless a store holds what each frozen one holds."""
    with store.snapshot() as view:
        (project,) = view.projects(parse_query({}, "project"))
        (group,) = view.groups(parse_query({}, "group"))
        first, second = view.trials(parse_query({}))
        assert (project["uid"], group["uid"], group["trials"]) == ("p", "g", ["h_0"])
        assert (first["uid"], first["parameters"], first["tags"]) == ("h_0", {"lr": 0.1}, {"old": True})
        assert (second["uid"], second["status"]["name"]) == ("h_1", "Running")
        found = view.points(first["id"], "metric", "loss", 0, 10)
        assert found is not None
        assert list(unpack(found.values)) == LOSSES[:3]
        later = view.points(first["id"], "superseded", "loss", 0, 10)
        assert later is not None
        assert list(unpack(later.values)) == LOSSES[3:]
        assert view.blob_data(DIGEST, 0, len(CONTENT)) == CONTENT
        assert [lease.sid for lease in view.leases(second["id"])] == [SID]
        (rejected,) = view.rejected(None, 0, 10)
        assert rejected.names == ("lost",)
        state = view.session(SID)
        assert state is not None
        assert state.last_reply is not None
        assert state.last_seq == state.last_reply[0]


def _fill(store: Store) -> None:
    engine = Engine(store)
    caller = Caller(engine, sid=SID)
    caller.attach()
    caller.call("new_project", project={"uid": "p", "name": "digits"})
    caller.call("new_trial_group", group={"uid": "g", "name": "sweep", "project_id": "p"})
    first = caller.new_trial(parameters={"lr": 0.1}, tags={"old": True}, project_id="p", group_id="g")["id"]
    caller.logged("add_group_trial", group="g", trial=first)
    caller.logged("add_project_trial", project="p", trial=first)
    caller.log(points(first, loss=LOSSES))
    caller.logged("rewind_trial", trial=first, step=2, time=1e9)
    caller.log(CallOp(0, "put_blob", {"digest": DIGEST, "size": len(CONTENT), "offset": 0, "data": CONTENT}))
    caller.log(points(b"?" * 16, lost=[1.0]))
    second = caller.new_trial()["id"]
    caller.logged("log_trial_start", trial=second, time=1.0, rank=0)
    caller.call("commit")
    engine.close()


def _freeze() -> None:
    _ASSETS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        _fill(open_store(path, exclusive=True))
        store = open_store(path, exclusive=True)
        check_holds_everything(store)
        store.close()
        packed = gzip.compress(path.read_bytes(), mtime=0)
    (_ASSETS / f"v{current_version()}.db.gz").write_bytes(packed)


if __name__ == "__main__":
    _freeze()
