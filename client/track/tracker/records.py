"""Runs and points as a tracker returns them, with the documented fields."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

__all__ = ["RecordInfo", "RunInfo", "by_step", "ends_of", "step_of", "time_shown"]


class _Dumped:
    """Scripts that were written for models of pydantic also call these."""

    def model_dump(self) -> dict[str, Any]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]  # of data classes only

    def model_dump_json(self) -> str:
        """The fields by name, as JSON."""
        return json.dumps(self.model_dump())


@dataclasses.dataclass
class RunInfo(_Dumped):
    """The stored data of a run.

    Attributes:
        run_id: its number within the experiment.
        name: need not be unique.
        created_at: the local time, for people: ``2026-11-21 16:30:00``.
        status: ``'running'``, ``'completed'`` or ``'failed'``.
        config: its hyper-parameters.
        num_records: how many records each metric has, in the order of `metrics`.
        metrics: names of its metrics.
        full_status: the status as the store has it, such as ``'Interrupted'`` or ``'lost'``.
    """

    run_id: int
    name: str
    created_at: str
    status: str
    config: dict[str, Any]
    num_records: list[int] | None = None
    metrics: list[str] | None = None
    full_status: str | None = None


@dataclasses.dataclass
class RecordInfo(_Dumped):
    """One point of a metric.

    Attributes:
        step: where in the training.
        value: what was recorded.
        log_time: when, in seconds since the epoch.
    """

    step: int
    value: float
    log_time: float


def by_step(record: RecordInfo) -> tuple[bool, float]:
    """What to sort points by; steps that are no numbers come last, in the order in which they were."""
    return _rank(record.step)


def step_of(record: Mapping[str, Any]) -> tuple[bool, float]:
    """The same for what is reported of media."""
    return _rank(record["step"])


def _rank(step: Any) -> tuple[bool, float]:
    is_number = isinstance(step, int | float)
    return not is_number, step if is_number else 0.0


def ends_of(steps: Sequence[Any], values: Sequence[Any]) -> tuple[Any, Any, Any]:
    """The value at the greatest step, the least and the greatest step, whatever the order of logging.

    Of several values at the greatest step it is the one that was logged last.  Without a step that is a
    number, the order of logging is all that there is.

    Args:
        steps: at least one.
        values: as many.
    """
    numbers = [(step, at) for at, step in enumerate(steps) if isinstance(step, int | float) and step == step]
    if not numbers:
        return values[-1], steps[0], steps[-1]
    last_step, at = max(numbers)
    return values[at], min(numbers)[0], last_step


def time_shown(seconds: float | None) -> str:
    """A moment, in seconds since the epoch, as `RunInfo.created_at` shows it; empty when it is not known."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
