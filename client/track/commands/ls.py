"""``track ls [projects|groups|trials]``: list the objects of a store."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from track.commands.fields import MISSING, Names, document, short_uids, shown, sorted_by, value_of
from track.commands.printing import add_json, page, print_json, table_text
from track.commands.stores import add_filter, add_store, opened, selected
from track.persistence.filtering import StoreNames
from track.persistence.protocol import Protocol
from track.reading.flatten import flat
from track_protocol.command import Command
from track_protocol.errors import BadQuery, UsageError
from track_protocol.model.entities import Project, Status, TrialGroup
from track_protocol.query.filter_parser import read_names
from track_protocol.query.names import own_names
from track_protocol.query.tree import Kind
from track_protocol.uri import redact

__all__ = ["COMMAND"]

_OWNERS: Final = ("project", "group")
_MOST: Final = 4
"""Parameters and metrics that get a column of their own."""

_LIMIT: Final = 100

_COMPUTED: Final = ("seen", "project", "group", "groups", "trials")
"""Columns that no query knows, or that show something else than the store compares."""

_KINDS: Final[dict[str, Kind]] = {"trials": "trial", "groups": "group", "projects": "project"}


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table.

    Attributes:
        name: as it was given.
        attribute: where its values are, as in queries.
    """

    name: str
    attribute: str


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
        names = StoreNames(protocol)
        columns = _given_columns(arguments, names)
        order = _given_order(arguments, names)
        # In order of creation, show the newest; in a given order, the first.
        found = _LISTS[arguments.what](protocol, arguments, order, None if limit is None else limit + 1)
    listed = found if limit is None else found[:limit] if ordered else found[max(0, len(found) - limit) :]
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
    page(text, is_drawn=True)
    return 0


def _given_columns(arguments: argparse.Namespace, names: StoreNames) -> list[_Column] | None:
    if not arguments.columns:
        return None
    given = read_names(arguments.columns)
    if not all(given):
        raise UsageError("--columns contains an empty name: separate the names with single commas")
    return [_column("--columns", name, arguments.what, names) for name in given]


def _given_order(arguments: argparse.Namespace, names: StoreNames) -> _Column | None:
    if arguments.sort is None:
        return None
    given = read_names(arguments.sort)
    if len(given) != 1:
        raise UsageError(f"--sort takes one name, not {arguments.sort!r:.80}")
    return _column("--sort", given[0], arguments.what, names)


def _column(option: str, name: str, what: str, names: StoreNames) -> _Column:
    """The column of a name.

    Raises:
        UsageError: no object of the store has that name; the message suggests one.
    """
    if name in _COMPUTED:
        return _Column(name, name)
    try:
        return _Column(name, names.attribute(name, _KINDS[what]))
    except BadQuery as error:
        raise UsageError(f"{option}: {error}") from None


def _trials(
    protocol: Protocol, arguments: argparse.Namespace, sort: _Column | None, limit: int | None
) -> list[dict[str, Any]]:
    query, names = selected(protocol, arguments.filter), Names(protocol)
    if sort is not None and sort.name in _COMPUTED:
        found = [document(trial, names) for trial in protocol.fetch_trials(query)]
        return sorted_by(found, sort.attribute, backwards=arguments.reverse)
    newest = sort is None and not arguments.reverse and limit is not None
    attribute = "created" if sort is None else _ORDERS.get(sort.attribute, sort.attribute)
    order = [f"-{attribute}" if newest or arguments.reverse else attribute]
    trials = protocol.fetch_trials(query, order=order, limit=limit)
    return [document(trial, names) for trial in (trials[::-1] if newest else trials)]


_ORDERS: Final = {"status": "status.name"}
"""Attributes that are ordered by another one."""


def _groups(
    protocol: Protocol, arguments: argparse.Namespace, sort: _Column | None, _limit: int | None
) -> list[dict[str, Any]]:
    names = Names(protocol)
    groups = protocol.fetch_groups(selected(protocol, arguments.filter, "group"))
    found = [
        _named(group, project=names.project(group.project_id), trials=len(group.trials)) for group in groups
    ]
    return sorted_by(found, None if sort is None else sort.attribute, backwards=arguments.reverse)


