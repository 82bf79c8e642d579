"""The files ``track.config`` that the user has trusted to choose a server, as ``direnv allow`` does it.

A file is trusted as it is: the SHA-256 of its content is stored with its path, so a change has to be looked
at again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Final

from track.configuration import Configuration, current_configuration, environment
from track.connection.state_file import StateFile
from track_protocol.errors import UsageError

__all__ = ["TrustedFiles", "spool_environment", "why_untrusted"]

_log: Final = logging.getLogger("track.connection.trusted_files")

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
        "the folder of spools that %s names is not used, because %s; or set TRACK_SPOOL yourself",
        configuration.path,
        why_untrusted(configuration),
    )
    return {name: value for name, value in found.items() if name != _SPOOL}


def why_untrusted(configuration: Configuration) -> str:
    """Why a configuration does not choose where data goes, and the remedy."""
    trust = "look at that file, then run 'track trust'"
    if configuration.fault:
        return f"other users can change it ({configuration.fault}), or {trust}"
    return f"you have not trusted it: {trust}"


class TrustedFiles(StateFile[dict[str, str]]):
    """What ``track trust`` has stored, in ``trusted_files.json``."""

    _NAME = "trusted_files.json"
    _FIELD = "files"

    def contains(self, configuration: Configuration) -> bool:
        """Whether a configuration may choose a server: the user has trusted it as it is, or it is the user's.

        It is the user's if it was named or lies in the user's folder of configurations, and no other user
        can change it.

        Raises:
            UsageError: the file of trusted ones is damaged.
        """
        if not (configuration.is_project or configuration.fault):
            return True
        return self._read().get(str(configuration.path)) == configuration.digest

    def add(self, configuration: Configuration) -> None:
        """Trust a configuration, as it is.

        Raises:
            UsageError: the file of trusted ones is damaged, or cannot be written.
        """
        try:
            with self._locked():
                self._write(self._read() | {str(configuration.path): configuration.digest})
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be written ({error.strerror}): make that folder writable by you alone, "
                "or set XDG_STATE_HOME to another one"
            ) from error

    def _parsed(self, value: Any) -> dict[str, str]:
        return {str(path): str(digest) for path, digest in value.items()}

    def _unusable(self, reason: Exception) -> UsageError:
        return UsageError(
            f"{self.path}, the list of trusted files, cannot be used ({reason}): repair it, or remove it "
            "and run 'track trust' again"
        )
