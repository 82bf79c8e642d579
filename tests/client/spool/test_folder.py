"""The folder of a spool, and who holds it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from orphaned_spools import SESSION, left_spool
from track.spool.folder import (
    Checkpoint,
    SpoolFolder,
    SpoolMetadata,
    is_held,
    read_checkpoint,
    read_metadata,
    spools_in,
)
from track_protocol.errors import SpoolCorrupt, SpoolError, SpoolInUse

ORIGIN = SpoolMetadata(SESSION.hex(), "socket://ann@node1:8123", "train.py", "node7", 4711, 1.7e9)


def test_a_folder_reports_whose_it_is_and_only_to_its_user(tmp_path: Path) -> None:
    folder = SpoolFolder.create(tmp_path / "root", ORIGIN)
    assert read_metadata(folder.path) == ORIGIN
    assert [path.stat().st_mode & 0o077 for path in (tmp_path / "root", folder.path)] == [0, 0]
    folder.close()


def test_a_folder_that_could_not_be_finished_can_be_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `SpoolFolder.create` leaves behind what it began: its place is taken then.
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(SpoolError, match="No space left on device"):
            SpoolFolder.create(tmp_path, ORIGIN)
    assert list(tmp_path.iterdir()) == []
    folder = SpoolFolder.create(tmp_path, ORIGIN)
    assert read_metadata(folder.path) == ORIGIN
    folder.close()


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("name", ["fsync", "open"])
def test_a_folder_whose_making_failed_halfway_can_be_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, k: int
) -> None:
    call, calls = getattr(os, name), count(1)

    def failing(*arguments: Any, **options: Any) -> Any:
        if next(calls) in (k, k + 1):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(*arguments, **options)

    monkeypatch.setattr(os, name, failing)
    open_files = set(os.listdir("/proc/self/fd"))
    with pytest.raises(SpoolError, match="No space left"):
        SpoolFolder.create(tmp_path / "root", ORIGIN)
    assert set(os.listdir("/proc/self/fd")) <= open_files  # others may have been closed meanwhile
    monkeypatch.undo()
    SpoolFolder.create(tmp_path / "root", ORIGIN).close()


def test_a_folder_is_held_by_one_until_it_is_let_go(tmp_path: Path) -> None:
    folder = SpoolFolder.create(tmp_path, ORIGIN)
    with pytest.raises(SpoolInUse, match="another process"):
        SpoolFolder.open(folder.path)
    assert is_held(folder.path)
    folder.close()
    assert not is_held(folder.path)
    SpoolFolder.open(folder.path).close()


def test_the_death_of_the_holder_lets_go_of_it(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    program = (
        "import sys, pathlib\nfrom track.spool.folder import SpoolFolder\n"
        "held = SpoolFolder.open(pathlib.Path(sys.argv[1]))\nprint('held', flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert is_held(path)
        holder.kill()
    SpoolFolder.open(path).close()


def test_a_child_that_lets_go_leaves_the_folder_to_its_parent(tmp_path: Path) -> None:
    folder = SpoolFolder.create(tmp_path, ORIGIN)
    child = os.fork()
    if child == 0:
        folder.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert is_held(folder.path)
    folder.close()


def test_a_folder_that_is_being_removed_is_not_retained_by_opening_it(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    for name in ("spool.json", "lock"):
        (path / name).unlink()
    with pytest.raises(SpoolInUse, match="just sent"):
        SpoolFolder.open(path)
    assert not (path / "lock").exists()


def test_a_copy_without_its_lock_can_be_opened(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    (path / "lock").unlink()
    assert not is_held(path)
    SpoolFolder.open(path).close()


def test_removing_leaves_nothing(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    SpoolFolder.open(path).remove()
    assert list(tmp_path.iterdir()) == []


def test_removing_leaves_damaged_bytes_for_a_person(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    folder = SpoolFolder.open(path)
    assert folder.quarantine("1-24", b"odd") == path / "damaged" / "1-24"
    assert folder.quarantine("1-24", b"odd") is None
    folder.remove()
    assert (path / "damaged" / "1-24").read_bytes() == b"odd"
    assert list(path.glob("*.segment")) == []


def test_how_far_it_came_is_read_back(tmp_path: Path) -> None:
    path = left_spool(tmp_path, checkpoint=Checkpoint(7, "generation", "away"))
    assert read_checkpoint(path) == Checkpoint(7, "generation", "away")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"acked": "x"}', '{"acked": 1}'])
def test_what_was_noted_and_cannot_be_read_counts_as_nothing(tmp_path: Path, content: str) -> None:
    path = left_spool(tmp_path)
    (path / "state.json").write_text(content)
    assert read_checkpoint(path) == Checkpoint()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 1}', '{"format": 1, "session": 3}', '{"format": "x"}']
)
def test_a_damaged_origin_still_reports_the_session_by_the_folders_name(tmp_path: Path, content: str) -> None:
    path = left_spool(tmp_path)
    (path / "spool.json").write_text(content)
    found = read_metadata(path)
    assert (found.session, found.server) == (SESSION.hex(), "")


def test_an_origin_with_values_of_the_wrong_kind_is_damaged(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    said = json.loads((path / "spool.json").read_text())
    (path / "spool.json").write_text(json.dumps({**said, "server": 5}))
    assert read_metadata(path).server == ""


def test_a_renamed_folder_with_a_damaged_origin_is_nobodys(tmp_path: Path) -> None:
    path = left_spool(tmp_path).rename(tmp_path / "copy")
    (path / "spool.json").write_text("{")
    with pytest.raises(SpoolCorrupt, match="owner of its records is unknown"):
        SpoolFolder.open(path)
    assert not is_held(path)


def test_a_spool_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    said = json.loads((path / "spool.json").read_text())
    (path / "spool.json").write_text(json.dumps({**said, "format": 2}))
    with pytest.raises(SpoolError, match="newer version"):
        read_metadata(path)


def test_spools_are_found_in_a_folder_or_by_their_own(tmp_path: Path) -> None:
    one, other = (left_spool(tmp_path, session=bytes([number]) * 16) for number in (1, 2))
    (tmp_path / "notes").mkdir()
    assert set(spools_in(tmp_path)) == {one, other}
    assert list(spools_in(one)) == [one]
    assert list(spools_in(tmp_path / "nothing")) == []


def test_a_folder_that_cannot_be_looked_into_hides_no_other(tmp_path: Path) -> None:
    # Fails when `spools_in` stops at the first unusable one, as another user's or one that is being removed.
    path = left_spool(tmp_path)
    (tmp_path / "odd").symlink_to("n" * 300)  # a name that no file system takes: every look at it fails
    assert list(spools_in(tmp_path)) == [path]


def test_a_root_that_is_a_file_is_reported(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.touch()
    with pytest.raises(SpoolError, match="TRACK_SPOOL"):
        SpoolFolder.create(root, ORIGIN)
