"""``track query SQL``: read-only SQL over a store, in which points are an ordinary table."""

from __future__ import annotations

import argparse
from io import TextIOWrapper
from typing import Any, Final

from track.commands.exporting import CsvRows, add_keep_formulas
from track.commands.fields import shown
from track.commands.printing import output, page, print_json, say, table_text
from track.commands.stores import add_filter, add_store, check_series, find_trials, opened
from track.commands.tables import TABLES, Tables
from track_protocol.command import Command
from track_protocol.errors import UsageError

__all__ = ["COMMAND"]

_SECONDS: Final = 60.0


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("sql", nargs="?", metavar="SQL", help="one SELECT statement in SQLite's dialect")
    add_store(parser)
    add_filter(parser)
    add("--metric", action="append", metavar="NAME", help="only points of this series; may be repeated")
    add(
        "--timeout", type=float, default=_SECONDS, metavar="S", help="seconds for the statement (default: 60)"
    )
    add("--tables", action="store_true", help="show the tables and their columns")
    add("--json", action="store_true", help="print a JSON array of objects")
    add("--csv", action="store_true", help="print CSV with a header line")
    add_keep_formulas(parser)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.tables:
        say("".join(f"{name}({', '.join(columns)})\n" for name, columns in TABLES.items()))
        return 0
    if not arguments.sql or (arguments.json and arguments.csv):
        raise UsageError("track query takes one SELECT, and --json or --csv: --tables lists the tables")
    with opened(arguments.uri) as protocol, Tables(arguments.sql) as tables:
        trials = find_trials(protocol, arguments.filter)
        check_series(protocol, trials, arguments.metric or ())
        tables.fill(protocol, trials, arguments.metric or ())
        columns, rows = tables.run(arguments.timeout)
        if arguments.json:
            print_json([dict(zip(columns, row, strict=True)) for row in rows])
        elif arguments.csv:
            text = TextIOWrapper(output(), "utf-8", newline="")
            writer = CsvRows(text, keeps_formulas=arguments.keep_formulas)
            writer.write([columns])
            writer.write(rows)
            text.flush()
            text.detach()  # standard output is not to be closed
        else:
            _print(columns, list(rows))
    return 0


def _print(columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    cells = [[shown(name, value) for name, value in zip(columns, row, strict=True)] for row in rows]
    right = [
        number
        for number in range(len(columns))
        if rows and all(row[number] is None or isinstance(row[number], (int, float)) for row in rows)
    ]
    page(
        table_text(columns, cells, right) + f"{len(rows):,} row{'' if len(rows) == 1 else 's'}\n",
        is_drawn=True,
    )


COMMAND: Final = Command("run a read-only SQL query on a store, with points as a table", _configure, _run)
