"""Creating while the store is reachable, unreachable, or refuses it."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from memory_link import MemoryStore
from track.client import TrackClient
from track.connection.offline import Offline
from track.outbox import Outbox
from track.persistence.remote import OutboxProtocol
from track_protocol.errors import (
    AuthenticationError,
    PermissionDenied,
    ServerUnreachable,
    TooBusy,
    TrackError,
)
from track_protocol.model.entities import Project, Trial, TrialGroup

UNREACHABLE = "are queued until the store is reachable again"


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()

    def answer(method: str, arguments: dict[str, Any]) -> Any:
        """As a store that already had three trials of every hash."""
        if method.startswith("new_"):
            given = arguments[method.removeprefix("new_").removeprefix("trial_")]
            return {**given, "revision": 3} if method == "new_trial" else given
        creations = [call for _, _, name, call in store.calls if name.startswith("create_")]
        made = {name: given for call in creations for name, given in call.items()}
        if method == "get_trial":
            return [{**made["trial"], "revision": 3}] if "trial" in made else []
        return made.get(method.removeprefix("get_"))

    store.answer = answer
    return store


class Client:
    """Protocols over one store in memory, ended with the test."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._made: list[OutboxProtocol] = []

    def __call__(self, offline: Offline = Offline.ALLOW) -> OutboxProtocol:
        outbox = Outbox(self._store.link, "the store", connect_timeout=0.2)
        self._made.append(OutboxProtocol("socket://localhost:1", outbox, offline))
        return self._made[-1]

    def end(self) -> None:
        """Let nothing wait for an unreachable store."""
        self._store.unreachable, self._store.open_error = True, AuthenticationError("the test is over")
        self._store.break_links()
        for protocol in self._made:
            protocol.outbox.on_exit(5.0)


@pytest.fixture
def joined(store: MemoryStore) -> Iterator[Client]:
    client = Client(store)
    yield client
    client.end()


def create_all(protocol: OutboxProtocol) -> Trial:
    project = protocol.new_project(Project(name="p"))
    group = protocol.new_trial_group(TrialGroup(name="g", project_id=project.uid))
    assert group is not None
    trial = protocol.new_trial(Trial(name="t", project_id=project.uid), auto_increment=True)
    assert trial is not None
    protocol.add_group_trial(group, trial)
    protocol.log_trial_metrics(trial, 1, loss=0.5)
    return trial


def methods(store: MemoryStore) -> list[str]:
    return [method for _, _, method, _ in store.calls]


def test_a_created_object_is_returned_as_stored(store: MemoryStore, joined: Client) -> None:
    protocol, given = joined(), Trial(name="t")
    trial = protocol.new_trial(given, auto_increment=True)
    assert trial is not None
    assert (trial.revision, given.revision, given.id) == (3, 3, trial.id)
    assert protocol.outbox.unconfirmed == {}


def test_an_object_is_created_before_records_of_it(store: MemoryStore, joined: Client) -> None:
    store.unreachable = True
    protocol = joined()
    trial = create_all(protocol)
    assert (trial.revision, len(store.calls)) == (0, 0)
    store.unreachable = False
    protocol.flush()
    assert methods(store) == ["create_project", "create_group", "create_trial", "add_group_trial"]
    assert [(point.trial, point.value) for point in store.points] == [(trial.id, 0.5)]


def test_a_flush_updates_the_revision_of_both_objects(store: MemoryStore, joined: Client) -> None:
    store.unreachable = True
    protocol, given = joined(), Trial(name="t")
    trial = protocol.new_trial(given, auto_increment=True)
    store.unreachable = False
    protocol.flush()
    assert trial is not None
    assert (trial.revision, given.revision) == (3, 3)
    assert protocol.outbox.unconfirmed == {}


def test_reading_a_trial_updates_its_revision(store: MemoryStore, joined: Client) -> None:
    store.unreachable = True
    protocol = joined()
    trial = protocol.new_trial(Trial(name="t"), auto_increment=True)
    assert trial is not None
    store.unreachable = False
    protocol.get_trial(trial)
    assert trial.revision == 3


def test_a_store_that_is_unreachable_is_reported_and_waited_for_once(
    store: MemoryStore, joined: Client, caplog: pytest.LogCaptureFixture
) -> None:
    store.unreachable = True
    protocol = joined()
    protocol.new_project(Project(name="p"))
    assert protocol.outbox.is_known_unreachable
    trial = create_all(protocol)
    assert trial.id is not None
    reported = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [UNREACHABLE in each for each in reported] == [True, False]
    assert f"resume it with TRACK_TRIAL={trial.id.hex()}" in reported[1]


