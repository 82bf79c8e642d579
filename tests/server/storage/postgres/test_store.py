"""What a PostgreSQL store promises beyond the suite of all stores: about other writers, and no secrets."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from postgres_server import PostgresServer
from running_server import free_port
from stored_trials import trial_document, trial_id
from track_protocol.errors import (
    StoreConflict,
    StoreError,
    StoreInUse,
    StoreReadOnly,
    StoreTooNew,
    StoreUnavailable,
    TooBusy,
    UriError,
)
from track_protocol.query.parse import parse_query
from track_protocol.wire.batch import METRIC
from track_protocol.wire.columns import pack
from track_server.storage.contract import Points, SessionState, Wanted
from track_server.storage.postgres.connection import PostgresConnection
from track_server.storage.postgres.settings import PostgresSettings
from track_server.storage.postgres.store import PostgresStore
from track_server.storage.transaction_state import Memory
from track_server.storage.unit_of_work import UnitOfWork, begin
from track_server.storage.write_limits import WriteLimits

SID = b"s" * 16


@pytest.fixture
def store(postgres_uri: str) -> Iterator[PostgresStore]:
    store = PostgresStore(postgres_uri)
    yield store
    store.close()


def add(store: PostgresStore, *numbers: int, **fields: Any) -> None:
    tx = begin(store)
    for number in numbers:
        tx.add_trial(trial_document(number, created=1.0, **fields))
    tx.commit()


def points(*values: float) -> Points:
    return Points(pack(list(range(len(values)))), pack([1.0 + v for v in values]), pack(list(values)))


# -- several writers -----------------------------------------------------------------------------


def test_of_two_that_attach_a_new_session_at_once_one_tries_again(store: PostgresStore) -> None:
    first, second = begin(store), begin(store)
    for tx in (first, second):
        assert tx.session(SID) is None
        tx.put_session(SessionState(SID, "ann", 1))
    first.commit()
    with pytest.raises(StoreConflict, match="tried again"):
        second.commit()
    second.rollback()


@pytest.mark.parametrize("make", ["add_trial", "put_project", "put_group", "add_blob_data"])
def test_of_two_that_make_the_same_thing_at_once_one_tries_again(store: PostgresStore, make: str) -> None:
    uid: dict[str, Any] = {
        "uid": "same",
        "name": None,
        "description": None,
        "metadata": {},
        "project_id": None,
    }

    def change(tx: Any) -> None:
        if make == "add_trial":
            tx.add_trial(trial_document(1, created=1.0))
        elif make == "add_blob_data":
            tx.add_blob_data("0" * 64, 3, b"abc", 1.0)
        else:
            assert getattr(tx, make.replace("put_", "") + "_fields")("same") is None
            getattr(tx, make)(uid)

    first, second = begin(store), begin(store)
    change(first)
    change(second)
    first.commit()
    with pytest.raises(StoreConflict):
        second.commit()
    second.rollback()


def test_a_session_that_another_writer_holds_is_seen_as_that_one_leaves_it(store: PostgresStore) -> None:
    tx = begin(store)
    tx.put_session(SessionState(SID, "ann", 1, last_seq=1))
    tx.commit()
    first = begin(store)
    first.load(Wanted(sessions={SID}))
    with ThreadPoolExecutor(1) as thread:
        second = begin(store)
        seen = thread.submit(second.session, SID)
        first.put_session(SessionState(SID, "bob", 2, last_seq=7))
        first.commit()
        assert seen.result() == SessionState(SID, "bob", 2, last_seq=7)
        second.rollback()


def test_points_that_many_writers_append_to_one_series_are_all_there(store: PostgresStore) -> None:
    add(store, 1)

    def append(number: int) -> None:
        tx = begin(store)
        tx.append_points(trial_id(1), METRIC, "loss", None, points(float(number), float(number)))
        tx.commit()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(append, range(40)))
    with store.snapshot() as view:
        document = view.trial(trial_id(1))
        stored = view.points(trial_id(1), METRIC, "loss", 0, 1_000)
    assert document is not None
    assert stored is not None
    assert (document["metrics"]["loss"]["count"], len(stored)) == (80, 80)


def test_what_another_writer_holds_is_passed_over_by_a_search(store: PostgresStore) -> None:
    add(store, 1, 2)
    query = parse_query({"status.value": 0, "parameters.x": None})
    first, second = begin(store), begin(store)
    assert first.select(query, 1, 5.0) == [trial_id(1)]
    assert second.select(query, 1, 5.0) == [trial_id(2)]
    first.rollback()
    second.rollback()


@pytest.mark.parametrize("query", [{"status.value": 0}, {"status.value": 0, "parameters.x": [1]}])
def test_a_search_waits_for_the_last_that_matches_and_looks_again(
    store: PostgresStore, query: dict[str, Any]
) -> None:
    add(store, 1, parameters={"x": [1]})
    first = begin(store)
    assert first.select(parse_query(query), 1, 5.0) == [trial_id(1)]
    with ThreadPoolExecutor(1) as thread:
        second = begin(store)
        found = thread.submit(second.select, parse_query(query), 1, 20.0)
        first.update_trial(trial_id(1), {"status": {"value": 1, "name": "x"}})
        first.commit()
        assert found.result() == []
        second.rollback()


def test_a_search_that_is_too_slow_leaves_its_transaction_as_it_was(store: PostgresStore) -> None:
    add(store, 1)
    first, second = begin(store), begin(store)
    second.put_session(SessionState(SID, "ann", 1))
    assert first.select(parse_query({}), 1, 5.0) == [trial_id(1)]
    with pytest.raises(TooBusy, match="narrow it"):
        second.select(parse_query({}), 1, 0.05)  # it waits for the first
    first.rollback()
    second.commit()
    with store.snapshot() as view:
        assert view.session(SID) == SessionState(SID, "ann", 1)


# -- round trips ----------------------------------------------------------------------------------


def test_a_batch_costs_two_round_trips(store: PostgresStore) -> None:
    add(store, 1)
    for _ in range(2):  # the series is new, and then it is known
        transaction = store.begin()
        tx = UnitOfWork(transaction, Memory(), WriteLimits())
        connection = transaction._db
        before = connection.trips
        names = [f"m{number}" for number in range(20)]
        tx.load(Wanted({SID}, {trial_id(1)}, series={(trial_id(1), METRIC, name) for name in names}))
        for name in names:
            tx.append_points(trial_id(1), METRIC, name, None, points(0.5, 0.25))
        tx.put_session(SessionState(SID, "ann", 1))
        tx.commit()
        assert connection.trips - before == 2


# -- changes ---------------------------------------------------------------------------------------


def test_a_change_that_was_begun_first_and_committed_last_is_reported(store: PostgresStore) -> None:
    with store.snapshot() as view:
        cursor = view.changes_since(None, 10).cursor
    slow = begin(store)
    slow.add_trial(trial_document(1, created=1.0))
    slow.flush()
    add(store, 2)
    with store.snapshot() as view:
        seen = view.changes_since(cursor, 10)
    assert seen.trials == {trial_id(2)}
    slow.commit()
    with store.snapshot() as view:
        assert view.changes_since(seen.cursor, 10).trials == {trial_id(1)}


def test_a_moment_whose_changes_are_pruned_is_not_known(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("track_server.storage.postgres.compact._MAX_CHANGES", 3)
    monkeypatch.setattr("track_server.storage.postgres.compact._CHANGES_PRUNED", 1)
    with store.snapshot() as view:
        cursor = view.changes_since(None, 10).cursor
    for number in range(6):
        add(store, number)
        tx = begin(store)
        tx.append_points(trial_id(number), METRIC, "loss", None, points(1.0))
        tx.commit()
    store.maintain(0.1)
    with store.snapshot() as view:
        assert not view.changes_since(cursor, 10).known


# -- who may have it open -------------------------------------------------------------------------


def test_beside_a_server_nobody_opens_the_store(postgres_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "track_server.storage.postgres.claim._PATIENCE", "SELECT set_config('lock_timeout', '10ms', false)"
    )
    served = PostgresStore(postgres_uri, exclusive=True, served_as="socket://node1:8123")
    for exclusive in (False, True):
        with pytest.raises(StoreInUse, match="socket://node1:8123"):
            PostgresStore(postgres_uri, exclusive=exclusive)
    served.close()
    first, second = PostgresStore(postgres_uri), PostgresStore(postgres_uri)
    with pytest.raises(StoreInUse, match="a program"):
        PostgresStore(postgres_uri, exclusive=True)
    first.close()
    second.close()
    PostgresStore(postgres_uri, exclusive=True).close()


def test_a_server_whose_lock_has_ended_takes_it_again(postgres: PostgresServer, postgres_uri: str) -> None:
    store = PostgresStore(postgres_uri, exclusive=True, served_as=schema_of(postgres_uri))
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "  # noqa: S608 # ours
        f"WHERE application_name = '{schema_of(postgres_uri)}'"
    )
    with pytest.raises(StoreUnavailable):
        store.maintain(0.01)
    store.reopen()
    store.maintain(0.01)
    store.close()


# -- other programs, and failures ----------------------------------------------------------------


def test_two_deployments_fit_into_one_database(postgres_schemas: Callable[[object], str]) -> None:
    first, second = PostgresStore(postgres_schemas(1)), PostgresStore(postgres_schemas(2))
    add(first, 1)
    with first.snapshot() as one, second.snapshot() as other:
        assert len(one.trials(parse_query({}))) == 1
        assert other.trials(parse_query({})) == []
    assert first.generation != second.generation
    first.close()
    second.close()


def test_processes_that_open_a_new_store_at_once_make_one(postgres_uri: str) -> None:
    start = threading.Barrier(4)

    def opened(_: int) -> str:
        start.wait()
        store = PostgresStore(postgres_uri)
        store.close()
        return store.generation

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(opened, range(4)))) == 1


def schema_of(uri: str) -> str:
    return PostgresSettings.parse(uri).schema


def test_tables_of_a_newer_version_are_refused(postgres: PostgresServer, postgres_uri: str) -> None:
    PostgresStore(postgres_uri).close()
    postgres.execute(f"UPDATE {schema_of(postgres_uri)}.meta SET value = '2' WHERE key = 'version'")  # noqa: S608 # ours
    with pytest.raises(StoreTooNew, match="upgrade Track"):
        PostgresStore(postgres_uri)


def test_a_schema_of_another_program_is_refused(postgres: PostgresServer, postgres_uri: str) -> None:
    postgres.execute(f"CREATE SCHEMA {schema_of(postgres_uri)}")
    postgres.execute(f"CREATE TABLE {schema_of(postgres_uri)}.orders(id int)")
    with pytest.raises(StoreError, match=r"another program.*\?schema="):
        PostgresStore(postgres_uri)


def test_a_database_in_another_encoding_is_refused(postgres: PostgresServer, postgres_uri: str) -> None:
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    with pytest.raises(StoreError, match="ENCODING 'UTF8'"):
        PostgresStore(postgres_uri.replace("/postgres?", "/latin?"))


def test_what_is_not_there_is_named_with_its_remedy(postgres: PostgresServer, postgres_uri: str) -> None:
    postgres.execute("CREATE ROLE guest LOGIN")
    for changed, kind, remedy in (
        (postgres_uri.replace("/postgres?", "/nothing?"), StoreError, "createdb"),
        (postgres_uri.replace("user=track", "user=nobody"), StoreError, "CREATE ROLE"),
        (postgres_uri.replace("user=track", "user=guest"), StoreReadOnly, "GRANT"),
        (postgres_uri.replace("host=", "host=/nowhere"), StoreUnavailable, "check the database server"),
        (f"{postgres_uri}&options=-c%20default_transaction_read_only%3Don", StoreUnavailable, "primary"),
    ):
        with pytest.raises(kind, match=remedy):
            PostgresStore(changed)


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("postgresql://h/d?hots=x", "did you mean 'host'"),
        ("postgresql://h/d?schema=A", "small letters"),
        ("postgresql://h/d?schema=pg_x", "does not begin with pg_"),
        ("postgresql:h/d", "two slashes"),
    ],
)
def test_a_uri_that_names_no_store_is_refused(uri: str, remedy: str) -> None:
    with pytest.raises(UriError, match=remedy):
        PostgresSettings.parse(uri)


def test_no_password_is_shown(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = PostgresServer(port=free_port())
    try:
        hba = server.data / "pg_hba.conf"
        server.execute("CREATE ROLE ann LOGIN PASSWORD 'se/cret@1'")
        server.execute("GRANT CREATE ON DATABASE postgres TO ann")
        hba.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        server.execute("SELECT pg_reload_conf()")
        good = f"postgresql://ann:se/cret@1@127.0.0.1:{server.port}/postgres"
        store = PostgresStore(good)
        assert store.uri == f"postgresql://ann:***@127.0.0.1:{server.port}/postgres"
        add(store, 1)
        texts = [store.uri, repr(PostgresSettings.parse(good))]
        with pytest.raises(StoreError, match="refuses the user or the password") as refused:
            PostgresStore(good.replace("cret", "cred"))
        texts += [str(refused.value), repr(refused.value.__cause__), repr(refused.value.__context__)]
        with pytest.raises(StoreError, match="sslmode"):
            PostgresStore(f"{good}?sslmode=require")
        server.kill()
        with pytest.raises(StoreUnavailable) as gone, store.snapshot():
            pass
        texts += [str(gone.value), caplog.text]
        store.abandon()
    finally:
        server.stop()
    assert not [text for text in texts if "cret" in text or "cred@" in text]


def test_a_store_whose_connections_have_ended_continues(postgres: PostgresServer, postgres_uri: str) -> None:
    store = PostgresStore(f"{postgres_uri}&application_name={schema_of(postgres_uri)}")
    add(store, 1)
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "  # noqa: S608 # ours
        f"WHERE application_name = '{schema_of(postgres_uri)}'"
    )
    with store.snapshot() as view:  # a read finds its way by itself
        assert view.trial_id("hash1_0") is not None or view.trials(parse_query({}))
    store.reopen()
    add(store, 2)
    store.close()


def test_what_another_store_has_taken_the_place_of_is_not_written(
    postgres: PostgresServer, postgres_uri: str
) -> None:
    store = PostgresStore(postgres_uri)
    postgres.execute(f"DROP SCHEMA {schema_of(postgres_uri)} CASCADE")
    with pytest.raises(StoreError, match="replaced by another store"):
        store.reopen()
    store.abandon()


def test_a_commit_waits_for_the_disk_whatever_the_role_says(postgres_uri: str) -> None:
    settings = PostgresSettings.parse(f"{postgres_uri}&options=-c%20synchronous_commit%3Doff")
    connection = PostgresConnection(settings)
    ((rows, _),) = connection.run(("SHOW synchronous_commit", ()))
    connection.close()
    assert rows == [("on",)]


def test_a_fault_in_a_statement_stays_what_it_is(store: PostgresStore) -> None:
    with pytest.raises(psycopg.ProgrammingError), store.snapshot() as view:
        view._rows("SELECT nothing", [])


def test_a_read_ends_when_its_time_is_over(store: PostgresStore) -> None:
    with pytest.raises(StoreError, match="took too long"), store.snapshot(0.05) as view:
        view._rows("SELECT pg_sleep(20)", [])
