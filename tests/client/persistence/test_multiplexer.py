"""Several stores behind one protocol."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from running_server import serving
from track import TrackClient
from track.persistence import get_protocol
from track.persistence.multiplexer import ProtocolMultiplexer
from track.persistence.null import NullProtocol
from track.persistence.protocol import Protocol
from track_protocol.errors import BadQuery, StoreError, UsageError
from track_protocol.model.entities import Project, Status, Trial, TrialGroup
from track_protocol.testing import BackendContract
from track_protocol.wire.roles import Role
from track_server.app import Settings
from user_metadata import given


class Broken(Protocol):
    """Fails every call."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found):
            return found

        def fail(*args: Any, **kwargs: Any) -> Any:
            raise StoreError(f"{name}: broken")

        return fail


class TestMultiplexer(BackendContract):
    def open_protocol(self, path: Path) -> Protocol:
        return get_protocol(f"multiplexer:file:{path}/a.json;sqlite:{path}/b.db")


class TestMultiplexerBehindABrokenBackend(BackendContract):
    def open_protocol(self, path: Path) -> Protocol:
        return ProtocolMultiplexer(Broken("broken:"), f"file:{path}/a.json")


@pytest.fixture
def both(tmp_path: Path) -> Iterator[ProtocolMultiplexer]:
    protocol = ProtocolMultiplexer(f"file:{tmp_path}/a.json", f"sqlite:{tmp_path}/b.db")
    yield protocol
    protocol.close()


def everything(protocol: Protocol) -> Any:
    protocol.flush()
    return [
        (
            *(trial.id, trial.uid, trial.status, trial.tags, trial.parameters, given(trial.metadata)),
            *(dict(trial.metrics), trial.project_id, trial.group_id),
        )
        for trial in protocol.fetch_trials({})
    ]


def test_all_backends_hold_the_same(both: ProtocolMultiplexer) -> None:
    client = TrackClient(both)
    client.set_project(name="p")
    client.set_group(name="g")
    for rate in (0.1, 0.1, 0.2):
        with client.new_trial(force=True, arguments={"lr": rate}) as trial:
            trial.log_metrics(step=1, loss=rate)
            trial.log_metadata(host="node7")
            trial.add_tags(best=True)
    both.flush()
    first, second = both.backends
    assert everything(first) == everything(second)
    assert [trial.revision for trial in second.fetch_trials({})] == [0, 1, 0]
    assert second.fetch_groups({})[0].trials == first.fetch_groups({})[0].trials
    assert both.failures == []


def test_a_claim_is_made_on_the_same_trial_everywhere(both: ProtocolMultiplexer) -> None:
    for number in range(3):
        both.new_trial(Trial(name="t", parameters={"n": number}))
    query = {"status": Status.CreatedGroup, "parameters.n": {"$gt": 0}}
    claimed = both.fetch_and_update_trial(query, "set_trial_status", Status.Running)
    both.flush()
    assert claimed is not None
    for backend in both.backends:
        running = backend.fetch_trials({"status": Status.Running})
        assert [trial.uid for trial in running] == [claimed.uid]
    group = both.new_trial_group(TrialGroup(name="g"))
    assert group is not None
    both.fetch_and_update_group({"name": "g"}, "set_group_metadata", a=1)
    both.flush()
    for backend in both.backends:
        found = backend.get_trial_group(group)
        assert found is not None
        assert found.metadata == {"a": 1}


def test_no_backend_uses_a_revision_that_one_has_already(both: ProtocolMultiplexer) -> None:
    for _ in range(2):
        both.backends[1].new_trial(Trial(name="t"), auto_increment=True)
    made = both.new_trial(Trial(name="t"), auto_increment=True)
    assert made is not None
    assert made.revision == 2
    assert both.new_trial(Trial(name="t", revision=2)) is None
    both.flush()
    for backend in both.backends:
        assert [trial.id for trial in backend.get_trial(Trial(name="t", revision=2)) or []] == [made.id]
    assert both.failures == []


def test_a_failing_backend_is_reported_once_and_stops_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "track"):
        protocol = ProtocolMultiplexer(f"file:{tmp_path}/a.json", Broken("broken://u:secret@h"))
        trial = protocol.new_trial(Trial(name="t"))
        assert trial is not None
        protocol.log_trial_start(trial)
        protocol.metric_writer(trial)(1, {"loss": 0.5})
        protocol.log_trial_chrono_start(trial, "epoch")
        protocol.log_trial_chrono_finish(trial, "epoch")
        protocol.close()
    reported = [
        record.getMessage()
        for record in caplog.records
        if "the other backends continue" in record.getMessage()
    ]
    assert len(reported) == 1
    assert {failure.method for failure in protocol.failures} >= {"new_trial", "log_trial_start", "close"}
    assert {failure.backend for failure in protocol.failures} == {"broken://u:***@h"}
    found = get_protocol(f"file:{tmp_path}/a.json")
    (stored,) = found.fetch_trials({})
    assert (stored.status, stored.metrics["loss"], list(stored.chronos)) == (
        Status.Running,
        {1: 0.5},
        ["epoch"],
    )
    found.close()


