"""``track import``, on databases of the older system."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from older_databases import OlderDatabase
from running_server import serving
from track import Tracker
from track.commands.import_ import COMMAND
from track.persistence import get_protocol
from track_protocol.errors import ItemNotFound, UsageError
from track_server.app import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two databases, one file of another kind, and a store of ours."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    for name, runs in (("mnist", 2), ("cifar", 1)):
        older = OlderDatabase(folder / f"{name}.db")
        for number in range(runs):
            older.add(f"run {number} of {name}", records=[("loss", step, 1.0, 2.0) for step in range(3)])
    (folder / "notes.txt").write_text("nothing")
    with Tracker(folder) as tracker:
        tracker.set_experiment("ours")
    return folder


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/all.sqlite"


def run(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    COMMAND.configure(parser)
    return COMMAND.run(parser.parse_args([str(word) for word in words]))


def test_a_folder_is_imported_a_project_for_each_database(
    folder: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--to", uri) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{folder}/cifar.db: 1 runs, 1 of them new, 3 points sent to project cifar in {uri}",
        f"{folder}/mnist.db: 2 runs, 2 of them new, 6 points sent to project mnist in {uri}",
    ]
    with Tracker(uri) as tracker:
        assert tracker.get_all_experiments() == ["cifar", "mnist"]
        tracker.set_experiment("mnist")
        assert [(each.run_id, each.num_records) for each in tracker.get_all_runs()] == [(2, [3]), (1, [3])]


def test_again_there_is_nothing_to_send(folder: Path, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder / "mnist.db", "--to", uri)
    capsys.readouterr()
    assert run(folder / "mnist.db", "--to", uri, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "databases": [
            {
                "path": f"{folder}/mnist.db",
                "project": "mnist",
                "error": None,
                "runs": 2,
                "new_runs": 0,
                "points": 0,
                "media": 0,
                "orphans": 0,
            }
        ]
    }


def test_all_may_go_into_one_project(folder: Path, uri: str) -> None:
    assert run(folder / "mnist.db", folder / "cifar.db", "--to", uri, "--project", "all") == 0
    with Tracker(uri) as tracker:
        tracker.set_experiment("all")
        numbers = sorted(each.run_id for each in tracker.get_all_runs())
        assert numbers[:2] == [1, 2]
        assert numbers[2] > 2**32


def test_an_unreadable_database_does_not_stop_the_others(
    folder: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = folder / "gone.db"
    assert run(missing, folder / "cifar.db", "--to", uri) == 1
    reported = capsys.readouterr().out.splitlines()
    assert (
        reported[0]
        == f"{missing}: not imported: {missing} cannot be read (No such file or directory): correct the path"
    )
    assert "1 of them new" in reported[1]


def test_records_of_deleted_runs_are_reported(
    folder: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    OlderDatabase(folder / "cifar.db").record(77, [("loss", 0, 1.0, 1.0)])
    run(folder / "cifar.db", "--to", uri)
    assert "1 records of deleted runs were skipped" in capsys.readouterr().out


def test_a_folder_without_databases_is_reported(tmp_path: Path, uri: str) -> None:
    with pytest.raises(ItemNotFound, match=r"no file in .* is a database or a document of an older tracker"):
        run(tmp_path, "--to", uri)


def test_without_a_store_the_error_asks_for_one(folder: Path) -> None:
    with pytest.raises(UsageError, match="give --to URI, or set TRACK_URI"):
        run(folder)


def test_an_import_over_a_socket_leaves_nothing_that_could_be_sent_later(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else what a killed import has left would be stored beside its repetition.
    spools = tmp_path / "spools"
    monkeypatch.setenv("TRACK_SPOOL", str(spools))
    with serving(Settings(backend=f"sqlite:{tmp_path}/s.db", home=tmp_path / "home")) as served:
        uri = served.join("importer")
        assert run(folder, "--to", uri) == 0
        assert run(folder, "--to", uri) == 0
        protocol = get_protocol(uri)
        counts = [len(protocol.fetch_metrics(trial, "loss")) for trial in protocol.fetch_trials({})]
        protocol.close()
    assert counts == [3, 3, 3]
    assert not spools.exists()


def test_the_command_is_installed(folder: Path, uri: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "track.cli", "import", str(folder / "cifar.db"), "--to", uri],
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "3 points sent to project cifar" in ended.stdout


def test_a_document_of_the_older_track_is_imported(
    tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = {
        "dtype": "trial",
        "hash": "abc",
        "metrics": {"loss": {"1": 0.5}},
        "chronos": {"batch": {"avg": 1.0, "min": 1.0, "max": 1.0, "sd": 0.0, "count": 2}},
        "status": {"value": 302, "name": "Completed"},
        "parameters": {},
    }
    (tmp_path / "older.json").write_text(json.dumps([trial]))
    assert run(tmp_path / "older.json", "--to", uri) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/older.json: 1 runs, 1 of them new, 1 points sent to project older in {uri}",
        "  not taken, 1 times: a timer of which the document has statistics only; "
        "the metadata 'imported' have them",
    ]
    assert run(tmp_path, "--to", uri, "--json") == 0
    (report,) = json.loads(capsys.readouterr().out)["databases"]
    assert (report["runs"], report["new_runs"], report["points"]) == (1, 0, 0)