def _projects(
    protocol: Protocol, arguments: argparse.Namespace, sort: _Column | None, _limit: int | None
) -> list[dict[str, Any]]:
    projects = protocol.fetch_projects(selected(protocol, arguments.filter, "project"))
    found = [_named(each, groups=len(each.groups), trials=len(each.trials)) for each in projects]
    return sorted_by(found, None if sort is None else sort.attribute, backwards=arguments.reverse)


def _named(item: Project | TrialGroup, **own: Any) -> dict[str, Any]:
    """The document of a project or group, in which columns are looked up as in that of a trial."""
    named = {"uid": item.uid, "name": item.name, **own, "description": item.description}
    return {**named, "metadata": item.metadata}


_List = Callable[[Protocol, argparse.Namespace, _Column | None, int | None], list[dict[str, Any]]]
_LISTS: Final[dict[str, _List]] = {
    "trials": _trials,
    "groups": _groups,
    "projects": _projects,
}


def _picked(known: dict[str, Any], columns: Sequence[_Column]) -> dict[str, Any]:
    values = {column.name: value_of(known, column.attribute) for column in columns}
    return {name: None if value is MISSING else value for name, value in values.items()}


def _default_columns(what: str, documents: Sequence[dict[str, Any]]) -> list[_Column]:
    """The default columns: owners and parameters that differ, the first metrics, and when it was."""
    if what != "trials":
        names = ("name", "project", "groups", "trials", "description", "uid")
        return [_Column(name, name) for name in names if _told(documents, name)]
    parameters: dict[str, set[str]] = {}
    had: Counter[str] = Counter()
    metrics: dict[str, None] = {}
    for each in documents:
        flattened = flat(each["parameters"])
        had.update(flattened.keys())
        for name, value in flattened.items():
            parameters.setdefault(name, set()).add(shown("", value))
        metrics |= dict.fromkeys(each["metrics"])
    varying = [
        name
        for name, values in parameters.items()
        if (len(values) > 1 or had[name] < len(documents) or len(documents) == 1)
        and any(value_of(each, f"parameters.{name}") is not MISSING for each in documents)
    ]
    first = [_Column(f"params.{name}", f"parameters.{name}") for name in varying[:_MOST]]
    then = [_Column(f"metrics.{name}", f"metrics.{name}") for name in list(metrics)[:_MOST]]
    owners = [name for name in _OWNERS if len({each[name] for each in documents}) > 1]
    runs = [
        _Column(name, f"metadata.run.{name}")
        for name in ("user", "host")
        if len({str(value_of(each, f"metadata.run.{name}")) for each in documents}) > 1
    ]
    alive = ["seen"] if any(each["status"] == Status.Running.name for each in documents) else []
    own, when = ("uid", "name", "status"), ("created", "duration", *alive, *owners)
    # The last columns do not fit a narrow terminal.
    return [
        *(_Column(name, name) for name in own),
        *(*first[:2], *then[:2]),
        *(_Column(name, name) for name in when),
        *(*runs, *first[2:], *then[2:]),
    ]


def _told(documents: Sequence[dict[str, Any]], name: str) -> bool:
    return any(each.get(name) is not None for each in documents)


def _table(documents: Sequence[dict[str, Any]], columns: Sequence[_Column]) -> str:
    values = [[value_of(each, column.attribute) for column in columns] for each in documents]
    short = short_uids([each["uid"] for each in documents])
    rows = [
        [
            short[value] if column.attribute == "uid" else shown(column.attribute, value)
            for column, value in zip(columns, row, strict=True)
        ]
        for row in values
    ]
    right = [
        number
        for number in range(len(columns))
        if all(_is_number(row[number]) for row in values)
        and any(row[number] is not MISSING for row in values)
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
