"""The method table: every call described once.

Client stubs, the server's dispatch, the permission check and the reference are derived from it, so
a call that is not here does not exist, whatever name a peer sends.
"""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final

from track_protocol.errors import UnknownMethod
from track_protocol.wire.roles import Role
from track_protocol.wire.schema import REQUIRED, Parameter, check_arguments

__all__ = ["METHODS", "Access", "Method", "method_named"]


class Access(Enum):
    """What a call does to the store, and whether the caller waits for an answer."""

    READ = "read"
    WRITE = "write"
    LOG = "log"
    """A write without an answer: it travels in a batch, in order with the points around it."""


@dataclass(frozen=True, slots=True)
class Method:
    """One call.

    Attributes:
        name: as documented and as it travels.
        access: read, write (with an answer) or log (a write without one).
        parameters: in order.
        summary: one sentence for the reference.
        updates: "trial" or "group" when fetch-and-update may apply it to one; the first parameter
            is then that item.
    """

    name: str
    access: Access
    parameters: tuple[Parameter, ...]
    summary: str
    updates: str | None = None
    answers: str = ""

    @property
    def role(self) -> Role:
        """The least role that may call it."""
        return Role.READER if self.access is Access.READ else Role.WRITER

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """`arguments` checked against the schema, defaults filled in; BadArguments if they don't fit."""
        return check_arguments(self.name, self.parameters, arguments)


def _declared(access: Access, signature: str, summary: str, *, updates: str | None = None) -> Method:
    """A method by its signature, in the notation of `DESIGN.md`: types are those of `schema`."""
    name, _, rest = signature.partition("(")
    listed, _, answers = rest.partition(")")
    parameters = tuple(map(_parameter, listed.split(", "))) if listed else ()
    return Method(name, access, parameters, summary, updates, answers.removeprefix(" -> "))


def _parameter(declared: str) -> Parameter:
    name, _, rest = declared.partition(": ")
    type, _, default = rest.partition(" = ")
    return Parameter(name, type, literal_eval(default) if default else REQUIRED)


_read: Final = partial(_declared, Access.READ)
_write: Final = partial(_declared, Access.WRITE)
_log: Final = partial(_declared, Access.LOG)

_PAGE: Final = "start: count = 0, limit: count? = None, order: texts? = None, fields: texts? = None"
"""Of a call that lists documents: from which one on, how many, in which order, which of their fields."""

