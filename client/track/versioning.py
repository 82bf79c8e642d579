"""Versions of the code that runs, as hashes of its files."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, Final

from track_protocol.errors import UsageError

__all__ = [
    "BUF_SIZE",
    "compute_hash",
    "compute_version",
    "default_version_hash",
    "get_file_version",
    "get_git_version",
    "is_iterable",
]

BUF_SIZE: Final = 64 * 1024
"""Bytes of a file that are read at once."""


def is_iterable(iterable: Any) -> bool:
    """Whether it can be iterated over; a text counts as one thing."""
    return hasattr(iterable, "__iter__") and not isinstance(iterable, (str, bytes))


def compute_hash(*args: Any, **kwargs: Any) -> str:
    """SHA-256 of the texts of some values, as 64 hexadecimal digits; keyword order does not count."""
    digest = hashlib.sha256()
    for part in (*args, *sorted(kwargs.items())):
        for each in part if is_iterable(part) else (part,):
            text = str(each).encode(errors="surrogatepass")
            digest.update(b"%d:%b" % (len(text), text))
    return digest.hexdigest()


def get_file_version(file_name: str) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(file_name, "rb") as file:
        for data in iter(partial(file.read, BUF_SIZE), b""):
            digest.update(data)
    return digest.hexdigest()


def compute_version(files: Sequence[str]) -> str:
    """One hash of the content of some files; their order counts, their names do not."""
    return compute_hash([get_file_version(name) for name in files])


@lru_cache(maxsize=1)
def default_version_hash() -> str | None:
    """Version of the file that is being executed; None where there is none, as in a prompt."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if file is None or not os.path.isfile(file):
        return None
    return get_file_version(file)


def get_git_version(module: Any) -> tuple[str, str]:
    """The commit that a module's source is at, and when it was made.

    What was changed since then is not in it; see `get_file_version` for that.

    Args:
        module: a module, or the path of a file or folder.

    Returns:
        The commit's full hash, and its date in ISO 8601 with its time zone.

    Raises:
        UsageError: the module has no file, is in no git repository with a commit, or git is not installed.
    """
    # Deferred: most programs never ask.
    import subprocess

    named = module if isinstance(module, (str, os.PathLike)) else getattr(module, "__file__", None)
    if named is None:
        raise UsageError(f"{module!r} has no file, so no commit either: give a module or a path")
    path = os.path.abspath(named)
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    command = ["git", "-C", folder, "log", "-1", "--format=%H %cI"]
    try:
        run = subprocess.run(  # noqa: S603  # the user's own git, as the shell would find it
            command, capture_output=True, text=True, check=True
        )
    except OSError as error:
        raise UsageError(
            f"the commit of {path} is not known: git cannot be run ({error}); install it"
        ) from error
    except subprocess.CalledProcessError as error:
        reason = str(error.stderr).strip() or f"git ended with {error.returncode}"
        raise UsageError(
            f"the commit of {path} is not known: {reason}; use set_version or get_file_version"
        ) from error
    commit, _, date = run.stdout.strip().partition(" ")
    return commit, date
