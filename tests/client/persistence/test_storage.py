"""A store in a JSON file, as objects in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from track import TrackClient
from track.persistence import get_protocol
from track.persistence.storage import LocalStorage, load_database
from track_protocol.errors import BadArguments, StoreError, UsageError
from track_protocol.model.entities import Project, Status
from track_server.stores import open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "runs.json"
    client = TrackClient(f"file:{path}")
    client.set_project(name="p")
    client.set_group(name="g")
    with client.new_trial(name="t", arguments={"lr": 0.1}) as trial:
        trial.log_metrics(step=1, loss=0.5)
        trial.log_metrics(accuracy=0.9)
    client.close()
    return path


def test_a_database_has_all_objects(path: Path) -> None:
    storage = load_database(str(path))
    (trial,) = (storage.objects[uid] for uid in storage.trials)
    assert (trial.metrics, trial.status) == ({"loss": {1: 0.5}, "accuracy": [0.9]}, Status.Completed)
    assert storage.projects == {storage.project_names["p"]}
    assert storage.groups == {storage.group_names["g"]}
    assert storage.trials == {storage.trial_names["t"]} == storage.objects[storage.project_names["p"]].trials
    assert storage.target_file == str(path)


def test_committed_objects_that_are_not_in_the_document_yet_are_read(path: Path) -> None:
    writer = get_protocol(f"file:{path}")
    (trial,) = writer.fetch_trials({})
    writer.add_trial_tags(trial, late=1)
    writer.flush()
    assert load_database(f"file:{path}").objects[trial.uid].tags == {"late": 1}
    writer.close()


def test_a_store_whose_document_is_not_written_yet_is_read_and_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "new.json"
    writer = get_protocol(f"file:{path}")
    writer.new_project(Project(name="p"))
    assert not path.exists()
    found = load_database(path)
    assert set(found.project_names) == {"p"}
    with pytest.raises(UsageError, match="is a store, and this is a copy of it"):
        found.commit()
    writer.close()


def test_the_json_written_by_a_commit_is_read_too(path: Path, tmp_path: Path) -> None:
    protocol = get_protocol(f"file:{path}")
    protocol.commit(file_name_override=str(tmp_path / "all.json"))
    protocol.close()
    one, other = load_database(path), load_database(tmp_path / "all.json")
    assert one.objects.keys() == other.objects.keys()
    uid = one.trial_names["t"]
    assert one.objects[uid].metrics == other.objects[uid].metrics
    assert one.objects[uid].parameters == other.objects[uid].parameters


def test_a_storage_writes_and_reads_files_of_its_own(path: Path, tmp_path: Path) -> None:
    storage = load_database(path)
    storage.commit(file_name_override=tmp_path / "copy.json")
    copy = LocalStorage(str(tmp_path / "copy.json"))
    copy.reload()
    assert copy.objects == storage.objects
    copy.commit()
    with pytest.raises(UsageError, match="is a store, and this is a copy of it"):
        storage.commit()
    with pytest.raises(UsageError, match="has no file"):
        LocalStorage().commit()
    with pytest.raises(BadArguments, match="not now"):
        copy.commit(now=True)


def test_a_smart_reload_updates_the_same_objects_and_reports_changes(path: Path) -> None:
    storage = load_database(path)
    trial = storage.objects[storage.trial_names["t"]]
    before = storage.get_current_version_tag(trial)
    writer = get_protocol(f"file:{path}")
    writer.add_trial_tags(trial, late=1)
    writer.close()
    storage.smart_reload()
    assert storage.objects[trial.uid] is trial
    assert trial.tags == {"late": 1}
    assert storage.get_previous_version_tag(trial) == before
    assert storage.get_current_version_tag(trial) == before + 1
    storage.reload()
    assert storage.objects[trial.uid] is not trial


def test_a_missing_file_reads_as_empty_and_is_not_created(tmp_path: Path) -> None:
    assert load_database(tmp_path / "none.json") == LocalStorage(str(tmp_path / "none.json"))
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_a_server_holds_is_an_error(path: Path) -> None:
    held = open_store(f"file:{path}", exclusive=True, served_as="socket://localhost:1")
    with pytest.raises(StoreError, match="socket://localhost:1"):
        load_database(path)
    held.close()


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(StoreError, match="not a Track store"):
        load_database(tmp_path / "other.json")
    (tmp_path / "half.json").write_text('{"projects": []}')
    with pytest.raises(BadArguments, match="was not written by commit"):
        load_database(tmp_path / "half.json")


def test_without_a_file_a_database_is_empty() -> None:
    storage = load_database(None)
    assert (storage.target_file, storage.objects) == (None, {})
