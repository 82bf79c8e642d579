"""``track report TRIAL``: the report of a trial as JSON; with ``--html``, of some trials as a page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from track.commands.board import board_app
from track.commands.printing import print_json, say_error
from track.commands.stores import (
    add_filter,
    add_store,
    add_trials,
    check_choice,
    chosen_trials,
    opened,
    selected,
)
from track.persistence.lookup import find_trial
from track.persistence.protocol import Protocol
from track.process.files import replace_file
from track.reading.report import report_document, report_page
from track.serialization import to_json
from track_protocol.command import Command
from track_protocol.errors import ItemNotFound, TrackError, UsageError
from track_protocol.model.entities import Trial
from track_protocol.uri import redact

__all__ = ["COMMAND"]

_LIMIT: Final = 50


def _configure(parser: argparse.ArgumentParser) -> None:
    add_trials(parser)
    add_store(parser)
    add_filter(parser)
    add = parser.add_argument
    add("--html", type=Path, metavar="FILE", help="write a page with charts and tables of the trials")
    add("--title", metavar="TEXT", help="of the page (default: the filter, or the trials' names)")
    add(
        "--limit", type=int, default=_LIMIT, metavar="N", help=f"newest trials that match (default: {_LIMIT})"
    )
    add("--full", action="store_true", help="include internal fields; of JSON only")
    add("--json", action="store_true", help="no effect: without --html the output is JSON")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.html is not None:
        return _page(arguments)
    if len(arguments.trials) != 1 or arguments.filter:
        raise UsageError("name one trial, or give --html FILE for a page of several")
    with opened(arguments.uri) as protocol:
        report = to_json(find_trial(protocol, arguments.trials[0]), short=not arguments.full)
    print_json(report)
    return 0


def _page(arguments: argparse.Namespace) -> int:
    check_choice(arguments)
    if arguments.limit < 1:
        raise UsageError(f"--limit {arguments.limit}: give 1 or more")
    script, style = board_app("report")()
    with opened(arguments.uri) as protocol:
        trials, total = _chosen(protocol, arguments)
        if not trials:
            raise ItemNotFound("no trial matches, so there is nothing to report")
        title = arguments.title or arguments.filter or _names(trials)
        store = redact(protocol.uri or "")
        document = report_document(protocol, trials, title=title, store=store, left_out=total - len(trials))
    data = report_page(document, script, style).encode()
    try:
        replace_file(arguments.html, data, durably=False)
    except OSError as error:
        raise TrackError(
            f"{arguments.html} cannot be written ({error.strerror}): give another --html"
        ) from error
    say_error(f"{arguments.html}: {len(trials)} of {total} trials, {len(data) / 1e6:,.1f} MB\n")
    return 0


def _chosen(protocol: Protocol, arguments: argparse.Namespace) -> tuple[list[Trial], int]:
    """The trials of the report, and how many there are."""
    if arguments.trials:
        named = chosen_trials(protocol, arguments)
        return named, len(named)
    query = selected(protocol, arguments.filter)
    total = protocol.fetch_table(query, [], limit=1)["total"]
    return protocol.fetch_trials(query, order=["-created"], limit=arguments.limit), total


def _names(trials: list[Trial]) -> str:
    names = [trial.name or trial.uid[:8] for trial in trials]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


COMMAND: Final = Command(
    "print a trial with all its points as JSON, or write a page of several", _configure, _run
)
