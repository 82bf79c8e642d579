"""The points of trials, page by page, from any backend."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from track.persistence.protocol import Protocol
from track.persistence.series import Series, SeriesMapping
from track_protocol.model.entities import Trial
from track_protocol.model.seriesname import SeriesName

__all__ = ["Kept", "pages_of", "series_of"]

_KINDS: Final = ("metric", "chrono")


@dataclass(frozen=True, slots=True)
class Kept:
    """A series of a trial.

    Attributes:
        kind: metric or chrono.
        name: with its labels.
        count: how many points it has; None where the backend does not say.
        summary: its statistics.
    """

    kind: str
    name: SeriesName
    count: int | None
    summary: Mapping[str, Any]


def series_of(trial: Trial, wanted: Collection[str] = ()) -> list[Kept]:
    """The series of a trial.

    Args:
        trial: the trial.
        wanted: their names, with or without labels; empty for all of them.
    """
    found = []
    for kind, series in zip(_KINDS, (trial.metrics, trial.chronos), strict=True):
        for text in series:
            name = SeriesName.parse(str(text))
            summary = series.summary(text) if isinstance(series, SeriesMapping) else {}
            if not wanted or name.text in wanted or name.name in wanted:
                found.append(Kept(kind, name, summary.get("count"), summary))
    return found


def pages_of(protocol: Protocol, trial: Trial, kept: Kept, start: int = 0) -> Iterator[Series]:
    """The points of a series from ordinal `start` on."""
    series = trial.metrics if kept.kind == _KINDS[0] else trial.chronos
    if isinstance(series, SeriesMapping):
        yield from series.pages(kept.name.text, start)
        return
    whole = protocol.fetch_metrics(trial, kept.name.text, kept.kind)
    yield Series(whole.steps[start:], whole.times[start:], whole.values[start:])
