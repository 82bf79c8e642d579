"""``track compare A B …``: what differs between trials."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, Final

from track.commands.fields import Names, document, short_uids, shown
from track.commands.printing import add_json, page, print_json, table_text
from track.commands.stores import add_filter, add_store, add_trials, check_choice, chosen_trials, opened
from track.reading.flatten import flat
from track.serialization import SerializerTrial
from track_protocol.command import Command
from track_protocol.errors import UsageError

__all__ = ["COMMAND"]

_OWN: Final = ("name", "status", "project", "group", "version", "description", "created", "duration")
_TREES: Final = {"parameters": "params.", "tags": "tags.", "metadata": "metadata."}
_MOST: Final = 12
"""Trials that a table has room for."""


def _configure(parser: argparse.ArgumentParser) -> None:
    add_trials(parser)
    add_store(parser)
    add_filter(parser)
    parser.add_argument("--all", action="store_true", help="also show what is equal")
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    check_choice(arguments, is_required=True)
    with opened(arguments.uri) as protocol:
        trials = chosen_trials(protocol, arguments)
        names = Names(protocol)
        documents = list({each.uid: document(each, names) for each in trials}.values())
    if len(documents) < 2:
        raise UsageError(f"a comparison takes two trials or more, and there is {len(documents)}")
    if len(documents) > _MOST and not arguments.json:
        raise UsageError(
            f"{len(documents)} trials make no readable table: select at most {_MOST}, or add --json"
        )
    rows = _rows([_values(each) for each in documents], everything=arguments.all)
    uids = [each["uid"] for each in documents]
    if arguments.json:
        print_json(
            [{"name": name, "values": dict(zip(uids, row, strict=True))} for name, row in rows.items()]
        )
        return 0
    short = short_uids(uids)
    cells = [[name, *(shown(name, value) for value in row)] for name, row in rows.items()]
    numbers = [
        at + 1
        for at in range(len(uids))
        if rows and all(isinstance(row[at], (int, float, type(None))) for row in rows.values())
    ]
    text = table_text(["NAME", *(short[uid] for uid in uids)], cells, numbers)
    page(text if rows else "no difference\n", is_drawn=True)
    return 0


def _values(known: Mapping[str, Any]) -> dict[str, Any]:
    """What is compared of a trial, by the names that filters have for it."""
    values = {name: known[name] for name in _OWN}
    for root, before in _TREES.items():
        for name, value in flat(known[root]).items():
            if root != "metadata" or name not in SerializerTrial.ignore_meta:
                values[before + name] = value
    for root, statistic in (("metrics", "last"), ("chronos", "mean")):
        values |= {f"{root}.{name}": summary.get(statistic) for name, summary in known[root].items()}
    return values


def _rows(found: Sequence[Mapping[str, Any]], *, everything: bool) -> dict[str, list[Any]]:
    """The values of each name, one of each trial; those that differ, or all."""
    names = dict.fromkeys(name for values in found for name in values)
    rows = {name: [values.get(name) for values in found] for name in names}
    return {name: row for name, row in rows.items() if everything or len(set(map(repr, row))) > 1}


COMMAND: Final = Command("show what differs between trials", _configure, _run)
