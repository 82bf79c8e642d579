"""JSON files in the client's state folder that only their user may write, and several processes change."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, TypeVar

from track.process.files import locked, replace_file
from track.process.private import make_folder, read_private
from track_protocol.errors import TrackError
from track_protocol.locations import client_state_folder

__all__ = ["StateFile"]

_VERSION: Final = 1
_T = TypeVar("_T")


class StateFile(ABC, Generic[_T]):
    """A file with a version and one value.

    Args:
        folder: of the file; by default the client's state folder.
    """

    _NAME: ClassVar[str]
    """The file's name."""
    _FIELD: ClassVar[str]
    """The name of the value in the document."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @property
    def path(self) -> Path:
        """The file.

        Raises:
            UsageError: no folder was given, and the user has no home.
        """
        # Not computed before it is needed: with a pin in the URI no home is.
        return (client_state_folder(os.environ) if self._folder is None else self._folder) / self._NAME

    @abstractmethod
    def _parsed(self, value: Any) -> _T:
        """The value, from its JSON; an empty mapping stands for a file that does not exist."""

    @abstractmethod
    def _unusable(self, reason: Exception) -> TrackError:
        """The error for a file that cannot be read or is damaged."""

    def _content(self) -> bytes:
        return read_private(self.path, is_root=True)

    def _read(self) -> _T:
        try:
            document = json.loads(self._content())
            if document["version"] != _VERSION:
                raise ValueError("it has another version")
            return self._parsed(document[self._FIELD])
        except FileNotFoundError:
            return self._parsed({})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._unusable(error) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """While no other process changes the file; raises OSError if its folder cannot be written."""
        make_folder(self.path.parent)
        with locked(self.path.with_suffix(".lock")):
            yield

    def _write(self, value: Any) -> None:
        document = {"version": _VERSION, self._FIELD: value}
        replace_file(self.path, json.dumps(document, indent=2, sort_keys=True).encode())
