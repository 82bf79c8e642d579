"""Outboxes with a copy on disk, to a store in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memory_link import MemoryStore
from spooling import MakeOutbox
from track.outbox import Outbox
from track.outbox.queue import Limits
from track.spool.options import SpoolOptions, SpoolSync


@pytest.fixture
def make_outbox(store: MemoryStore, tmp_path: Path) -> Iterator[MakeOutbox]:
    """Outboxes with a spool in the test's folder, which end with the test whatever the store does."""
    made: list[Outbox] = []

    def make(
        sync: SpoolSync = SpoolSync.INTERVAL,
        limits: Limits | None = None,
        connect_timeout: float = 10.0,
        **options: Any,
    ) -> Outbox:
        outbox = Outbox(
            store.link,
            "the store",
            connect_timeout=connect_timeout,
            limits=limits,
            spool=SpoolOptions(tmp_path / "spool", sync, **options),
            address="memory:",
        )
        made.append(outbox)
        return outbox

    yield make
    store.unreachable = True
    store.break_links()
    for outbox in made:
        outbox.on_exit(0.0)
