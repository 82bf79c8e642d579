"""What a client passes on to the logger of its current trial, unchanged."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

from track.logger import TrialLogger
from track.utils.eta import Timer
from track_protocol.model.entities import CustomStatus, Status

__all__ = ["LoggerForwarders"]


class LoggerForwarders:
    """Part of `track.client.TrackClient`."""

    def _current(self) -> TrialLogger:
        """The logger of the current trial."""
        raise NotImplementedError

    def capture_output(self, output_size: int = 50) -> Self:
        """See `TrialLogger.capture_output`; returns the client."""
        self._current().capture_output(output_size)
        return self

    def set_eta_total(self, t: int | Sequence[int]) -> Self:
        """See `TrialLogger.set_eta_total`; returns the client."""
        self._current().set_eta_total(t)
        return self

    def show_eta(
        self,
        step: int | Sequence[int],
        timer: Timer | str,
        msg: str = "",
        throttle: int | None = None,
        every: float | None = None,
        no_print: bool = False,
    ) -> Self:
        """See `TrialLogger.show_eta`; returns the client."""
        self._current().show_eta(step, timer, msg, throttle, every, no_print)
        return self

    def set_status(self, status: Status | CustomStatus, error: str | None = None) -> None:
        """See `TrialLogger.set_status`."""
        self._current().set_status(status, error)

    def remove_tags(self, *names: str) -> None:
        """See `TrialLogger.remove_tags`."""
        self._current().remove_tags(*names)

    def rename(self, name: str | None = None, description: str | None = None) -> None:
        """See `TrialLogger.rename`."""
        self._current().rename(name, description)

    def log_code(self) -> Self:
        """See `TrialLogger.log_code`; returns the client."""
        self._current().log_code()
        return self

    def log_file(self, file_name: str | os.PathLike[str]) -> None:
        """See `TrialLogger.log_file`."""
        self._current().log_file(file_name)

    def log_directory(self, name: str | os.PathLike[str], recursive: bool = False) -> None:
        """See `TrialLogger.log_directory`."""
        self._current().log_directory(name, recursive)

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """See `TrialLogger.log_artifact`."""
        self._current().log_artifact(path, name)

    def log_histogram(
        self,
        name: str,
        values: Any,
        step: Any = None,
        bins: int = 30,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """See `TrialLogger.log_histogram`."""
        self._current().log_histogram(name, values, step, bins, context)

    def log_image(
        self, name: str, image: Any, step: Any = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """See `TrialLogger.log_image`."""
        self._current().log_image(name, image, step, context)

    def log_text(
        self, name: str, text: Any, step: Any = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """See `TrialLogger.log_text`."""
        self._current().log_text(name, text, step, context)
