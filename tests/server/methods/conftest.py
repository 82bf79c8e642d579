"""A session that calls, on a store in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine_calls import Caller
from track_server.engine.engine import Engine
from track_server.storage.ephemeral import EphemeralStore


@pytest.fixture
def ann() -> Iterator[Caller]:
    engine = Engine(EphemeralStore())
    yield Caller(engine)
    engine.close()
