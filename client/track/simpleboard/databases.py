"""The databases that the API offers: the files of a folder, or the projects of a store."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from track.persistence import protocol as contract
from track.tracker.experiment import Experiment
from track.tracker.experiment_db import ExperimentDBManager
from track.tracker.folder import state_of
from track_protocol.errors import ItemNotFound, PermissionDenied, TrackError

__all__ = ["Databases", "FolderDatabases", "StoreDatabases"]

_log = logging.getLogger(__name__)

_SUFFIX: Final = ".db"
_MOST_OPEN: Final = 8
"""Files of a folder that are open at once; each has threads and connections of its own."""


class Databases(Protocol):
    """What is offered, by the names of files."""

    @property
    def folder(self) -> str:
        """Where they are; empty when they are in one store."""

    def names(self) -> list[str]:
        """The names, in any order."""

    def opened(self, name: str) -> AbstractContextManager[ExperimentDBManager]:
        """The runs of one, for one thread at a time.

        Raises:
            ItemNotFound: there is no such database.
        """

    def move(self, path: str) -> None:
        """Offer the files of another folder, which is made if it does not exist.

        Raises:
            PermissionDenied: it is not below the first folder.
            OSError: it cannot be made.
        """

    def close(self) -> None:
        """Close what is open."""


class StoreDatabases:
    """The projects of one store, each as ``NAME.db``.

    Args:
        open_protocol: opens the store, when it is first needed.
        is_owner: whether it is closed with this.
    """

    folder = ""

    def __init__(self, open_protocol: Callable[[], contract.Protocol], *, is_owner: bool = False) -> None:
        self._open_protocol = open_protocol
        self._is_owner = is_owner
        self._opened: contract.Protocol | None = None
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """See `Databases.names`."""
        projects = self._protocol.fetch_projects(fields=["name"])
        return [f"{project.name}{_SUFFIX}" for project in projects if project.name]

    @contextmanager
    def opened(self, name: str) -> Iterator[ExperimentDBManager]:
        """See `Databases.opened`."""
        if name not in self.names():
            raise ItemNotFound(f"no project is called {name.removesuffix(_SUFFIX)!r}")
        yield ExperimentDBManager(experiment=Experiment(self._protocol, name.removesuffix(_SUFFIX)))

    def move(self, path: str) -> None:
        """See `Databases.move`: these are in no folder."""
        raise PermissionDenied(f"{path}: these databases are projects of one store, not files of a folder")

    def close(self) -> None:
        """See `Databases.close`."""
        with self._lock:
            if self._is_owner and self._opened is not None:
                self._opened.close()

    @property
    def _protocol(self) -> contract.Protocol:
        with self._lock:
            if self._opened is None:
                self._opened = self._open_protocol()
            return self._opened


class FolderDatabases:
    """The ``*.db`` files of a folder.

    Args:
        folder: where they are; no other folder than those below it is ever read.
    """

    def __init__(self, folder: Path) -> None:
        self._root = self._folder = folder.resolve()
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, _Opened] = OrderedDict()

    @property
    def folder(self) -> str:
        """See `Databases.folder`."""
        return str(self._folder)

    def names(self) -> list[str]:
        """See `Databases.names`."""
        return sorted(path.name for path in self._folder.glob(f"*{_SUFFIX}") if path.is_file())

    @contextmanager
    def opened(self, name: str) -> Iterator[ExperimentDBManager]:
        """See `Databases.opened`."""
        if name not in self.names():  # so that a name never leads out of the folder
            raise ItemNotFound(f"{self.folder} has no database {name!r}")
        with self._lock:
            yield self._manager(self._folder / name)

    def move(self, path: str) -> None:
        """See `Databases.move`."""
        wanted = (self._root / path).resolve()
        if not wanted.is_relative_to(self._root):
            raise PermissionDenied(
                f"{path}: choose a folder in {self._root}, with which this board was started"
            )
        wanted.mkdir(parents=True, exist_ok=True)
        self._folder = wanted

    def close(self) -> None:
        """See `Databases.close`."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def _manager(self, path: Path) -> ExperimentDBManager:
        """The open file; opened again when another one has its name, or an older system wrote to it."""
        known = self._open.pop(path, None)
        if known is not None and known.is_stale(path):
            known.close()
            known = None
        if known is None:
            manager = ExperimentDBManager(path)
            known = _Opened(manager, state_of(path, is_older=manager.is_read_only))
        self._open[path] = known
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        return known.manager


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open file, and the state of it that is read.

    Attributes:
        manager: reads it.
        state: see `state_of`, when it was opened.
    """

    manager: ExperimentDBManager
    state: object

    def is_stale(self, path: Path) -> bool:
        return state_of(path, is_older=self.manager.is_read_only) != self.state

    def close(self) -> None:
        """Release the file; what is wrong with it was said to whoever asked for its runs."""
        try:
            self.manager.close()
        except TrackError as error:
            _log.debug("%s could not be closed: %s", self.manager.db_path, error)
