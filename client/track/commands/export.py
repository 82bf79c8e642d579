"""``track export [TRIAL…]``: points, or one row for each trial, as CSV, JSON or Parquet."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

from track.commands.exporting import FORMATS, Writer, add_keep_formulas, open_writer
from track.commands.fields import Names, document
from track.commands.printing import output, say_error
from track.commands.stores import (
    add_filter,
    add_store,
    add_trials,
    all_pages,
    check_choice,
    check_series,
    chosen_trials,
    opened,
)
from track.persistence.protocol import Protocol
from track.reading.flatten import flat
from track_protocol.command import Command
from track_protocol.errors import TrackError, UsageError
from track_protocol.model.entities import Trial

__all__ = ["COMMAND"]

_POINT: Final = {
    "trial": "text",
    "trial_name": "text",
    "kind": "text",
    "name": "text",
    "context": "labels",
    "step": "any",
    "time": "number",
    "value": "any",
}
OpenWriter = Callable[[Mapping[str, str]], AbstractContextManager[Writer]]

_PLAIN: Final = ("uid", "id", "name", "status", "project", "group", "version", "description")
_TIMES: Final = ("created", "started", "ended", "duration", "seen")


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_trials(parser, "all")
    add_store(parser)
    add_filter(parser)
    add("--metric", action="append", metavar="NAME", help="only this series; may be repeated")
    add(
        "--wide",
        action="store_true",
        help="one row for each trial with its last values, instead of its points",
    )
    add("--format", choices=FORMATS, help="default: by the ending of FILE, else csv")
    add_keep_formulas(parser)
    add("-o", "--output", type=Path, metavar="FILE", help="default: standard output")


def _run(arguments: argparse.Namespace) -> int:
    check_choice(arguments)
    kind = arguments.format or _kind_of(arguments.output)
    if kind == "parquet" and arguments.output is None and sys.stdout.isatty():
        raise UsageError("Parquet cannot be printed: give --output FILE")
    with opened(arguments.uri) as protocol:
        trials = chosen_trials(protocol, arguments)
        check_series(protocol, trials, arguments.metric or ())
        with _output(arguments.output) as file:
            open_file = partial(open_writer, kind, file, keeps_formulas=arguments.keep_formulas)
            if arguments.wide:
                names = Names(protocol)
                count = _write_trials(open_file, [document(trial, names) for trial in trials])
            else:
                count = _write_points(open_file, protocol, trials, arguments.metric or ())
    if arguments.output is not None:
        what = "trials" if arguments.wide else "points"
        say_error(f"{arguments.output}: {count:,} {what}\n")
    return 0


def _kind_of(output: Path | None) -> str:
    ending = "" if output is None else output.suffix.lower().removeprefix(".")
    return ending if ending in FORMATS else "csv"


@contextmanager
def _output(path: Path | None) -> Iterator[BinaryIO]:
    """Where to write; a file appears under its name when it is complete, or not at all."""
    if path is None:
        yield output()
        sys.stdout.flush()
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        file = part.open("xb")
    except OSError as error:
        raise TrackError(f"{path} cannot be written ({error.strerror}): give another --output") from error
    try:
        with file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _write_points(
    open_file: OpenWriter, protocol: Protocol, trials: Sequence[Trial], wanted: Sequence[str]
) -> int:
    written = 0
    with open_file(_POINT) as writer:
        for trial, series, page in all_pages(protocol, trials, wanted, "export"):
            labels = dict(series.name.context)
            same = (trial.uid, trial.name, series.kind, series.name.name, labels)
            writer.write([*([each] * len(page) for each in same), page.steps, page.times, page.values])
            written += len(page)
    return written


def _write_trials(open_file: OpenWriter, documents: Sequence[dict[str, Any]]) -> int:
    rows = [_wide(each) for each in documents]
    names: dict[str, None] = dict.fromkeys((*_PLAIN, *_TIMES))
    for row in rows:
        names |= dict.fromkeys(row)
    sorts = {**dict.fromkeys(_PLAIN, "text"), **dict.fromkeys(_TIMES, "number")}
    columns = {name: sorts.get(name, "any") for name in names}
    with open_file(columns) as writer:
        writer.write([[row.get(name) for row in rows] for name in columns])
    return len(rows)


def _wide(known: dict[str, Any]) -> dict[str, Any]:
    row = {name: known[name] for name in (*_PLAIN, *_TIMES)}
    for root in ("parameters", "tags", "metadata"):
        row |= {f"{root}.{name}": value for name, value in flat(known[root]).items()}
    row |= {f"metrics.{name}": summary.get("last") for name, summary in known["metrics"].items()}
    return row | {f"chronos.{name}": summary.get("mean") for name, summary in known["chronos"].items()}


COMMAND: Final = Command("write points, or one row for each trial, as csv, json or parquet", _configure, _run)