def test_a_backend_that_fails_later_is_not_read_any_more(tmp_path: Path) -> None:
    class Failing(NullProtocol):
        def log_trial_start(self, trial: Trial, rank: int | None = None) -> Trial:
            raise OSError("no more")

    protocol = ProtocolMultiplexer(Failing(), f"file:{tmp_path}/a.json")
    trial = protocol.new_trial(Trial(name="t"))
    assert trial is not None
    protocol.log_trial_start(trial)
    protocol.flush()
    assert (protocol.get_trial(trial) or [])[0].status is Status.Running
    protocol.close()


def test_a_call_that_all_fail_raises(both: ProtocolMultiplexer) -> None:
    with pytest.raises(BadQuery):
        both.fetch_trials({"nothing": 1})
    with pytest.raises(StoreError, match="new_project: broken"):
        ProtocolMultiplexer(Broken(), Broken()).new_project(Project(name="p"))


def test_a_backend_without_ids_of_others_gets_its_own_trial(tmp_path: Path) -> None:
    class Counting(NullProtocol):
        logged: list[bytes | None]

        def log_trial_metrics(self, trial: Trial, /, *args: Any, **kwargs: Any) -> None:
            self.logged.append(trial.id)

    other = Counting()
    other.logged = []
    protocol = ProtocolMultiplexer(f"file:{tmp_path}/a.json", other)
    trial = protocol.new_trial(Trial(name="t"))
    assert trial is not None
    protocol.log_trial_metrics(trial, 1, loss=0.5)
    (theirs,) = other.get_trial(Trial(name="t")) or []
    assert other.logged == [theirs.id] != [trial.id]
    assert "as " + theirs.uid in str(protocol.failures[0].error)
    protocol.close()


def test_callbacks_of_a_timer_are_called_once(both: ProtocolMultiplexer) -> None:
    trial = both.new_trial(Trial(name="t"))
    assert trial is not None
    called: list[str] = []
    for _ in range(2):
        both.log_trial_chrono_start(
            trial,
            "epoch",
            start_callback=lambda: called.append("start"),
            end_callback=lambda: called.append("end"),
        )
        both.log_trial_chrono_finish(trial, "epoch")
    assert called == ["start", "end", "start", "end"]


def test_a_timer_stops_after_the_revision_of_its_trial_changed() -> None:
    # Fails when timers are stored by uid, which contains the revision.
    both = ProtocolMultiplexer(NullProtocol(), NullProtocol())
    trial = both.new_trial(Trial(name="t"))
    assert trial is not None
    ended: list[str] = []
    both.log_trial_chrono_start(trial, "epoch", end_callback=lambda: ended.append("end"))
    trial.revision += 1
    both.log_trial_chrono_finish(trial, "epoch")
    assert ended == ["end"]


def test_a_commit_to_a_file_happens_once(both: ProtocolMultiplexer, tmp_path: Path) -> None:
    both.new_project(Project(name="p"))
    both.commit(file_name_override=str(tmp_path / "all.json"))
    assert '"name": "p"' in (tmp_path / "all.json").read_text()


def test_a_copy_in_another_process_has_the_same_backends(both: ProtocolMultiplexer) -> None:
    both.new_project(Project(name="p"))
    copy = pickle.loads(pickle.dumps(both))  # noqa: S301 - our own bytes
    assert copy.uri == both.uri
    assert copy.fetch_projects({}) == [Project(name="p")]
    copy.close()


def test_a_server_may_be_among_them(tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'runs.db'}"
    with serving(Settings(backend=store, home=tmp_path / "home")) as served:
        uri = served.join("ann", Role.WRITER)
        protocol = get_protocol(f"multiplexer:{uri};file:{tmp_path}/a.json")
        assert isinstance(protocol, ProtocolMultiplexer)
        trial = protocol.new_trial(Trial(name="t"))
        assert trial is not None
        protocol.log_trial_metrics(trial, 1, loss=0.5)
        assert everything(protocol.backends[0]) == everything(protocol.backends[1])
        protocol.close()


def test_no_backends_are_refused() -> None:
    with pytest.raises(UsageError, match="give protocols or URIs"):
        get_protocol("multiplexer:")
