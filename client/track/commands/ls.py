"""``track ls [projects|groups|trials]``: list the objects of a store."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from track.commands.fields import MISSING, Names, short_uids, shown, sorted_by, value_of
from track.commands.printing import add_json, page, print_json, table_text
from track.commands.stores import add_filter, add_store, opened, selected
from track.commands.trial_rows import ListedColumn, default_rows, documents_in_order, listed_rows
from track.persistence.filtering import StoreNames
from track.persistence.protocol import Protocol
from track_protocol.command import Command
from track_protocol.errors import BadQuery, UsageError
from track_protocol.model.entities import Project, TrialGroup
from track_protocol.query.filter_parser import read_names
from track_protocol.query.names import own_names
from track_protocol.query.tree import Kind
from track_protocol.uri import redact

__all__ = ["COMMAND"]

_LIMIT: Final = 100

_COMPUTED: Final = ("seen", "project", "group", "groups", "trials")
"""Columns that no query knows, or that show something else than the store compares."""

_KINDS: Final[dict[str, Kind]] = {"trials": "trial", "groups": "group", "projects": "project"}


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("what", nargs="?", type=_what, choices=tuple(_KINDS), default="trials", help="default: trials")
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
    with opened(arguments.uri) as protocol:
        names = StoreNames(protocol)
        columns = _given_columns(arguments, names)
        order = _given_order(arguments, names)
        if arguments.what == "trials":
            return _list_trials(protocol, arguments, columns, order, limit)
        found = _LISTS[arguments.what](protocol, arguments)
    found = sorted_by(found, None if order is None else order.attribute, backwards=arguments.reverse)
    listed = found[_shown(arguments, len(found), limit)]
    if arguments.json:
        print_json(listed if columns is None else [_picked(each, columns) for each in listed])
        return 0
    columns = columns or _default_columns(listed)
    rows = [[value_of(each, column.attribute) for column in columns] for each in listed]
    _print(arguments, columns, rows, len(found))
    return 0


def _shown(arguments: argparse.Namespace, total: int, limit: int | None) -> slice:
    """In order of creation, the newest; in a given order, the first."""
    if limit is None:
        return slice(None)
    return slice(limit) if _is_ordered(arguments) else slice(max(0, total - limit), None)


def _is_ordered(arguments: argparse.Namespace) -> bool:
    return arguments.sort is not None or arguments.reverse


def _list_trials(
    protocol: Protocol,
    arguments: argparse.Namespace,
    columns: list[ListedColumn] | None,
    sort: ListedColumn | None,
    limit: int | None,
) -> int:
    query = selected(protocol, arguments.filter)
    newest = limit is not None and not _is_ordered(arguments)
    attribute = "created" if sort is None else sort.attribute
    order = [f"-{attribute}" if newest or arguments.reverse else attribute]
    if arguments.json and columns is None:
        found = list(documents_in_order(protocol, query, order, limit, Names(protocol)))
        print_json(found[::-1] if newest else found)
        return 0
    if columns is None:
        columns, listed = default_rows(protocol, query, order, limit)
    else:
        listed = listed_rows(protocol, query, [each.attribute for each in columns], order, limit)
    rows = listed.rows[::-1] if newest else listed.rows
    if arguments.json:
        names = [column.name for column in columns]
        print_json([dict(zip(names, map(_plain, row), strict=True)) for row in rows])
        return 0
    _print(arguments, columns, rows, listed.total)
    return 0


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _print(
    arguments: argparse.Namespace,
    columns: Sequence[ListedColumn],
    rows: Sequence[Sequence[Any]],
    total: int,
) -> None:
    if not rows:
        page(f"no {arguments.what}{' that match' if arguments.filter and not total else ''}\n")
        return
    text = _table(rows, columns)
    if len(rows) < total:
        which = "first" if _is_ordered(arguments) else "newest"
        text += f"only the {which} {len(rows):,} are shown; --limit N shows more\n"
    page(text, is_drawn=True)


def _given_columns(arguments: argparse.Namespace, names: StoreNames) -> list[ListedColumn] | None:
    if not arguments.columns:
        return None
    given = read_names(arguments.columns)
    if not all(given):
        raise UsageError("--columns contains an empty name: separate the names with single commas")
    return [_column("--columns", name, arguments.what, names) for name in given]


def _given_order(arguments: argparse.Namespace, names: StoreNames) -> ListedColumn | None:
    if arguments.sort is None:
        return None
    given = read_names(arguments.sort)
    if len(given) != 1:
        raise UsageError(f"--sort takes one name, not {arguments.sort!r:.80}")
    return _column("--sort", given[0], arguments.what, names)


def _column(option: str, name: str, what: str, names: StoreNames) -> ListedColumn:
    """The column of a name.

    Raises:
        UsageError: no object of the store has that name; the message suggests one.
    """
    if name in _COMPUTED:
        return ListedColumn(name, name)
    try:
        return ListedColumn(name, names.attribute(name, _KINDS[what]))
    except BadQuery as error:
        raise UsageError(f"{option}: {error}") from None


def _groups(protocol: Protocol, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    names = Names(protocol)
    groups = protocol.fetch_groups(selected(protocol, arguments.filter, "group"))
    return [
        _named(group, project=names.project(group.project_id), trials=len(group.trials)) for group in groups
    ]


def _projects(protocol: Protocol, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    projects = protocol.fetch_projects(selected(protocol, arguments.filter, "project"))
    return [_named(each, groups=len(each.groups), trials=len(each.trials)) for each in projects]


def _named(item: Project | TrialGroup, **own: Any) -> dict[str, Any]:
    """The document of a project or group, in which columns are looked up as in that of a trial."""
    named = {"uid": item.uid, "name": item.name, **own, "description": item.description}
    return {**named, "metadata": item.metadata}


_LISTS: Final[Mapping[str, Callable[[Protocol, argparse.Namespace], list[dict[str, Any]]]]] = {
    "groups": _groups,
    "projects": _projects,
}


def _picked(known: dict[str, Any], columns: Sequence[ListedColumn]) -> dict[str, Any]:
    values = {column.name: value_of(known, column.attribute) for column in columns}
    return {name: None if value is MISSING else value for name, value in values.items()}


def _default_columns(documents: Sequence[dict[str, Any]]) -> list[ListedColumn]:
    names = ("name", "project", "groups", "trials", "description", "uid")
    return [ListedColumn(name, name) for name in names if _told(documents, name)]


def _told(documents: Sequence[dict[str, Any]], name: str) -> bool:
    return any(each.get(name) is not None for each in documents)


def _table(values: Sequence[Sequence[Any]], columns: Sequence[ListedColumn]) -> str:
    uids = [number for number, column in enumerate(columns) if column.attribute == "uid"]
    short = short_uids([row[number] for row in values for number in uids])
    rows = [
        [
            short[value] if column.attribute == "uid" else shown(column.attribute, _plain(value))
            for column, value in zip(columns, row, strict=True)
        ]
        for row in values
    ]
    right = [
        number
        for number in range(len(columns))
        if all(_is_number(row[number]) for row in values)
        and any(row[number] is not MISSING and row[number] is not None for row in values)
    ]
    titles = [_title(column.name) for column in columns]
    header = [
        title if titles.count(title) == 1 else column.name
        for column, title in zip(columns, titles, strict=True)
    ]
    header = [name.upper() if name in _OWN else name for name in header]
    return table_text(header, rows, right, "choose columns with --columns")


_OWN: Final = frozenset({*own_names("trial"), *_COMPUTED})
"""Columns that are a trial's own, not values that a user gave it: their titles are in capital letters."""


def _title(name: str) -> str:
    root, _, rest = name.partition(".")
    return rest if root in ("params", "parameters", "metrics") and rest else name


def _is_number(value: Any) -> bool:
    return (
        value is MISSING or value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
    )


COMMAND: Final = Command("list the trials, groups or projects of a store", _configure, _run)
