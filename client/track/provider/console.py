"""Logged values as text for people."""

from __future__ import annotations

import logging
import math
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

from track.provider.base import BaseTracker, BaseTrackerRun, RunConfig
from track.provider.configs import ConsoleConfig
from track.provider.null import NullRun
from track.provider.ranks import is_first
from track.provider.series import LabelledRun, numbers
from track_protocol.model.seriesname import SeriesName
from track_protocol.security.tokens import redact_tokens

__all__ = ["ConsoleRun", "ConsoleTracker"]

_log: Final = logging.getLogger("track.provider")

_WRITERS: Final[dict[str, Callable[[str], Any]]] = {
    "stdout": lambda line: sys.stdout.write(f"{line}\n"),
    "stderr": lambda line: sys.stderr.write(f"{line}\n"),
    "log": lambda line: _log.info("%s", line),
}


class ConsoleRun(LabelledRun):
    """Writes one line for each value.

    Args:
        name: of the run, at the start of each line.
        write: prints a line.
    """

    def __init__(self, name: str, write: Callable[[str], Any]) -> None:
        super().__init__()
        self._name = name
        self._write = write

    def write_scalar(self, name: str, value: Any, labels: dict[str, str]) -> None:
        """See `LabelledRun.write_scalar`."""
        try:
            self._line(f"{SeriesName(name, labels)} = {float(value):.6g}")
        except Exception as error:  # noqa: BLE001 - tensors raise what they like, and training must continue
            self.complain(name, error)

    def write_bins(self, name: str, values: Any, labels: dict[str, str]) -> None:
        """See `LabelledRun.write_bins`."""
        try:
            self._line(f"{SeriesName(name, labels)}: {_summary(numbers(values))}")
        except Exception as error:  # noqa: BLE001 - tensors raise what they like, and training must continue
            self.complain(name, error)

    def _line(self, text: str) -> None:
        at = f" step {self.step}"
        self._write(f"[{self._name}]{at} {text}")


class ConsoleTracker(BaseTracker[ConsoleConfig]):
    """Opens runs that are written to standard output or to a log."""

    def __init__(self, config: ConsoleConfig) -> None:
        write = _WRITERS[config.to]
        self._write: Callable[[str], Any] = lambda text: write(redact_tokens(text))

    @classmethod
    def from_config(cls, config: ConsoleConfig) -> Self:
        """See `BaseTracker.from_config`."""
        return cls(config)

    @contextmanager
    def open(self, properties: RunConfig) -> Iterator[BaseTrackerRun]:
        """See `BaseTracker.open`."""
        if not is_first():
            yield NullRun()
            return
        name = properties.name
        self._write(f"[{name}] {properties.description or 'started'}")
        for key, value in properties.hparams.items():
            self._write(f"[{name}] {key} = {value!r}")
        try:
            yield ConsoleRun(name, self._write)
        except BaseException as error:
            self._write(f"[{name}] failed: {type(error).__name__}: {error}")
            raise
        self._write(f"[{name}] completed")

    def state_dict(self) -> dict[str, Any]:
        """Empty: written text needs no resuming."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Ignore the state, so that a checkpoint of another provider loads, too."""


def _summary(found: list[float]) -> str:
    finite = [value for value in found if math.isfinite(value)]
    parts = [f"n={len(found)}"]
    if finite:
        parts += [f"mean={statistics.fmean(finite):.6g}", f"sd={statistics.pstdev(finite):.6g}"]
        parts += [f"min={min(finite):.6g}", f"max={max(finite):.6g}"]
    if len(finite) < len(found):
        parts.append(f"not finite={len(found) - len(finite)}")
    return " ".join(parts)
