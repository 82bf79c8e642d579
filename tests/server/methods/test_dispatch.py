"""Every call has its handler."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine_calls import Caller
from track_protocol.errors import UnknownMethod
from track_protocol.wire.methods import METHODS, Access
from track_server.engine.engine import Engine
from track_server.methods.dispatch import LOGS, READS, WRITES
from track_server.storage.ephemeral import EphemeralStore


@pytest.fixture
def ann() -> Iterator[Caller]:
    engine = Engine(EphemeralStore())
    yield Caller(engine)
    engine.close()


def test_every_method_of_the_table_has_its_handler_and_no_other_has() -> None:
    handlers = {Access.READ: READS, Access.WRITE: WRITES, Access.LOG: LOGS}
    for access, table in handlers.items():
        assert set(table) == {method.name for method in METHODS.values() if method.access is access}


@pytest.mark.parametrize("method", ["new_trial", "fetch_trials", "commit", "__init__", "nothing"])
def test_only_what_is_logged_may_come_in_a_batch(ann: Caller, method: str) -> None:
    assert ann.rejection(method).code == UnknownMethod.code


def test_commit_answers_once_all_before_it_is_stored(ann: Caller) -> None:
    assert ann.call("commit") is None
