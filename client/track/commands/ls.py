"""``track ls [projects|groups|trials]``: list the objects of a store."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, Final

from track.commands.fields import MISSING, Names, document, flat, short_uids, shown, sorted_by, value_of
from track.commands.printing import add_json, page, print_json, table_text
from track.commands.stores import add_filter, add_store, opened, selected
from track.persistence.protocol import Protocol
from track_protocol.command import Command
from track_protocol.errors import UsageError
from track_protocol.model.entities import Project, TrialGroup
from track_protocol.uri import redact

__all__ = ["COMMAND"]

_OWNERS: Final = ("project", "group")
_MOST: Final = 4
"""Parameters and metrics that get a column of their own."""

_LIMIT: Final = 100

_ROOTS: Final = {"params": "parameters", "parameters": "parameters", "tags": "tags", "metadata": "metadata"}
_ATTRIBUTES: Final = {
    "status": "status.name",
    **{name: name for name in ("created", "started", "ended")},
    **{name: name for name in ("uid", "id", "hash", "name", "revision", "version", "description")},
}
_SORTED_HERE: Final = frozenset({"seen", "project", "group"})
"""Columns of which the store has other values than are shown."""


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("what", nargs="?", type=_what, choices=tuple(_LISTS), default="trials", help="default: trials")
    add_store(parser)
    add_filter(parser)
    add("--sort", metavar="NAME", help="sort by a column, such as metrics.loss.min (default: oldest first)")
    add("-r", "--reverse", action="store_true", help="reverse order")
    add("--limit", type=_limit, metavar="N", help=f"maximum rows (default: {_LIMIT}; with --json all)")
    add("--columns", metavar="A,B", help="columns to show, such as uid,params.lr,metrics.loss.min")
    add_json(parser)


def _what(text: str) -> str:
    if ":" in text:
        raise argparse.ArgumentTypeError(f"name the store with --uri: track ls --uri {redact(text)}")
    return text


def _limit(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows: give 0 or more")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    limit = arguments.limit if arguments.limit is not None or arguments.json else _LIMIT
    ordered = arguments.sort is not None or arguments.reverse
    with opened(arguments.uri) as protocol:
        # In order of creation, show the newest; in a given order, the first.
        found = _LISTS[arguments.what](protocol, arguments, None if limit is None else limit + 1)
    listed = found if limit is None else found[:limit] if ordered else found[max(0, len(found) - limit) :]
    columns = [name.strip() for name in arguments.columns.split(",")] if arguments.columns else None
    if columns is not None and not all(columns):
        raise UsageError("--columns contains an empty name: separate the names with single commas")
    if arguments.json:
        print_json(listed if columns is None else [_picked(each, columns) for each in listed])
        return 0
    if not listed:
        page(f"no {arguments.what}{' that match' if arguments.filter and not found else ''}\n")
        return 0
    text = _table(listed, columns or _default_columns(arguments.what, listed))
    if len(listed) < len(found):
        text += (
            f"only the {'first' if ordered else 'newest'} {len(listed):,} are shown; --limit N shows more\n"
        )
    page(text)
    return 0


def _trials(protocol: Protocol, arguments: argparse.Namespace, limit: int | None) -> list[dict[str, Any]]:
    query, names = selected(protocol, arguments.filter), Names(protocol)
    if arguments.sort in _SORTED_HERE:
        found = [document(trial, names) for trial in protocol.fetch_trials(query)]
        return sorted_by(found, arguments.sort, backwards=arguments.reverse)
    newest = arguments.sort is None and not arguments.reverse and limit is not None
    order = ["-created"] if newest else _order(arguments.sort, backwards=arguments.reverse)
    trials = protocol.fetch_trials(query, order=order, limit=limit)
    return [document(trial, names) for trial in (trials[::-1] if newest else trials)]


def _order(name: str | None, *, backwards: bool) -> list[str]:
    """A column as the store orders by it; a plain name is a parameter, or else a metric."""
    root, _, rest = (name or "created").partition(".")
    if root in _ROOTS and rest:
        names = [f"{_ROOTS[root]}.{rest}"]
    elif root in ("metrics", "chronos") and rest:
        names = [f"{root}.{rest}"]
    elif root in _ATTRIBUTES and not rest:
        names = [_ATTRIBUTES[root]]
    else:
        names = [f"parameters.{name}", f"metrics.{name}"]
    return [f"-{each}" for each in names] if backwards else names


def _groups(protocol: Protocol, arguments: argparse.Namespace, _limit: int | None) -> list[dict[str, Any]]:
    names = Names(protocol)
    groups = protocol.fetch_groups(selected(protocol, arguments.filter, "group"))
    found = [
        _named(group, project=names.project(group.project_id), trials=len(group.trials)) for group in groups
    ]
    return sorted_by(found, arguments.sort, backwards=arguments.reverse)


def _projects(protocol: Protocol, arguments: argparse.Namespace, _limit: int | None) -> list[dict[str, Any]]:
    projects = protocol.fetch_projects(selected(protocol, arguments.filter, "project"))
    found = [_named(each, groups=len(each.groups), trials=len(each.trials)) for each in projects]
    return sorted_by(found, arguments.sort, backwards=arguments.reverse)


def _named(item: Project | TrialGroup, **own: Any) -> dict[str, Any]:
    """The document of a project or group, in which columns are looked up as in that of a trial."""
    named = {"uid": item.uid, "name": item.name, **own, "description": item.description}
    return {**named, "metadata": item.metadata, "parameters": {}, "metrics": {}}


_LISTS: Final[dict[str, Callable[[Protocol, argparse.Namespace, int | None], list[dict[str, Any]]]]] = {
    "trials": _trials,
    "groups": _groups,
    "projects": _projects,
}


def _picked(known: dict[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    values = {name: value_of(known, name) for name in columns}
    return {name: None if value is MISSING else value for name, value in values.items()}


def _default_columns(what: str, documents: Sequence[dict[str, Any]]) -> list[str]:
    """The default columns: owners and parameters that differ, and the first metrics."""
    if what != "trials":
        return [
            name
            for name in ("name", "project", "groups", "trials", "description", "uid")
            if _told(documents, name)
        ]
    parameters: dict[str, set[str]] = {}
    metrics: dict[str, None] = {}
    for each in documents:
        for name, value in flat(each["parameters"]).items():
            parameters.setdefault(name, set()).add(shown("", value))
        metrics |= dict.fromkeys(each["metrics"])
    some_lack = {
        name for name in parameters if any(value_of(each, f"params.{name}") is MISSING for each in documents)
    }
    varying = [name for name, values in parameters.items() if len(values) > 1 or name in some_lack]
    if len(documents) == 1:
        varying = list(parameters)
    first = [f"params.{name}" for name in varying[:_MOST]]
    then = [f"metrics.{name}" for name in list(metrics)[:_MOST]]
    owners = [name for name in _OWNERS if len({each[name] for each in documents}) > 1]
    # The last columns do not fit a narrow terminal.
    return ["uid", "name", "status", *first[:2], *then[:2], "seen", *owners, *first[2:], *then[2:]]


def _told(documents: Sequence[dict[str, Any]], name: str) -> bool:
    return any(each.get(name) is not None for each in documents)


def _table(documents: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    values = [[value_of(each, name) for name in columns] for each in documents]
    known = [name for name in columns if any(row[columns.index(name)] is not MISSING for row in values)]
    unknown = [name for name in columns if name not in known]
    if unknown and not known:
        raise UsageError(
            f"no object has a value in {', '.join(unknown)}: give columns such as params.lr or "
            "metrics.loss.min"
        )
    short = short_uids([each["uid"] for each in documents])
    rows = [
        [
            short[value] if name == "uid" else shown(name, value)
            for name, value in zip(columns, row, strict=True)
        ]
        for row in values
    ]
    right = [
        number
        for number in range(len(columns))
        if all(_is_number(row[number]) for row in values)
        and any(row[number] is not MISSING for row in values)
    ]
    titles = [_title(name) for name in columns]
    header = [
        title if titles.count(title) == 1 else name for name, title in zip(columns, titles, strict=True)
    ]
    return table_text([name.upper() if name in _OWN else name for name in header], rows, right)


_OWN: Final = frozenset(
    {"uid", "name", "status", "seen", *_OWNERS, "groups", "trials", "description", "version"}
)
"""Columns that are a trial's own, not values that a user gave it: their titles are in capital letters."""


def _title(name: str) -> str:
    root, _, rest = name.partition(".")
    return rest if root in ("params", "parameters", "metrics") and rest else name


def _is_number(value: Any) -> bool:
    return (
        value is MISSING or value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
    )


COMMAND: Final = Command("list the trials, groups or projects of a store", _configure, _run)
