"""The log calls of a trial's media."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from track.persistence.protocol import Protocol
from track_protocol.model.entities import Trial
from track_protocol.model.media import FILE, HISTOGRAM, IMAGE, TEXT

__all__ = ["MediaLogger"]


class MediaLogger(ABC):
    """Part of `track.logger.TrialLogger`.

    None of these calls raises for what it is given: what cannot be kept is dropped with one warning.

    Attributes:
        protocol: where the trial is stored.
    """

    protocol: Protocol

    @abstractmethod
    def ensure(self) -> Trial:
        """The trial, stored now if it was not yet."""

    def log_histogram(
        self,
        name: str,
        values: Any,
        step: Any = None,
        bins: int = 30,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Log how values are distributed.

        Args:
            name: of the series.
            values: an array or a tensor of any shape, nested lists, or a number.  NaN and infinities are
                counted apart.
            step: where in the training they were observed.
            bins: how many bins there are between the least and the greatest of them.
            context: labels of the series.
        """
        self._log(HISTOGRAM, name, values, step, context, bins=bins)

    def log_image(
        self, name: str, image: Any, step: Any = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """Log an image, compressed without a loss.

        Args:
            name: of the series.
            image: an array, a tensor or nested lists of height x width, or height x width x 1, 3 or 4
                channels, as floats from 0 to 1 or integers from 0 to 255; or an image of Pillow's.
            step: where in the training it was made.
            context: labels of the series.
        """
        self._log(IMAGE, name, image, step, context)

    def log_text(
        self, name: str, text: str, step: Any = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """Log a text, of up to 1 GiB in UTF-8.

        Args:
            name: of the series.
            text: it.
            step: where in the training it was made.
            context: labels of the series.
        """
        self._log(TEXT, name, text, step, context)

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Log a file, of up to 1 GiB.

        It is read in parts, so this takes as long as the store (or this machine's disk, while the store is
        away) takes for them, and no memory.

        Args:
            path: of the file, which has to stay as it is meanwhile.
            name: of the series; that of the file unless it is given.
        """
        self._log(FILE, _called(path) if name is None else name, path, None, None)

    def _log(
        self, kind: str, name: str, value: Any, step: Any, context: Mapping[str, Any] | None, **options: Any
    ) -> None:
        self.protocol.log_trial_media(self.ensure(), kind, name, value, step, context, **options)


def _called(path: Any) -> str:
    try:
        return Path(os.fsdecode(path)).name
    except TypeError:
        # What is no path is refused, and told, where the file would be read.
        return ""
