"""What git knows of a folder: the commit, read from its files, and what was changed since, asked of git.

The commit is a line in a small file, so no process is started for it.  The changes need the index and the
objects, which only git reads well: it is started with a time limit, and with nothing that it could ask a
person or a server for.
"""

from __future__ import annotations

import hashlib
import os
import re
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Changes", "changes_in", "commit_of", "repository_of"]

_GIT_TIMEOUT_S: Final = 10.0
"""How long git may take for one answer."""

_PART: Final = 1 << 16
_COMMIT: Final = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_DIFF: Final = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--binary", "HEAD")
_ALONE: Final = {
    # Another git of the user's must not meet a lock of ours.
    "GIT_OPTIONAL_LOCKS": "0",
    # A partial clone would fetch what it lacks, and ask for a password.
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
}


@dataclass(frozen=True, slots=True)
class Changes:
    """What was changed in files under version control since the commit.

    Attributes:
        dirty: whether anything was.
        diff: SHA-256 of the output of ``git diff HEAD``, None when nothing was.
    """

    dirty: bool
    diff: str | None


def repository_of(folder: Path) -> Path | None:
    """The root of the repository that a folder is in; None without one."""
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)


def commit_of(root: Path) -> str | None:
    """The commit that is checked out; None before the first one, and where git stores it in another way."""
    try:
        folder = _git_folder(root)
        head = _line(folder / "HEAD")
        name = head.removeprefix("ref:").strip()
        return _checked(head) if name == head else _commit_at(folder, name)
    except (OSError, ValueError):
        return None


def _git_folder(root: Path) -> Path:
    """The folder ``.git``; of a worktree or a submodule, the one that the file ``.git`` names."""
    path = root / ".git"
    return path if path.is_dir() else root / _line(path).removeprefix("gitdir:").strip()


def _commit_at(folder: Path, name: str) -> str | None:
    """The commit of a branch: in a file of its own, or in the file of all that were packed."""
    shared = folder / _line(folder / "commondir") if (folder / "commondir").exists() else folder
    for path in (folder / name, shared / name):
        if path.is_file():
            return _checked(_line(path))
    with (shared / "packed-refs").open(encoding="utf-8") as packed:
        found = (line.split() for line in packed if line.rstrip().endswith(f" {name}"))
        return next((_checked(commit) for commit, ref in found if ref == name), None)


def _line(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().strip()


def _checked(commit: str) -> str | None:
    return commit if _COMMIT.fullmatch(commit) else None


def changes_in(root: Path, seconds: float = _GIT_TIMEOUT_S) -> Changes | None:
    """What was changed since the commit; None when git fails or takes too long.

    Args:
        root: of the repository.
        seconds: how long git may take.
    """
    deadline = time.monotonic() + seconds
    try:
        process, pipe = _started(root)
    except OSError:
        return None
    try:
        digest = _digest_of(pipe, deadline)
    finally:
        os.close(pipe)
    if not _succeeded(process, is_awaited=digest is not None) or digest is None:
        return None
    is_dirty = digest != hashlib.sha256().hexdigest()
    return Changes(is_dirty, digest if is_dirty else None)


def _started(root: Path) -> tuple[int, int]:
    """A git that writes the changes into a pipe: its number, and the end to read from.

    Not by `subprocess`, whose import would take longer than all that is known of a run otherwise, and which
    a thread must not import while another one forks.
    """
    reading, writing = os.pipe()
    try:
        process = os.posix_spawnp(
            "git",
            ["git", "-c", "core.fsmonitor=false", "-C", os.fspath(root), *_DIFF],
            {**os.environ, **_ALONE},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, writing, 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            # Python ignores this one, and what it starts would, too.
            setsigdef=[signal.SIGPIPE],
        )
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return process, reading


def _succeeded(process: int, is_awaited: bool) -> bool:
    """Whether git ended well; one that is not awaited any more is killed."""
    try:
        if not is_awaited:
            os.kill(process, signal.SIGKILL)
        return os.waitpid(process, 0)[1] == 0
    except (ChildProcessError, ProcessLookupError):
        return False  # the program waits for all of its children itself, and knows how this one ended


def _digest_of(pipe: int, deadline: float) -> str | None:
    """SHA-256 of all that comes out of a pipe; None when its end does not come in time.

    The changes may be larger than the memory, and a filter that git started may keep the pipe open after git
    was killed.
    """
    digest = hashlib.sha256()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        part = os.read(pipe, _PART)
        if not part:
            return digest.hexdigest()
        digest.update(part)
    return None
