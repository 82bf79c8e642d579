"""The line that a run prints when it starts: what it is called, and how to look at it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from track.configuration import environment, switched_on
from track.persistence.protocol import Protocol
from track_protocol.errors import TrackError
from track_protocol.model.entities import Trial
from track_protocol.uri import Uri

__all__ = ["announce", "line_for"]

_QUIET: Final = "TRACK_QUIET"
_SHOWN: Final = frozenset({"file", "pickle", "pickled", "socket", "sqlite"})
"""Schemes of stores that another process can open."""

_DIGITS: Final = 8


def announce(protocol: Protocol, trial: Trial) -> None:
    """Print the line on standard error, unless ``TRACK_QUIET`` is 1 or there is no store to look at."""
    try:
        line = "" if switched_on(environment(), _QUIET, default=False) else line_for(protocol.uri, trial)
        if line and sys.stderr is not None:
            sys.stderr.write(line + "\n")
    except (OSError, TrackError, ValueError):
        # A closed standard error, or a setting that is refused where it matters, must not end a training.
        return


def line_for(uri: str, trial: Trial, env: Mapping[str, str] = os.environ) -> str:
    """The line; empty for a store that no other process can open.

    Args:
        uri: of the store.
        trial: which has started.
        env: the environment, which may name the store for commands, too.
    """
    scheme = uri.partition(":")[0]
    if scheme not in _SHOWN:
        return ""
    short = f"{trial.hash[:_DIGITS]}_{trial.revision}"
    # The token stays out of logs.
    public = replace(Uri.parse(uri), password=None).to_text() if scheme == "socket" else uri
    named = [] if env.get("TRACK_URI") == uri else ["--uri", public]
    command = shlex.join(["track", "show", *named, short])
    return f"track: {trial.name or 'a trial'} ({short}) has started; look at it with: {command}"
