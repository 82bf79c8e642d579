"""Which source files the program that runs is made of, and which commit they are of."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from track.recording.git import changes_in, repository_of
from track.versioning import get_git_version
from track_protocol.errors import UsageError

__all__ = ["Sources", "running_sources"]

_MAX_FILE_BYTES: Final = 1024 * 1024
_MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one file, and of all of them."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The source files of a program.

    Attributes:
        root: the folder that all of them are in.
        files: the executed file first.
        description: which file is executed, and what git says: see `track.logger.TrialLogger.log_code`.
        left_out: why which files are not in `files`.
    """

    root: Path
    files: list[Path]
    description: dict[str, Any]
    left_out: list[str]


def running_sources() -> Sources | None:
    """Those of this process, as far as they are loaded; None where no file is executed, as in a prompt."""
    main = sys.modules.get("__main__")
    named = getattr(main, "__file__", None)
    if named is None or not os.path.isfile(named):
        return None
    script = Path(named).resolve()
    description: dict[str, Any] = {}
    root = repository_of(script.parent)
    if root is not None:
        description = _state(script, root)
    else:
        # Of ``python -m package.module``, the folder that has the package.
        depth = len((getattr(main, "__package__", None) or "").split(".")) if _is_module(main) else 0
        root = script.parents[min(depth, len(script.parents) - 1)]
    description["script"] = script.relative_to(root).as_posix()
    files: list[Path] = []
    left_out: list[str] = []
    total = 0
    for path in dict.fromkeys([script, *_loaded(root)]):
        size = path.stat().st_size
        if size > _MAX_FILE_BYTES or total + size > _MAX_BYTES:
            left_out.append(
                f"{path} was skipped: it has {size:,} bytes, and the maximum is {_MAX_FILE_BYTES:,} per file "
                f"and {_MAX_BYTES:,} in total: log it with log_file"
            )
            continue
        total += size
        files.append(path)
    return Sources(root, files, description, left_out)


def _is_module(main: object) -> bool:
    return bool(getattr(main, "__package__", None)) and getattr(main, "__spec__", None) is not None


def _loaded(root: Path) -> Iterator[Path]:
    """Files of the modules that are loaded from below a folder, without those that were installed."""
    installed = [Path(path).resolve() for path in sysconfig.get_paths().values()]
    installed = [path for path in installed if not root.is_relative_to(path)]
    for module in list(sys.modules.values()):
        named = getattr(module, "__file__", None)
        if not isinstance(named, str) or not named.endswith(".py"):
            continue
        path = Path(named).resolve()
        below = path.is_relative_to(root) and path.is_file()
        if below and not any(path.is_relative_to(folder) for folder in installed):
            yield path


def _state(script: Path, root: Path) -> dict[str, Any]:
    try:
        commit, date = get_git_version(script)
    except UsageError:
        return {}  # a repository without a commit
    state: dict[str, Any] = {"commit": commit, "date": date}
    changes = changes_in(root)
    if changes is not None:
        state["dirty"] = changes.dirty
        if changes.diff is not None:
            state["diff"] = changes.diff
    return state
