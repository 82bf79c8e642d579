"""What git knows of a folder."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from track.recording.git import Changes, changes_in, commit_of, repository_of


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "train.py").write_text("lr = 0.1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_the_repository_is_found_from_a_folder_inside_it(root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    assert repository_of(root / "a" / "b") == root


def test_a_folder_outside_has_none(tmp_path: Path) -> None:
    assert repository_of(tmp_path) is None


def test_the_commit_of_a_branch_is_known(root: Path) -> None:
    assert commit_of(root) == git(root, "rev-parse", "HEAD")


def test_the_commit_of_a_packed_branch_is_known(root: Path) -> None:
    git(root, "pack-refs", "--all")
    assert not (root / ".git" / "refs" / "heads" / "main").exists()
    assert commit_of(root) == git(root, "rev-parse", "HEAD")


def test_a_commit_that_is_checked_out_without_a_branch_is_known(root: Path) -> None:
    git(root, "checkout", "-q", "--detach")
    assert commit_of(root) == git(root, "rev-parse", "HEAD")


def test_the_commit_of_another_worktree_is_known(root: Path, tmp_path: Path) -> None:
    git(root, "worktree", "add", "-q", "-b", "other", str(tmp_path / "other"))
    git(tmp_path / "other", "commit", "-q", "--allow-empty", "-m", "second")
    assert commit_of(tmp_path / "other") == git(tmp_path / "other", "rev-parse", "HEAD")


def test_there_is_no_commit_before_the_first_one(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert commit_of(tmp_path) is None


def test_an_unchanged_repository_is_clean(root: Path) -> None:
    assert changes_in(root) == Changes(False, None)


def test_changes_are_hashed(root: Path) -> None:
    (root / "train.py").write_text("lr = 0.2\n")
    first = changes_in(root)
    (root / "train.py").write_text("lr = 0.3\n")
    second = changes_in(root)
    assert first is not None
    assert second is not None
    assert (first.dirty, second.dirty) == (True, True)
    assert first.diff != second.diff


def test_what_is_not_under_version_control_is_no_change(root: Path) -> None:
    (root / "runs.db").write_text("")
    assert changes_in(root) == Changes(False, None)


def test_a_git_that_hangs_is_given_up(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a process that it started holds its output open."""
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nsleep 600 &\nwait\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    assert changes_in(root, seconds=0.2) is None


def test_a_program_whose_standard_files_are_closed_knows_them_too(root: Path) -> None:
    (root / "train.py").write_text("lr = 0.2\n")
    script = (
        "import os, sys, pathlib; [os.close(n) for n in (0, 1)]; from track.recording.git import changes_in; "
    )
    script += "print(changes_in(pathlib.Path(sys.argv[1])), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script, str(root)], capture_output=True, text=True, check=True, timeout=60
    )
    assert f"{changes_in(root)}\n" == done.stderr


def test_a_program_that_the_repository_names_is_not_run(root: Path, tmp_path: Path) -> None:
    program = tmp_path / "monitor"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    for name in ("core.fsmonitor", "diff.external"):
        git(root, "config", name, str(program))
    (root / "train.py").write_text("lr = 0.2\n")
    found = changes_in(root)
    assert found is not None
    assert found.dirty
    assert not (tmp_path / "ran").exists()


def children() -> set[str]:
    """The processes that this one has started and not waited for."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if f"PPid:\t{os.getpid()}\n" in status.read_text():
                found.add(status.parent.name)
    return found


def test_nothing_is_left_behind(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd")), children()
    for _ in range(3):
        changes_in(root)
    assert (len(os.listdir("/proc/self/fd")), children()) == before


def test_nothing_is_known_without_git(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert changes_in(root) is None


def test_nothing_is_known_where_there_is_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert changes_in(tmp_path) is None
