"""The store in a JSON file."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from track.outbox.queue import Limits
from track.persistence import get_protocol
from track.persistence.embedded import outbox_of
from track.persistence.local import FileProtocol
from track.persistence.protocol import Protocol
from track.persistence.remote import OutboxProtocol
from track_protocol.errors import BadArguments, StoreError, UriError
from track_protocol.model.entities import Project, Trial
from track_protocol.testing import BackendContract


@pytest.mark.torture  # the scheme `file:` opens the same, and has the suite in tests/client/test_contract.py
class TestEager(BackendContract):
    def open_protocol(self, path: Path) -> Protocol:
        return FileProtocol(f"file://{path}/runs.json")


class TestLazy(BackendContract):
    def open_protocol(self, path: Path) -> Protocol:
        return FileProtocol(f"file://{path}/runs.json", strict=False, eager=False)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[FileProtocol]:
    reader = FileProtocol(f"file:{tmp_path}/runs.json")
    yield reader
    reader.close()


def tags(reader: FileProtocol) -> object:
    return reader.fetch_trials({})[0].tags


def test_lazy_records_wait_for_the_commit(reader: FileProtocol, tmp_path: Path) -> None:
    lazy = FileProtocol(f"file:{tmp_path}/runs.json", eager=False)
    trial = lazy.new_trial(Trial(name="t"))
    assert trial is not None
    lazy.add_trial_tags(trial, a=1)
    lazy.add_trial_tags(trial, b=2)
    assert (lazy.outbox.waiting, tags(reader)) == (2, {})
    lazy.commit()
    assert tags(reader) == {"a": 1, "b": 2}
    lazy.close()


def test_a_call_with_an_answer_includes_earlier_lazy_records(tmp_path: Path) -> None:
    lazy = FileProtocol(f"file:{tmp_path}/runs.json?eager=false")
    trial = lazy.new_trial(Trial(name="t"))
    assert trial is not None
    lazy.log_trial_metrics(trial, 1, loss=0.5)
    assert lazy.fetch_trials({"metrics.loss": 0.5}) == [trial]
    lazy.close()


def test_closing_stores_lazy_records(reader: FileProtocol, tmp_path: Path) -> None:
    lazy = FileProtocol(f"file:{tmp_path}/runs.json", eager=False)
    trial = lazy.new_trial(Trial(name="t"))
    assert trial is not None
    lazy.add_trial_tags(trial, a=1)
    lazy.close()
    assert tags(reader) == {"a": 1}


def test_more_than_a_batch_does_not_wait(reader: FileProtocol, tmp_path: Path) -> None:
    lazy = FileProtocol(f"file:{tmp_path}/runs.json", eager=False)
    trial = lazy.new_trial(Trial(name="t"))
    assert trial is not None
    write = lazy.metric_writer(trial)
    for step in range(50_000):
        write(step, {"loss": 0.5})
    lazy.flush()
    assert reader.fetch_trials({})[0].metrics["loss"] == dict.fromkeys(range(50_000), 0.5)
    lazy.close()


def test_lazy_records_are_sent_when_the_queue_is_full() -> None:
    limits = Limits(linger=3600.0, record_bytes=10_000)
    lazy = OutboxProtocol("ephemeral:", outbox_of("ephemeral:", limits))
    trial = lazy.new_trial(Trial(name="t"))
    assert trial is not None
    for number in range(30):
        lazy.add_trial_tags(trial, **{f"tag{number}": "x" * 1_000})
    (found,) = lazy.fetch_trials({})
    assert (len(found.tags), lazy.outbox.dropped) == (30, 0)
    lazy.close()


def test_options_of_the_uri_are_those_of_the_constructor(tmp_path: Path) -> None:
    lazy = get_protocol(f"file:{tmp_path}/runs.json?eager=false&strict=0")
    assert isinstance(lazy, FileProtocol)
    assert (lazy.eager, lazy.strict) == (False, False)
    copy = pickle.loads(pickle.dumps(lazy))  # noqa: S301 - our own bytes
    assert (copy.eager, copy.uri) == (False, lazy.uri)
    with pytest.raises(UriError, match="eagre"):
        FileProtocol(f"file:{tmp_path}/runs.json?eagre=1")
    with pytest.raises(UriError, match=r"file:NAME\.json"):
        FileProtocol("sqlite:runs.db")


def test_the_pickled_format_is_json_on_disk(tmp_path: Path) -> None:
    protocol = get_protocol(f"pickled:{tmp_path}/runs.pkl")
    protocol.new_project(Project(name="p"))
    protocol.close()
    assert json.loads((tmp_path / "runs.pkl").read_text())["projects"][0]["name"] == "p"


def test_a_real_pickle_is_refused_and_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "old.pkl"
    path.write_bytes(pickle.dumps({"projects": []}))
    before = path.read_bytes()
    protocol = get_protocol(f"pickled:{path}")
    with pytest.raises(StoreError, match="is not"):
        protocol.fetch_projects({})
    assert path.read_bytes() == before


def test_a_commit_may_write_a_file_of_its_own(reader: FileProtocol, tmp_path: Path) -> None:
    reader.new_project(Project(name="p"))
    reader.commit(str(tmp_path / "all.json"))
    assert json.loads((tmp_path / "all.json").read_text())["projects"][0]["name"] == "p"
    with pytest.raises(BadArguments, match="not path"):
        reader.commit(path="x")
