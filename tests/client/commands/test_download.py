"""``track download``: files and media of a trial."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_runner import run
from track import TrackClient
from track.commands.download import COMMAND
from track_protocol.errors import ItemNotFound, TrackError


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"sqlite:{tmp_path}/runs.db"
    monkeypatch.setenv("TRACK_URI", uri)
    return uri


def fill(uri: str, folder: Path, **artifacts: bytes) -> None:
    with TrackClient(uri) as client:
        trial = client.new_trial(name="t")
        trial.start()
        for name, content in artifacts.items():
            (folder / "artifact").write_bytes(content)
            trial.log_artifact(folder / "artifact", name)
            client.protocol.flush()
        trial.log_text("note", "line\n", step=3)
        trial.log_text("note", "other\n", step=10)
        trial.log_histogram("weights", [1, 2, 3])
        trial.finish()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_content_becomes_a_file(uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(uri, tmp_path, **{"models/best.pt": b"\x00weights"})
    to = tmp_path / "new" / "folder"
    run(COMMAND, "t", "--to", str(to))
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(str(to / name) for name in files(to))
    found = files(to)
    assert json.loads(found.pop("histogram/weights.json"))["n"] == 3
    assert found == {
        "file/models/best.pt": b"\x00weights",
        "text/note.3.txt": b"line\n",
        "text/note.10.txt": b"other\n",
    }


def test_only_what_is_named_is_written(uri: str, tmp_path: Path) -> None:
    fill(uri, tmp_path, **{"a.bin": b"a", "b.bin": b"b"})
    run(COMMAND, "t", "b.bin", "--to", str(tmp_path / "to"))
    assert files(tmp_path / "to") == {"file/b.bin": b"b"}
    with pytest.raises(ItemNotFound, match=r"no file or media 'c.bin': did you mean 'b.bin' or 'a.bin'"):
        run(COMMAND, "t", "c.bin", "--to", str(tmp_path / "to"))


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/evil", "a/../../../evil", "..", ".", "a\u202eb", "a\\..\\b"]
)
def test_a_name_never_leads_out_of_the_folder(uri: str, tmp_path: Path, name: str) -> None:
    fill(uri, tmp_path, **{name: b"x"})
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    run(COMMAND, "t", name, "--to", str(tmp_path / "deep" / "to"))
    (written,) = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert written.is_relative_to(tmp_path / "deep" / "to" / "file")
    assert str(written).isprintable()


def test_a_file_that_is_there_is_not_replaced(uri: str, tmp_path: Path) -> None:
    fill(uri, tmp_path, **{"a.bin": b"new"})
    mine = tmp_path / "to" / "file" / "a.bin"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(TrackError, match=r"a\.bin exists already"):
        run(COMMAND, "t", "a.bin", "--to", str(tmp_path / "to"))
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    mine.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrackError, match="exists already"):
        run(COMMAND, "t", "a.bin", "--to", str(tmp_path / "to"))
    assert not (tmp_path / "elsewhere").exists()


def test_a_trial_without_any_says_so(uri: str) -> None:
    with TrackClient(uri) as client:
        client.new_trial(name="bare").start()
    with pytest.raises(ItemNotFound, match="no files and no media"):
        run(COMMAND, "bare")
