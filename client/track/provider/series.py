"""Base of the runs of several providers."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Final

from track.provider.base import BaseTrackerRun

__all__ = ["LabelledRun", "numbers"]

_log: Final = logging.getLogger("track.provider")


class LabelledRun(BaseTrackerRun):
    """Holds the step and the labels, and passes both with each value.

    Attributes:
        step: 0 before `set_step`.
        context: labels of all values.
    """

    def __init__(self) -> None:
        self.step = 0
        self.context: dict[str, str] = {}
        self._has_complained = False

    def set_step(self, step: int) -> None:
        """See `BaseTrackerRun.set_step`."""
        self.step = step

    def set_context(self, context: Mapping[str, str]) -> None:
        """See `BaseTrackerRun.set_context`."""
        try:
            self.context = dict(context)
        except Exception as error:  # noqa: BLE001  # foreign code may raise anything
            self.complain(f"the context {type(context).__name__}", error)

    def scalar(self, name: str, value: float, context: Mapping[str, str] | None = None) -> None:
        """See `BaseTrackerRun.scalar`."""
        labels = self._with(name, context)
        if labels is not None:
            self.write_scalar(name, value, labels)

    def bins(self, name: str, values: Any, context: Mapping[str, str] | None = None) -> None:
        """See `BaseTrackerRun.bins`."""
        labels = self._with(name, context)
        if labels is not None:
            self.write_bins(name, values, labels)

    def _with(self, name: str, context: Mapping[str, str] | None) -> dict[str, str] | None:
        """All labels of one call; None, and a complaint, when its own are none."""
        try:
            return {**self.context, **context} if context else self.context
        except Exception as error:  # noqa: BLE001  # foreign code may raise anything
            self.lose(name, error)
            return None

    def lose(self, name: Any, error: Exception) -> None:
        """A value is not logged; training continues.

        Args:
            name: of the metric.
            error: why not.
        """
        self.complain(name, error)

    def complain(self, name: str, error: Exception) -> None:
        """Say, once, that something was not logged; training continues.

        Args:
            name: of the metric.
            error: why not.
        """
        if not self._has_complained:
            self._has_complained = True
            _log.warning(
                "%s was not logged (further failures of this kind are not reported): %s",
                name,
                error,
            )

    @abstractmethod
    def write_scalar(self, name: str, value: Any, labels: dict[str, str]) -> None:
        """Log one number with all its labels."""

    @abstractmethod
    def write_bins(self, name: str, values: Any, labels: dict[str, str]) -> None:
        """Log a distribution with all its labels."""


def numbers(values: Any) -> list[float]:
    """The numbers of a tensor on any device, an array of any shape, or a sequence."""
    if callable(detach := getattr(values, "detach", None)):
        values = detach()
    if callable(flat := getattr(values, "reshape", None)):
        values = flat(-1).tolist()
    return [float(value) for value in values]
