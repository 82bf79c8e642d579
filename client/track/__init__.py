"""Client of the tracking server: ``from track import TrackClient``.

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from track.api.board import Board, board
    from track.api.media import Histogram, Html, Image, Table, Text
    from track.api.runs import Run
    from track.api.session import (
        config,
        define_metric,
        finish,
        init,
        log,
        log_artifact,
        login,
        runs,
        save,
        summary,
        watch,
    )
    from track.client import TrackClient, TrialDoesNotExist
    from track.logger import TrialLogger
    from track.tracker import Tracker
    from track.versioning import get_git_version
    from track_protocol.errors import TrackError
    from track_protocol.model.entities import LOST, CustomStatus, Project, Status, Trial, TrialGroup

    run: Run | None

__all__ = [
    "LOST",
    "Board",
    "CustomStatus",
    "Histogram",
    "Html",
    "Image",
    "Project",
    "Run",
    "Status",
    "Table",
    "Text",
    "TrackClient",
    "TrackError",
    "Tracker",
    "Trial",
    "TrialDoesNotExist",
    "TrialGroup",
    "TrialLogger",
    "__version__",
    "board",
    "config",
    "define_metric",
    "finish",
    "get_git_version",
    "init",
    "log",
    "log_artifact",
    "login",
    "run",
    "runs",
    "save",
    "summary",
    "watch",
]

_HOMES: Final = {
    "LOST": "track_protocol.model.entities",
    "Board": "track.api.board",
    "CustomStatus": "track_protocol.model.entities",
    "Histogram": "track.api.media",
    "Html": "track.api.media",
    "Image": "track.api.media",
    "Project": "track_protocol.model.entities",
    "Run": "track.api.runs",
    "Status": "track_protocol.model.entities",
    "Table": "track.api.media",
    "Text": "track.api.media",
    "TrackClient": "track.client",
    "TrackError": "track_protocol.errors",
    "Tracker": "track.tracker",
    "Trial": "track_protocol.model.entities",
    "TrialDoesNotExist": "track.client",
    "TrialGroup": "track_protocol.model.entities",
    "TrialLogger": "track.logger",
    "board": "track.api.board",
    "config": "track.api.session",
    "define_metric": "track.api.session",
    "finish": "track.api.session",
    "init": "track.api.session",
    "log": "track.api.session",
    "log_artifact": "track.api.session",
    "login": "track.api.session",
    "runs": "track.api.session",
    "save": "track.api.session",
    "summary": "track.api.session",
    "watch": "track.api.session",
    "get_git_version": "track.versioning",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name == "run":  # it changes, so it is asked for each time
        return import_module("track.api.session").current_run()
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def _version() -> str:
    # Deferred: no training asks for it.
    from importlib.metadata import version

    return version("trackwire")


def __dir__() -> list[str]:
    return __all__
