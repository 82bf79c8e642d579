"""Client of the tracking server: ``from track import TrackClient``.

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from track.client import TrackClient, TrialDoesNotExist
    from track.logger import TrialLogger
    from track.tracker import Tracker
    from track_protocol.errors import TrackError
    from track_protocol.model.entities import LOST, CustomStatus, Project, Status, Trial, TrialGroup

__all__ = [
    "LOST",
    "CustomStatus",
    "Project",
    "Status",
    "TrackClient",
    "TrackError",
    "Tracker",
    "Trial",
    "TrialDoesNotExist",
    "TrialGroup",
    "TrialLogger",
]

_HOMES: Final = {
    "LOST": "track_protocol.model.entities",
    "CustomStatus": "track_protocol.model.entities",
    "Project": "track_protocol.model.entities",
    "Status": "track_protocol.model.entities",
    "TrackClient": "track.client",
    "TrackError": "track_protocol.errors",
    "Tracker": "track.tracker",
    "Trial": "track_protocol.model.entities",
    "TrialDoesNotExist": "track.client",
    "TrialGroup": "track_protocol.model.entities",
    "TrialLogger": "track.logger",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
