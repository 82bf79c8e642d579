"""Tokens for other processes: a pickle says where a token is found, and does not hold it.

A client that is pickled for a worker process may have its token in its URI only.  Pickles are written to
disks and sent over networks by whoever makes them, so the token goes into a file beside it, which its user
alone may read and which is removed when this process ends.  A worker that finds no file takes the token of
its environment, like any other client.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from track_protocol.uri import Uri

__all__ = ["handed_over", "taken_over"]


class _Files:
    """The files of this process, by token."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._folder: Path | None = None
        self._known: dict[str, Path] = {}

    def path_of(self, token: str) -> Path:
        """The file that holds a token.

        Raises:
            OSError: it cannot be written.
        """
        if self._pid != os.getpid():
            self._begin()
        if self._folder is None:
            # For its user only: 0700.
            self._folder = Path(tempfile.mkdtemp(prefix="track-"))
            atexit.register(self._remove, self._pid, self._folder)
        if token not in self._known:
            path = self._folder / str(len(self._known))
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
                file.write(token)
            self._known[token] = path
        return self._known[token]

    def _remove(self, pid: int, folder: Path) -> None:
        if pid == os.getpid():
            shutil.rmtree(folder, ignore_errors=True)


_files: Final = _Files()


def handed_over(uri: str) -> tuple[str, str | None]:
    """A URI without its token, and the file that has it; None if there is none.

    Args:
        uri: of any store; only that of a server has a token.
    """
    if not uri.startswith("socket:"):
        return uri, None
    parsed = Uri.parse(uri)
    if not parsed.password:
        return uri, None
    public = replace(parsed, password=None).to_text()
    try:
        return public, str(_files.path_of(parsed.password))
    except OSError:
        # Without a disk the other process needs a token of its own.
        return public, None


def taken_over(uri: str, place: str | None) -> str:
    """The URI again with its token, where that can be read.

    Args:
        uri: without it.
        place: the file.
    """
    if place is None:
        return uri
    try:
        # No link: the file is one that a process of this user made.
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, encoding="utf-8") as file:
            if os.fstat(descriptor).st_uid != os.geteuid():
                return uri
            token = file.read()
    except OSError:
        return uri
    return replace(Uri.parse(uri), password=token).to_text()
