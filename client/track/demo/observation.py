"""The progress of the search, as the store has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from track.persistence.series import SeriesMapping
from track_protocol.model.entities import Status, Trial

__all__ = ["Observation", "Phase", "Row", "observe", "summaries"]


class Phase(Enum):
    """Where a trial is, in the words of the table."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


_PHASES = {
    Status.CreatedGroup: Phase.WAITING,
    Status.Running: Phase.RUNNING,
    Status.Completed: Phase.FINISHED,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One trial.

    Attributes:
        number: its place in the order of creation, from 1.
        uid: of the trial.
        parameters: what it is trained with.
        phase: where it is.
        workers: who claimed it.
        loss: the last logged, None before the first.
        accuracy: the last on the validation set, likewise.
        points: how many metrics and timings the store has of it.
    """

    number: int
    uid: str
    parameters: dict[str, Any]
    phase: Phase
    workers: tuple[str, ...]
    loss: float | None
    accuracy: float | None
    points: int


@dataclass(frozen=True, slots=True)
class Observation:
    """All trials at one moment.

    Attributes:
        rows: in the order of creation.
    """

    rows: tuple[Row, ...]

    @property
    def points(self) -> int:
        """How many points the store has."""
        return sum(row.points for row in self.rows)

    @property
    def phases(self) -> Counter[Phase]:
        """How many trials are in each phase."""
        return Counter(row.phase for row in self.rows)

    @property
    def has_begun(self) -> bool:
        """Whether a trial was claimed already."""
        return self.phases[Phase.WAITING] < len(self.rows)

    def best(self, count: int) -> list[Row]:
        """The finished trials of the highest validation accuracy, then the lowest loss."""
        finished = [row for row in self.rows if row.phase is Phase.FINISHED and row.accuracy is not None]
        return sorted(finished, key=lambda row: (-(row.accuracy or 0.0), row.loss or 0.0))[:count]


def observe(trials: Iterable[Trial]) -> Observation:
    """The displayed form of stored trials."""
    return Observation(tuple(_row(number, trial) for number, trial in enumerate(trials, 1)))


def summaries(mapping: Any) -> dict[str, Any]:
    """The store's summary of each series of a trial, by name."""
    assert isinstance(mapping, SeriesMapping)
    return {name: mapping.summary(name) for name in mapping}


def _row(number: int, trial: Trial) -> Row:
    metrics, chronos = summaries(trial.metrics), summaries(trial.chronos)
    return Row(
        number,
        trial.uid,
        trial.parameters,
        _PHASES.get(trial.status, Phase.FAILED) if isinstance(trial.status, Status) else Phase.FAILED,
        tuple(trial.metadata.get("claimed_by", ())),
        _last(metrics, "loss"),
        _last(metrics, "validation_accuracy"),
        sum(each["count"] for each in (*metrics.values(), *chronos.values())),
    )


def _last(metrics: dict[str, Any], name: str) -> float | None:
    return metrics[name]["last"] if name in metrics else None
