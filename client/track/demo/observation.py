"""The progress of the search, as the store has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from track.persistence.protocol import Protocol
from track.persistence.series import SeriesMapping
from track_protocol.model.entities import Status
from track_protocol.query.columns import MAX_CELLS, MAX_ROWS
from track_protocol.wire.batch import CHRONO, METRIC

__all__ = ["Observation", "Phase", "Row", "observe", "summaries"]


class Phase(Enum):
    """Where a trial is, in the words of the table."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


_PHASES: Final = {
    Status.CreatedGroup.name: Phase.WAITING,
    Status.Running.name: Phase.RUNNING,
    Status.Completed.name: Phase.FINISHED,
}
_COLUMNS: Final = (
    *("uid", "parameters", "status", "metadata.claimed_by"),
    *("metrics.loss", "metrics.validation_accuracy"),
)
_SERIES: Final = {METRIC: "metrics", CHRONO: "chronos"}


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


def observe(protocol: Protocol, group: str) -> Observation:
    """The trials of a group as they are now.

    Args:
        protocol: of the store.
        group: its uid.
    """
    query = {"group_id": group}
    counts = [
        f"{_SERIES[each['kind']]}.{each['name']}.count"
        for each in protocol.fetch_fields(query)["series"]
        if each["kind"] in _SERIES
    ]
    columns = [*_COLUMNS, *counts]
    table = protocol.fetch_table(query, columns, limit=min(MAX_ROWS, MAX_CELLS // len(columns)))
    return Observation(
        tuple(_row(number, values) for number, values in enumerate(zip(*table["columns"], strict=True), 1))
    )


def summaries(mapping: Any) -> dict[str, Any]:
    """The store's summary of each series of a trial, by name."""
    assert isinstance(mapping, SeriesMapping)
    return {name: mapping.summary(name) for name in mapping}


def _row(number: int, values: Sequence[Any]) -> Row:
    uid, parameters, status, claimed_by, loss, accuracy, *counts = values
    return Row(
        number,
        uid,
        parameters,
        _PHASES.get(status, Phase.FAILED),
        tuple(claimed_by or ()),
        loss,
        accuracy,
        sum(count or 0 for count in counts),
    )
