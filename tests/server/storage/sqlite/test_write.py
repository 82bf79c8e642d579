from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from stored_trials import add_trials, trial_document, trial_id
from track_protocol.errors import ItemNotFound, StoreError
from track_server.storage.contract import SessionState
from track_server.storage.sqlite.store import SqliteStore, open_store
from track_server.storage.unit_of_work import begin


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(tmp_path / "runs.db", exclusive=True)
    add_trials(opened, 1)
    yield opened
    opened.close()


def test_a_field_that_a_trial_does_not_have_is_refused(store: SqliteStore) -> None:
    tx = begin(store)
    with pytest.raises(KeyError, match="no field 'colour'"):
        tx.update_trial(trial_id(), {"colour": "red"})
    tx.rollback()


def test_a_second_trial_of_the_same_uid_is_refused(store: SqliteStore) -> None:
    tx = begin(store)
    tx.add_trial(trial_document(2, uid="hash1_0"))
    with pytest.raises(apsw.ConstraintError):
        tx.commit()
    tx.rollback()


def test_changing_an_unknown_trial_is_refused(store: SqliteStore) -> None:
    tx = begin(store)
    with pytest.raises(ItemNotFound):
        tx.update_trial(trial_id(99), {"tags": {}})
    tx.rollback()


def test_linking_to_an_unknown_group_is_refused(store: SqliteStore) -> None:
    tx = begin(store)
    with pytest.raises(ItemNotFound, match="no group has the uid 'nothing'"):
        tx.link("nothing", trial_id())
    tx.rollback()


def test_a_transaction_ends_once(store: SqliteStore) -> None:
    tx = begin(store)
    tx.commit()
    with pytest.raises(StoreError, match="has ended"):
        tx.commit()
    tx.rollback()


def test_an_ended_transaction_does_not_roll_back_the_next_one(store: SqliteStore) -> None:
    first = begin(store)
    first.commit()
    second = begin(store)
    second.put_session(SessionState(b"s" * 16, "ann"))
    first.rollback()
    second.commit()
    with store.snapshot() as view:
        assert view.session(b"s" * 16) == SessionState(b"s" * 16, "ann")


def test_a_session_is_replaced_as_a_whole(store: SqliteStore) -> None:
    for state in (SessionState(b"s" * 16, "ann", 1, 7, (7, b"+")), SessionState(b"s" * 16, "ann", 2, 8)):
        tx = begin(store)
        tx.put_session(state)
        tx.commit()
    with store.snapshot() as view:
        assert view.session(b"s" * 16) == SessionState(b"s" * 16, "ann", 2, 8, None)
