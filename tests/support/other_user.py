"""A second user of the machine: what another user leaves, and code that runs as that user."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

__all__ = ["OTHER_USER", "as_other_user", "give_away", "needs_two_users", "shared_folder"]

OTHER_USER: Final = 65534
"""The user `nobody`, which exists on every machine."""

needs_two_users = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as a second user")


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder like ``/tmp``, to which everybody may write."""
    folder = Path(tempfile.mkdtemp(prefix="track-shared-"))
    folder.chmod(0o1777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def as_other_user(action: Callable[[], object]) -> None:
    """Run something as the other user, in a child process; what it raises fails the test."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgid(OTHER_USER)
            os.setuid(OTHER_USER)
            action()
            code = 0
        except BaseException:  # noqa: BLE001  # a child of pytest must not return
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the other user's part has failed, see stderr"


def give_away(path: Path) -> None:
    """Make a folder and all in it the other user's."""
    for each in (path, *path.rglob("*")):
        os.chown(each, OTHER_USER, OTHER_USER, follow_symlinks=False)
