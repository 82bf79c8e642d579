"""Trackers that a configuration chooses: ``tracker_from_config({"provider": "track", ...})``.

A tracker lives as long as the program and records which run is its own, so that its state can be saved
with a checkpoint; a run lives as long as the training loop, and takes what is logged.
"""

from __future__ import annotations

from track_protocol.errors import MissingExtra

try:
    import pydantic as _pydantic
except ImportError as error:
    raise MissingExtra(
        "track.provider checks its configurations with pydantic, which is not installed: "
        f"pip install 'trackwire[provider]' ({error})"
    ) from error

from track.provider.base import BaseTracker, BaseTrackerRun, RunConfig
from track.provider.configs import AimConfig, ConsoleConfig, NullConfig, TrackConfig
from track.provider.factory import AnyTrackerConfig, tracker_from_config
from track.provider.registry import Provider, register_provider

__all__ = [
    "AimConfig",
    "AnyTrackerConfig",
    "BaseTracker",
    "BaseTrackerRun",
    "ConsoleConfig",
    "NullConfig",
    "Provider",
    "RunConfig",
    "TrackConfig",
    "register_provider",
    "tracker_from_config",
]

del _pydantic
