"""The demo's folder: everything it writes, and an environment in which nothing goes anywhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from track_protocol.errors import StoreReadOnly, UsageError

__all__ = ["Folder", "isolated", "new_folder"]


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the demo's files are.

    Attributes:
        root: the folder itself, absolute.
    """

    root: Path

    @property
    def home(self) -> Path:
        """The server's home: identity, users, store."""
        return self.root / "server"

    @property
    def store(self) -> Path:
        """The SQLite file that all workers share."""
        return self.home / "track.db"

    @property
    def server_log(self) -> Path:
        """Log of the server's standard error."""
        return self.root / "server.log"

    @property
    def board_log(self) -> Path:
        """Log of the board's standard error."""
        return self.root / "board.log"

    @property
    def ready_file(self) -> Path:
        """File that the server writes once it accepts connections."""
        return self.root / "server.json"

    def worker_log(self, name: str) -> Path:
        """Log of a worker's standard error."""
        return self.root / "workers" / f"{name}.log"

    def worker_report(self, name: str) -> Path:
        """File with a worker's report."""
        return self.root / "workers" / f"{name}.json"

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """The environment of every process of the demo.

        No configuration of the user gets in, nothing is written to the user's home, and each process uses
        one core: eight that use all cores at once only slow each other down.
        """
        inherited = {name: value for name, value in base.items() if not name.startswith("TRACK_")}
        return {
            **inherited,
            "TRACK_HOME": str(self.home),
            "TRACK_QUIET": "1",
            "XDG_DATA_HOME": str(self.root / "data"),
            "XDG_STATE_HOME": str(self.root / "state"),
            "XDG_RUNTIME_DIR": str(self.root / "runtime"),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }


def new_folder(asked: Path | None, now: datetime) -> Folder:
    """A folder for one demo, made here.

    Args:
        asked: where; by default a new one in the current folder, named after the time.
        now: the time.

    Raises:
        UsageError: there is something in it already.
        StoreReadOnly: it cannot be made.
    """
    root = (asked or Path(f"track-demo-{now:%Y%m%d-%H%M%S}")).absolute()
    try:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise UsageError(f"--dir {root}: the folder is not empty; name a new or empty folder")
        for part in (root, root / "workers", root / "runtime"):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreReadOnly(
            f"{root} cannot be created ({error.strerror or error}): name another folder with --dir"
        ) from None
    return Folder(root)


@contextmanager
def isolated(environment: Mapping[str, str]) -> Iterator[None]:
    """Give this process, too, that environment for a while."""
    before = dict(os.environ)
    _replace(environment)
    try:
        yield
    finally:
        _replace(before)


def _replace(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
