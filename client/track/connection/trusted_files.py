"""The files ``track.config`` that the user has trusted to choose a server, as ``direnv allow`` does it.

A file is trusted as it is: the SHA-256 of its content is stored with its path, so a change has to be looked
at again.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from track.configuration import Configuration, current_configuration, environment
from track.process.files import locked, replace_file
from track.process.private import make_folder, read_private
from track_protocol.errors import UsageError
from track_protocol.locations import client_state_folder

__all__ = ["TrustedFiles", "spool_environment"]

_log: Final = logging.getLogger("track.connection.trusted_files")

_VERSION: Final = 1
_SPOOL: Final = "TRACK_SPOOL"


def spool_environment() -> Mapping[str, str]:
    """The environment as `track.configuration.environment`, to find the folder of spools.

    What lies there is sent under the user's login.  So a ``track.config`` that the user has not trusted does
    not choose it: records may have come with the same repository.

    Raises:
        UsageError: ``track.config`` or the file of trusted ones cannot be read.
    """
    found, configuration = environment(), current_configuration()
    if _SPOOL in os.environ or _SPOOL not in found or TrustedFiles().contains(configuration):
        return found
    _log.warning(
        "the folder of spools that %s names is not used, because you have not trusted that file: look at it, "
        "then run 'track trust'; or set TRACK_SPOOL yourself",
        configuration.path,
    )
    return {name: value for name, value in found.items() if name != _SPOOL}


class TrustedFiles:
    """What ``track trust`` has stored, in ``trusted_files.json``.

    Args:
        folder: of the file; by default the client's state folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @property
    def path(self) -> Path:
        """The file.

        Raises:
            UsageError: no folder was given, and the user has no home.
        """
        return (
            client_state_folder(os.environ) if self._folder is None else self._folder
        ) / "trusted_files.json"

    def contains(self, configuration: Configuration) -> bool:
        """Whether a configuration may choose a server: the user has named it, or has trusted it as it is.

        Raises:
            UsageError: the file of trusted ones is damaged.
        """
        if not configuration.is_project:
            return True
        return self._read().get(str(configuration.path)) == configuration.digest

    def add(self, configuration: Configuration) -> None:
        """Trust a configuration, as it is.

        Raises:
            UsageError: the file of trusted ones is damaged, or cannot be written.
        """
        try:
            make_folder(self.path.parent)
            with locked(self.path.with_suffix(".lock")):
                files = self._read() | {str(configuration.path): configuration.digest}
                document = {"version": _VERSION, "files": files}
                replace_file(self.path, json.dumps(document, indent=2, sort_keys=True).encode())
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be written ({error.strerror}): make that folder writable by you alone, "
                "or set XDG_STATE_HOME to another one"
            ) from error

    def _read(self) -> dict[str, str]:
        try:
            document = json.loads(read_private(self.path, is_root=True))
            if document["version"] != _VERSION:
                raise ValueError("it has another version")
            return {str(path): str(digest) for path, digest in document["files"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{self.path}, the list of trusted files, cannot be used ({error}): repair it, or remove it "
                "and run 'track trust' again"
            ) from None