def test_a_store_that_is_reachable_again_is_waited_for_again(store: MemoryStore, joined: Client) -> None:
    store.unreachable = True
    protocol = joined()
    protocol.new_project(Project(name="p"))
    store.unreachable = False
    protocol.flush()
    assert not protocol.outbox.is_known_unreachable


def test_a_broken_connection_is_not_yet_an_unreachable_store(
    store: MemoryStore, joined: Client, caplog: pytest.LogCaptureFixture
) -> None:
    protocol = joined()
    protocol.get_project(Project(name="p"))
    store.break_on_call = 1
    trial = protocol.new_trial(Trial(name="t"), auto_increment=True)
    assert trial is not None
    assert trial.revision == 3
    assert UNREACHABLE not in caplog.text


@pytest.mark.parametrize("error", [ServerUnreachable("nobody"), TooBusy("later")])
def test_a_store_that_may_be_there_later_is_unreachable(
    store: MemoryStore, joined: Client, error: TrackError
) -> None:
    store.open_error = error
    assert joined().new_project(Project(name="p")).name == "p"


@pytest.mark.parametrize("offline", Offline)
def test_a_login_that_is_refused_is_raised_under_every_policy(
    store: MemoryStore, joined: Client, offline: Offline
) -> None:
    store.open_error = AuthenticationError("wrong token")
    with pytest.raises(AuthenticationError, match="wrong token"):
        joined(offline).new_project(Project(name="p"))


@pytest.mark.parametrize("offline", Offline)
def test_a_reader_is_refused_under_every_policy(store: MemoryStore, joined: Client, offline: Offline) -> None:
    store.role = "reader"
    with pytest.raises(PermissionDenied, match="is a reader"):
        joined(offline).new_project(Project(name="p"))


def test_under_require_an_unreachable_store_is_an_error_and_no_spool_remains(
    store: MemoryStore, joined: Client
) -> None:
    store.unreachable = True
    protocol = joined(Offline.NEVER)
    with pytest.raises(ServerUnreachable, match=r"unreachable.*new_project had no answer within [0-9.]+ s"):
        protocol.new_project(Project(name="p"))
    store.unreachable = False
    protocol.flush()
    assert store.calls == []


@pytest.mark.parametrize("offline", [Offline.ALLOW, Offline.NEVER])
def test_once_reached_a_store_may_be_unreachable_under_every_policy(
    store: MemoryStore, joined: Client, offline: Offline
) -> None:
    protocol = joined(offline)
    protocol.get_project(Project(name="p"))
    store.unreachable = True
    store.break_links()
    trial = create_all(protocol)
    assert trial.revision == 0
    store.unreachable = False
    protocol.flush()
    assert trial.revision == 3


def test_another_process_sends_the_records_of_this_one(store: MemoryStore, joined: Client) -> None:
    store.unreachable = True
    protocol = joined()
    trial = create_all(protocol)
    _, (*_, unconfirmed) = protocol.__reduce__()
    store.unreachable = False
    other = joined()
    other.outbox.inherit(pickle.loads(pickle.dumps(unconfirmed)))  # noqa: S301 - pickled right here
    other.log_trial_metrics(trial, 2, loss=0.25)
    other.flush()
    first = [method for session, _, method, _ in store.calls if session == other.outbox.session]
    assert first == ["create_project", "create_group", "create_trial"]


def test_a_report_while_the_store_is_unreachable_uses_local_knowledge(
    store: MemoryStore, joined: Client, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    store.unreachable = True
    client = TrackClient(joined())
    client.new_trial(name="t", arguments={"lr": 0.1})
    client.report()
    assert '"lr": 0.1' in capsys.readouterr().out
    assert "the store is unreachable, so trial" in caplog.text


def test_a_trial_named_by_its_id_needs_no_lookup(store: MemoryStore, joined: Client) -> None:
    store.unreachable = True
    client = TrackClient(joined())
    trial = client.set_trial(uid="0123456789abcdef" * 2)
    trial.log_metrics(loss=1.0)
    store.unreachable = False
    client.protocol.flush()
    assert [point.trial.hex() for point in store.points] == ["0123456789abcdef" * 2]


def test_a_trial_too_large_for_a_record_is_made_by_a_call(store: MemoryStore, joined: Client) -> None:
    store.unreachable = True
    protocol = joined()
    large = Trial(parameters={"a": dict.fromkeys(range(10), "x" * 60_000)})  # of these keys no part is named
    with pytest.raises(ServerUnreachable):
        protocol.new_trial(large, auto_increment=True)
    assert protocol.outbox.dropped == 0
