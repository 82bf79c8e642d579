"""A provider that drops every value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from track.provider.base import BaseTracker, BaseTrackerRun, RunConfig
from track.provider.configs import NullConfig

__all__ = ["NullRun", "NullTracker"]


class NullRun(BaseTrackerRun):
    """Accepts everything and stores nothing."""

    def set_step(self, step: int) -> None:
        """See `BaseTrackerRun.set_step`."""

    def set_context(self, context: Mapping[str, str]) -> None:
        """See `BaseTrackerRun.set_context`."""

    def scalar(self, name: str, value: float, context: Mapping[str, str] | None = None) -> None:
        """See `BaseTrackerRun.scalar`."""

    def bins(self, name: str, values: Any, context: Mapping[str, str] | None = None) -> None:
        """See `BaseTrackerRun.bins`."""


class NullTracker(BaseTracker[NullConfig]):
    """Opens runs that store nothing."""

    @classmethod
    def from_config(cls, config: NullConfig) -> Self:
        """See `BaseTracker.from_config`."""
        return cls()

    @contextmanager
    def open(self, properties: RunConfig) -> Iterator[BaseTrackerRun]:
        """See `BaseTracker.open`."""
        yield NullRun()

    def state_dict(self) -> dict[str, Any]:
        """Empty: there is nothing to resume."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Ignore the state, so that a checkpoint of another provider loads, too."""
