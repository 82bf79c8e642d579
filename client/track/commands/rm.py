"""``track rm TRIAL…``: delete trials, after asking."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from track.commands.fields import Names, document, short_uids, shown
from track.commands.printing import add_json, confirmed, print_json, say_error, table_text
from track.commands.stores import (
    add_filter,
    add_store,
    add_trials,
    check_choice,
    chosen_trials,
    opened,
    series_of,
)
from track.persistence.protocol import Protocol
from track_protocol.command import Command
from track_protocol.errors import TrackError, TrialInUse, UsageError
from track_protocol.model.entities import Trial

__all__ = ["COMMAND"]

_SHOWN: Final = 20


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_trials(parser)
    add_store(parser)
    add_filter(parser)
    add("--dry-run", action="store_true", help="list the trials to delete, delete nothing")
    add("-y", "--yes", action="store_true", help="do not ask for confirmation")
    add("--force", action="store_true", help="also delete trials that a process still writes")
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    check_choice(arguments, is_required=True)
    with opened(arguments.uri) as protocol:
        trials = list({trial.uid: trial for trial in chosen_trials(protocol, arguments)}.values())
        if not arguments.json:
            sys.stdout.write(_preview(protocol, trials))
            sys.stdout.flush()
        if arguments.dry_run or not trials or not (arguments.yes or _agreed(trials)):
            if arguments.json:
                print_json([_outcome(trial, deleted=False) for trial in trials])
            return 0
        outcomes = [_deleted(protocol, trial, force=arguments.force) for trial in trials]
    if arguments.json:
        print_json(outcomes)
    else:
        _tell(outcomes)
    return 1 if any(each["error"] for each in outcomes) else 0


def _agreed(trials: list[Trial]) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for confirmation: add --yes to delete, or --dry-run to see "
            "what would be deleted"
        )
    return confirmed(f"delete {_counted(len(trials), 'trial')} permanently?")


def _preview(protocol: Protocol, trials: list[Trial]) -> str:
    if not trials:
        return "no trials that match\n"
    names, short = Names(protocol), short_uids([trial.uid for trial in trials])
    rows = []
    for trial in trials[:_SHOWN]:
        known = document(trial, names)
        points = sum(series.count or 0 for series in series_of(trial))
        cells = (shown(name, known[name]) for name in ("name", "status", "seen"))
        rows.append([short[trial.uid], *cells, f"{points:,}"])
    text = table_text(["UID", "NAME", "STATUS", "SEEN", "POINTS"], rows, [4])
    return text + (f"and {len(trials) - _SHOWN:,} more\n" if len(trials) > _SHOWN else "")


def _deleted(protocol: Protocol, trial: Trial, *, force: bool) -> dict[str, Any]:
    try:
        return _outcome(trial, deleted=protocol.delete_trial(trial, force=force))
    except TrialInUse as error:
        return _outcome(trial, deleted=False, error=error)


def _outcome(trial: Trial, *, deleted: bool, error: TrackError | None = None) -> dict[str, Any]:
    return {
        "uid": trial.uid,
        "name": trial.name,
        "deleted": deleted,
        "error": None if error is None else str(error).replace("force=True", "--force"),
    }


def _tell(outcomes: list[dict[str, Any]]) -> None:
    for each in outcomes:
        if each["error"]:
            say_error(f"track: {each['error']}\n")
    deleted = sum(each["deleted"] for each in outcomes)
    sys.stdout.write(f"{_counted(deleted, 'trial')} deleted\n")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


COMMAND: Final = Command("delete trials with all their points", _configure, _run)
