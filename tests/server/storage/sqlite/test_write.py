from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from stored_trials import add_trials, trial_document, trial_id
from track_protocol.errors import ItemNotFound, StoreError
from track_server.storage.contract import Changed, SessionState
from track_server.storage.sqlite import write
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


def changed_since(store: SqliteStore, cursor: str | None) -> Changed:
    with store.snapshot() as view:
        return view.changes_since(cursor, 1_000)


def test_what_another_process_commits_has_changed_too(tmp_path: Path) -> None:
    ours, theirs = (open_store(tmp_path / "runs.db") for _ in range(2))
    start = changed_since(ours, None).cursor
    add_trials(theirs, 1)
    assert changed_since(ours, start) == changed_since(theirs, start)
    assert changed_since(ours, start).trials == {trial_id()}
    theirs.close()
    ours.close()
    again = open_store(tmp_path / "runs.db")
    assert changed_since(again, start).trials == {trial_id()}
    again.close()


def test_the_change_log_is_pruned_and_a_moment_before_it_is_not_known(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_CHANGES_KEPT", 10)
    monkeypatch.setattr(write, "_CHANGES_PRUNED", 5)
    cursors = []
    for number in range(40):
        cursors.append(changed_since(store, None).cursor)
        tx = begin(store)
        tx.update_trial(trial_id(), {"tags": {"n": number}})
        tx.commit()
    assert [changed_since(store, cursor).known for cursor in (cursors[0], cursors[-10])] == [False, True]
    assert store._db.execute("SELECT count(*) FROM change_log").get < 16
