"""An outbox to a store in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from memory_link import MemoryStore
from track.outbox import Outbox
from track_protocol.errors import AuthenticationError


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def outbox(store: MemoryStore) -> Iterator[Outbox]:
    made = Outbox(store.link, "the store")
    yield made
    store.unreachable, store.open_error = True, AuthenticationError("the test is over")
    store.break_links()
    made.on_exit(5.0)
