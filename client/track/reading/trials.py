"""A stored trial with its points at hand."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final

from track.persistence.protocol import Protocol
from track.persistence.series import Series
from track.reading.columns import Columns
from track.reading.flatten import flat
from track.reading.html import html_fields
from track.reading.plot import Line, Plot
from track_protocol.errors import ItemNotFound
from track_protocol.model.entities import Trial
from track_protocol.model.seriesname import SeriesName

__all__ = ["StoredTrial"]

_POINTS: Final = ("step", "time", "value")
_RANK: Final = "rank"


class StoredTrial(Trial):
    """A trial as it was stored when it was read, which also reads its points.

    It is a `Trial` for everything that takes one.
    """

    _protocol: Protocol

    @classmethod
    def of(cls, trial: Trial, protocol: Protocol) -> StoredTrial:
        """The same trial.

        Args:
            trial: as a store returned it.
            protocol: that store.
        """
        made = cls.__new__(cls)
        vars(made).update(vars(trial), _protocol=protocol)
        return made

    def __repr__(self) -> str:
        named = "" if self.name is None else f" {self.name!r}"
        return f"<trial {self.hash[:8]}_{self.revision}{named}: {self.status!s}>"

    def __hash__(self) -> int:
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return self.uid == other.uid if isinstance(other, Trial) else NotImplemented

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy in another process reads with a connection of its own.
        plain = {name: value for name, value in vars(self).items() if name != "_protocol"}
        plain |= {name: dict(plain[name]) for name in ("metrics", "chronos", "media")}
        return _restored, (plain, self._protocol)

    @property
    def duration(self) -> float | None:
        """Seconds from its first start to its last end; None while it has not ended."""
        return None if self.started is None or self.ended is None else self.ended - self.started

    @property
    def summary(self) -> Mapping[str, Any]:
        """Of each metric the last value, and above them what the script said itself, all by name."""
        last = {name: _summary(self.metrics, name).get("last") for name in self.metrics}
        said = self.metadata.get("summary")
        return {**last, **(said if isinstance(said, Mapping) else {})}

    def history(self, *names: str, context: Mapping[str, Any] | None = None, kind: str = "metric") -> Columns:
        """The points of some series, one row a point.

        Each label of a series is a column, such as ``rank``.  A column ``name`` is there when there are
        several names.

        Args:
            names: of the series, with or without labels; without any, all of that kind.
            context: labels that the series must have.
            kind: ``"metric"``, ``"chrono"`` or ``"superseded"``.

        Raises:
            ItemNotFound: there is no such series; the message suggests one.
        """
        chosen = self._chosen(names, context, kind)
        labels = dict.fromkeys(label for series in chosen for label in series.context)
        named = ["name"] if len(names) != 1 else []
        parts = [self._protocol.fetch_metrics(self, series.text, kind) for series in chosen]
        columns: dict[str, Sequence[Any]] = {}
        for name in (*named, *labels):
            values: list[Any] = []
            for series, points in zip(chosen, parts, strict=True):
                value = series.name if name == "name" else _label(name, series.context.get(name))
                values += [value] * len(points)
            columns[name] = values
        for name in _POINTS:
            columns[name] = _joined([getattr(points, f"{name}s") for points in parts])
        return Columns(columns)

    def to_frame(self, *names: str, library: str | None = None) -> Any:
        """The points of some metrics, by default of all, as a frame: see `history` and `Columns.to_frame`.

        Args:
            names: see `history`.
            library: see `Columns.to_frame`.
        """
        return self.history(*names).to_frame(library)

    def plot(self, *names: str, context: Mapping[str, Any] | None = None, x: str = "step") -> Plot:
        """A picture of some metrics, one line a series.

        Args:
            names: of the metrics.
            context: labels that the series must have.
            x: ``"step"``, or ``"time"`` for the seconds since the start.

        Raises:
            MissingExtra: matplotlib is not installed.
            ItemNotFound: there is no such series.
        """
        return Plot(self.lines(*names, context=context, x=x), x)

    def lines(self, *names: str, context: Mapping[str, Any] | None = None, x: str = "step") -> list[Line]:
        """What `plot` draws; see there."""
        lines = []
        for series in self._chosen(names, context, "metric"):
            points = self._protocol.fetch_metrics(self, series.text)
            lines.append(Line(series.text, _positions(points, x, self.started), list(points.values)))
        return lines

    def has(self, name: str) -> bool:
        """Whether there is a metric of this name, with or without labels."""
        return any(name in (series.text, series.name) for series in map(SeriesName.parse, self.metrics))

    def row(self) -> dict[str, Any]:
        """What is known of the trial but its points, by the names of columns."""
        run = self.metadata.get("run")
        known = {
            "uid": self.uid,
            "name": self.name,
            "status": None if self.status is None else self.status.name,
            "created": self.created,
            "started": self.started,
            "ended": self.ended,
            "duration": self.duration,
            **({name: run.get(name) for name in ("user", "host")} if isinstance(run, Mapping) else {}),
        }
        metrics = {f"metrics.{name}": _summary(self.metrics, name).get("last") for name in self.metrics}
        params = {f"params.{name}": value for name, value in flat(self.parameters).items()}
        tags = {f"tags.{name}": value for name, value in flat(self.tags).items()}
        return {**known, **params, **tags, **metrics}

    def _repr_html_(self) -> str:
        return html_fields(self.row())

    def _chosen(self, names: Sequence[str], context: Mapping[str, Any] | None, kind: str) -> list[SeriesName]:
        """The stored series that are meant."""
        labels = SeriesName("_", context).context
        stored = self.chronos if kind == "chrono" else self.metrics
        known = [
            series for series in map(SeriesName.parse, stored) if labels.items() <= series.context.items()
        ]
        chosen = {series.text: series for series in known} if not names else {}
        for name in names:
            meant = [series for series in known if name in (series.text, series.name)]
            if not meant:
                raise ItemNotFound(
                    f"trial {self.uid[:12]}… has no {kind} {name!r:.80}{_suggestion(name, known)}"
                )
            chosen |= {series.text: series for series in meant}
        return list(chosen.values())


def _restored(fields: dict[str, Any], protocol: Protocol) -> StoredTrial:
    made = StoredTrial.__new__(StoredTrial)
    vars(made).update(fields, _protocol=protocol)
    return made


def _summary(series: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A backend of the user's own may give plain values."""
    found: Mapping[str, Any] = series.summary(name) if hasattr(series, "summary") else {}
    return found


def _joined(parts: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """One column of several; one alone stays the array that it is."""
    return parts[0] if len(parts) == 1 else [value for part in parts for value in part]


def _label(name: str, value: str | None) -> Any:
    """The value of a label; a rank is a number, so that ten comes after nine."""
    return int(value) if name == _RANK and value is not None and value.isdecimal() else value


def _positions(points: Series, x: str, started: float | None) -> list[Any]:
    """Where the points are from left to right: their steps, or one after the other where they have none."""
    if x == "time":
        first = started if started is not None else points.times[0]
        return [time - first for time in points.times]
    steps = points.steps
    if isinstance(steps, array) or all(isinstance(step, (int, float)) for step in steps):
        return list(steps)
    return list(range(len(points)))


def _suggestion(name: str, known: Sequence[SeriesName]) -> str:
    from difflib import get_close_matches  # rarely needed, and slow to import

    names = sorted({series.name for series in known})
    close = get_close_matches(name, names, 1)
    if close:
        return f": did you mean {close[0]!r}?"
    return f": it has {', '.join(names)[:300]}" if names else ": it has none"