_TABLE: Final = (
    _write("new_project(project: document) -> project", "Insert a project, or get it."),
    _write(
        "new_trial_group(group: document, or_get: bool = True) -> group",
        "Insert a group; if it exists, get it (or_get) or nothing.",
    ),
    _write(
        "new_trial(trial: document, auto_increment: bool = False) -> trial",
        "Insert a trial; if it exists, its next revision (auto_increment) or nothing.",
    ),
    _read("get_project(project: definition) -> project", "The project, or None."),
    _read("get_trial_group(group: definition) -> group", "The group, or None."),
    _read("get_trial(trial: definition) -> [trial]", "The trials that a definition names."),
    _read(
        f"fetch_projects(query: query, {_PAGE}) -> [project]", "Projects that match a query, oldest first."
    ),
    _read(f"fetch_groups(query: query, {_PAGE}) -> [group]", "Groups that match a query, oldest first."),
    _read(f"fetch_trials(query: query, {_PAGE}) -> [trial]", "Trials that match a query, oldest first."),
    _read(
        "fetch_table(query: query, columns: texts, order: texts? = None, start: count = 0, "
        "limit: count = 100) -> table",
        "Columns of the trials that match, a page of them in an order, and how many match.",
    ),
    _read(
        "fetch_rows(trials: ids, columns: texts) -> table",
        "Columns of some trials, in the order given, without those that do not exist any more.",
    ),
    _read(
        "fetch_fields(query: query) -> fields",
        "Which values and series the trials that match have: names, sorts, counts, ranges.",
    ),
    _read(
        "fetch_groups_of(query: query, by: texts, measures: texts, limit: count = 100) -> rows",
        "The trials that match, grouped by values, with statistics of others; the largest groups first.",
    ),
    _read(
        "fetch_changes(cursor: text? = None, limit: count = 1000) -> changes",
        "What was changed since a moment that an earlier answer named, by whichever session.",
    ),
    _write(
        "fetch_and_update_trial(query: query, update: update) -> trial",
        "Atomically update the oldest trial that matches; the updated trial, or None.",
    ),
    _write(
        "fetch_and_update_group(query: query, update: update) -> group",
        "Atomically update the oldest group that matches; the updated group, or None.",
    ),
    _read(
        "fetch_metrics(trial: trial, name: text, kind: kind = 'metric', "
        "start: count = 0, limit: count = 65536)",
        "Points of one series from ordinal `start`: columns of steps, times and values.",
    ),
    _read(
        "fetch_columns(series: series, axis: axis = 'step', low: finite? = None, high: finite? = None, "
        "width: count = 1000) -> [columns]",
        "Series cut into columns of equal extent along an axis, for charts: what each column contains.",
    ),
    _read(
        "fetch_grouped_columns(query: query, by: texts, name: text, kind: charted = 'metric', "
        "axis: axis = 'step', low: finite? = None, high: finite? = None, width: count = 200, "
        "limit: count = 20) -> [columns]",
        "Series of one name of the trials that match, cut into columns and summed up by values of the "
        "trials; the largest groups first.",
    ),
    _read(
        "fetch_tails(tails: tails, limit: count = 65536) -> [points]",
        "Numbers of several series, each from an ordinal on.",
    ),
    _read(
        "fetch_blob(digest: digest, offset: count = 0, limit: count = 262144)",
        "Bytes of a blob from `offset` on, at most 262,144 at once.",
    ),
    _read(
        "fetch_rejected(trial: trial? = None, start: count = 0, limit: count = 256)",
        "Records that were quarantined because they can never be stored, oldest first.",
    ),
    _write(
        "delete_trial(trial: trial, force: bool = False) -> bool",
        "Delete a trial with all that belongs to it; whether there was one.",
    ),
    _write("commit()", "Make everything logged before durable, and written to the store's document."),
    _log("create_project(project: document)", "Insert a project, unless it exists."),
    _log("create_group(group: document)", "Insert a group, unless it exists."),
    _log(
        "create_trial(trial: document)",
        "Insert a trial as the next revision of its hash, unless its id exists.",
    ),
    _log("add_project_trial(project: project, trial: trial)", "Put a trial into a project."),
    _log("add_group_trial(group: group, trial: trial)", "Put a trial into a group."),
    _log(
        "set_group_metadata(group: group, metadata: values)",
        "Merge values into a group's metadata.",
        updates="group",
    ),
    _log(
        "set_project_metadata(project: project, metadata: values)",
        "Merge values into a project's metadata.",
    ),
    _log(
        "log_trial_start(trial: trial, time: time, rank: count? = None)",
        "The trial runs from this moment; a rank above 0 joins it and leaves its status alone.",
        updates="trial",
    ),
    _log(
        "log_trial_finish(trial: trial, time: time, status: status, "
        "error: error? = None, rank: count? = None, shared: bool = False)",
        "The trial ended at this moment, in this status; of a rank above 0 only the error is stored; "
        "the status of a shared trial is stored if nobody else runs it.",
        updates="trial",
    ),
    _log(
        "log_trial_arguments(trial: trial, arguments: values)",
        "Merge values into a trial's parameters; its hash does not change.",
        updates="trial",
    ),
    _log(
        "log_trial_metadata(trial: trial, metadata: values, aggregator: aggregator? = None)",
        "Merge values into a trial's metadata; a series aggregator appends them to lists.",
        updates="trial",
    ),
    _log(
        "log_trial_dropped_points(trial: trial, points: count, reason: text)",
        "Add points that will never be stored to the trial's metadata `dropped_points`.",
    ),
    _log(
        "put_blob(digest: digest, size: count, offset: count, data: bytes)",
        "Store the bytes from `offset` on of a blob of `size` bytes; it is complete when it has all of them.",
    ),
    _log(
        "append_values(trial: trial, field: text, path: texts, values: items)",
        "Append to a list inside a trial's parameters, metadata or tags: parts of one that is large.",
    ),
    _log(
        "put_values(trial: trial, field: text, path: texts, values: values)",
        "Merge values into a map inside a trial's parameters, metadata or tags: parts of one that is large.",
    ),
    _log(
        "log_trial_media(trial: trial, kind: media, name: text, step: any, time: time, value: map)",
        "Append a histogram, image, text, graph or file to a series of its kind.",
    ),
    _log("add_trial_tags(trial: trial, tags: values)", "Merge values into a trial's tags.", updates="trial"),
    _log(
        "remove_trial_tags(trial: trial, names: texts)",
        "Remove tags of a trial; those that it has of its project stay.",
        updates="trial",
    ),
    _log(
        "rename_trial(trial: trial, name: text? = None, description: text? = None)",
        "Change a trial's name or description: None leaves it, an empty text removes it.",
        updates="trial",
    ),
    _log(
        "set_trial_status(trial: trial, status: status, error: error? = None)",
        "Change a trial's status; `error` is added to its errors.",
        updates="trial",
    ),
    _log(
        "rewind_trial(trial: trial, step: number, time: time)",
        "Move the metric points of later steps out of their series, into the trial's history.",
        updates="trial",
    ),
)

METHODS: Final[Mapping[str, Method]] = {method.name: method for method in _TABLE}


def method_named(name: str, *, within: tuple[Access, ...] = tuple(Access)) -> Method:
    """The method of that name.

    Args:
        name: the requested method.
        within: the allowed kinds of access.

    Raises:
        UnknownMethod: there is no such method; the message lists the known ones.
    """
    method = METHODS.get(name)
    if method is None or method.access not in within:
        known = ", ".join(sorted(m.name for m in _TABLE if m.access in within))
        raise UnknownMethod(f"no method is called {name[:80]!r}; there are: {known}")
    return method
