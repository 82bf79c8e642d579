"""The store of a command, and the trials named on its command line."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from track.configuration import DEFAULT_STORE
from track.persistence import get_protocol
from track.persistence.existing import existing_uri
from track.persistence.filtering import StoreNames, filter_query_of
from track.persistence.lookup import find_trial
from track.persistence.protocol import Protocol
from track.persistence.series import Series, SeriesMapping
from track.process.progress import Progress
from track_protocol.errors import BadQuery, UsageError
from track_protocol.model.entities import Trial
from track_protocol.model.seriesname import SeriesName
from track_protocol.query.names import suggestion
from track_protocol.query.parse import Kind

__all__ = [
    "SeriesInfo",
    "add_filter",
    "add_store",
    "add_trial",
    "add_trials",
    "all_pages",
    "check_choice",
    "check_series",
    "chosen_trials",
    "find_trials",
    "opened",
    "pages_of",
    "selected",
    "series_of",
]

_URI: Final = "TRACK_URI"
_TRIAL: Final = "a uid or its first digits, an id, or a name"
_LONG: Final = 200_000
"""Points from which on a person wants to see how far it is."""


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the store."""
    parser.add_argument(
        "--uri", metavar="URI", help=f"the store (default: ${_URI}, uri in track.config, or {DEFAULT_STORE})"
    )


def add_trial(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a trial."""
    parser.add_argument("trial", metavar="TRIAL", help=_TRIAL)


def add_trials(parser: argparse.ArgumentParser, default: str = "") -> None:
    """Add the argument that names trials, which `chosen_trials` reads together with the filter.

    Args:
        parser: of the command.
        default: for the help, what there is without any.
    """
    parser.add_argument(
        "trials", nargs="*", metavar="TRIAL", help=f"{_TRIAL} (default: {default})" if default else _TRIAL
    )


def add_filter(parser: argparse.ArgumentParser) -> None:
    """Add the option that selects trials."""
    parser.add_argument(
        "--filter", metavar="TEXT", default="", help="only trials that match: 'status = running and lr < 0.1'"
    )


@contextmanager
def opened(uri: str | None) -> Iterator[Protocol]:
    """The store of a URI, or else of what is configured, which is not created if it is not there.

    Without either it is the default store, if the current folder has one.

    Raises:
        UsageError: no store is named or configured, and the default one is not there.
        ItemNotFound: there is no such file.
    """
    uri = existing_uri(uri)
    # An error ends the command and is printed then: a warning that says the same would precede it.
    logger, silent = logging.getLogger("track"), logging.NullHandler()
    logger.addHandler(silent)
    try:
        with closing(get_protocol(uri)) as protocol:
            yield protocol
    finally:
        logger.removeHandler(silent)


def check_choice(arguments: argparse.Namespace, *, is_required: bool = False) -> None:
    """Require that trials are not both named and selected; and that they are one of the two, if required.

    Raises:
        UsageError: they are not.
    """
    named, selects = bool(arguments.trials), bool(arguments.filter.strip())
    if named == selects and (named or is_required):
        which = "not both" if named else "one of them is needed"
        raise UsageError(f"name trials, or select them with --filter: {which}")


def chosen_trials(protocol: Protocol, arguments: argparse.Namespace) -> list[Trial]:
    """The trials that the command line names, in that order, or else those that the filter selects.

    Raises:
        UsageError: the filter cannot be understood, or a name fits several trials.
        ItemNotFound: no trial has such a name.
    """
    if arguments.trials:
        return [find_trial(protocol, name) for name in arguments.trials]
    return find_trials(protocol, arguments.filter)


def find_trials(protocol: Protocol, text: str) -> list[Trial]:
    """The trials that a filter selects, oldest first.

    Raises:
        UsageError: the filter cannot be understood.
    """
    return protocol.fetch_trials(selected(protocol, text))


def selected(protocol: Protocol, text: str, kind: Kind = "trial") -> dict[str, Any]:
    """The query that a filter means in a store.

    Raises:
        UsageError: the filter cannot be understood; the message gives the column and the reason.
    """
    try:
        return filter_query_of(protocol, text, kind)
    except BadQuery as error:
        raise UsageError(f"--filter, {error}") from None


_KINDS: Final = ("metric", "chrono")


@dataclass(frozen=True, slots=True)
class SeriesInfo:
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


def series_of(trial: Trial, wanted: Collection[str] = ()) -> list[SeriesInfo]:
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
                found.append(SeriesInfo(kind, name, summary.get("count"), summary))
    return found


def check_series(protocol: Protocol, trials: Sequence[Trial], wanted: Collection[str]) -> None:
    """Check that a store has series of those names.

    Args:
        protocol: the store.
        trials: the trials whose series are wanted.
        wanted: names, with or without labels.

    Raises:
        UsageError: no trial has such a series; the message suggests one.
    """
    found = {text for trial in trials for each in series_of(trial, wanted) for text in _texts(each)}
    if missing := [name for name in wanted if name not in found]:
        known = StoreNames(protocol).series_names()
        for name in missing:
            if known and name not in known:
                raise UsageError(
                    f"--metric: no trial has the series {name[:80]!r}: {suggestion(name, known)}"
                )


def _texts(series: SeriesInfo) -> tuple[str, str]:
    return series.name.text, series.name.name


def pages_of(protocol: Protocol, trial: Trial, info: SeriesInfo, start: int = 0) -> Iterator[Series]:
    """The points of a series from ordinal `start` on."""
    series = trial.metrics if info.kind == _KINDS[0] else trial.chronos
    if isinstance(series, SeriesMapping):
        yield from series.pages(info.name.text, start)
        return
    whole = protocol.fetch_metrics(trial, info.name.text, info.kind)
    yield Series(whole.steps[start:], whole.times[start:], whole.values[start:])


def all_pages(
    protocol: Protocol, trials: Sequence[Trial], wanted: Collection[str], title: str
) -> Iterator[tuple[Trial, SeriesInfo, Series]]:
    """The points of some trials, page by page; a bar shows the progress when there are many.

    Args:
        protocol: the store.
        trials: the trials.
        wanted: see `series_of`.
        title: of the bar.
    """
    chosen = [(trial, series) for trial in trials for series in series_of(trial, wanted)]
    left = sum(series.count or 0 for _, series in chosen)
    is_long = left >= _LONG
    with Progress(title) as bar:
        for trial, series in chosen:
            for page in pages_of(protocol, trial, series):
                yield trial, series, page
                left -= len(page)
                if is_long:
                    bar.show(max(0, left))
