"""Versions of code."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from track.versioning import (
    compute_hash,
    compute_version,
    get_file_version,
    get_git_version,
    is_iterable,
)
from track_protocol.errors import UsageError


def test_a_version_changes_with_the_content_and_not_with_the_name(tmp_path: Path) -> None:
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    a.write_text("x = 1")
    b.write_text("x = 1")
    assert get_file_version(str(a)) == get_file_version(str(b))
    assert compute_version([str(a)]) == compute_version([str(b)])
    b.write_text("x = 2")
    assert compute_version([str(a)]) != compute_version([str(b)])


def test_values_that_join_to_the_same_text_have_different_hashes() -> None:
    assert compute_hash("ab", "c") != compute_hash("a", "bc")
    assert compute_hash(a=1, b=2) == compute_hash(b=2, a=1)


def test_a_text_is_one_thing() -> None:
    assert [is_iterable(value) for value in ([1], (1,), "ab", b"ab", 7)] == [True, True, False, False, False]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with one commit of one file."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (tmp_path / "model.py").write_text("layers = 3\n")
    author = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "model.py"], [*author, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def head(repository: Path, form: str) -> str:
    command = ["git", "-C", str(repository), "show", "-s", f"--format={form}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_of_a_module_and_its_date(repository: Path) -> None:
    module = ModuleType("model")
    module.__file__ = str(repository / "model.py")
    expected = (head(repository, "%H"), head(repository, "%cI"))
    assert get_git_version(module) == get_git_version(repository) == expected


def test_a_module_outside_of_a_repository_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UsageError, match="not a git repository"):
        get_git_version(tmp_path)


def test_a_module_without_a_file_has_no_commit() -> None:
    with pytest.raises(UsageError, match="no file"):
        get_git_version(ModuleType("made_up"))


def test_without_git_no_commit_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="git cannot be run"):
        get_git_version(tmp_path)
