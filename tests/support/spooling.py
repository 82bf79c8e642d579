"""Reads the disk queue of an outbox, and makes outboxes with a long one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memory_link import MemoryStore
from orphaned_spools import records_in
from track.outbox import Outbox
from track.outbox import disk as disk_module
from track.spool.folder import spools_in
from track.spool.options import SpoolSync
from track.spool.reader import Recovered, survey
from track_protocol.wire.batch import PointsOp
from track_protocol.wire.columns import unpack

__all__ = ["TRIAL", "MakeOutbox", "delete", "log_during_an_outage", "spooled", "spooled_values"]

TRIAL = b"t" * 16

MakeOutbox = Callable[..., Outbox]


def spooled(root: Path) -> Recovered:
    """Return the content of the only spool in `root`."""
    (folder,) = spools_in(root)
    return survey(folder, folder.name)


def spooled_values(root: Path) -> list[Any]:
    """The values of all points on disk, in order."""
    (folder,) = spools_in(root)
    found: list[Any] = []
    for _, batch in records_in(folder):
        for op in batch.ops:
            found += unpack(op.values[0]) if isinstance(op, PointsOp) else []
    return found


def delete(root: Path) -> None:
    """Delete a folder atomically, so that no file is created in it meanwhile."""
    shutil.rmtree(root.rename(root.with_name("deleted")))


def log_during_an_outage(
    make_outbox: MakeOutbox, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, calls: int
) -> Outbox:
    """An outbox whose backlog is on disk only."""
    monkeypatch.setattr(disk_module, "_MAX_MEMORY_BYTES", 0)
    store.unreachable = True
    outbox = make_outbox(SpoolSync.ALWAYS)
    write = outbox.writer(TRIAL)
    for value in range(calls):
        write(None, {"loss": float(value)})
    return outbox
