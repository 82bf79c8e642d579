"""The method table: every call described once.

Client stubs, the server's dispatch, the permission check and the reference are derived from it, so
a call that is not here does not exist, whatever name a peer sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from track_protocol.errors import UnknownMethod
from track_protocol.wire.roles import Role
from track_protocol.wire.schema import Parameter, check_arguments

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


_TRIAL: Final = Parameter("trial", "trial")
_RANK: Final = Parameter("rank", "count?", None)
_LISTED: Final = (
    Parameter("query", "query"),
    Parameter("start", "count", 0),
    Parameter("limit", "count?", None),
    Parameter("order", "texts?", None),
    Parameter("fields", "texts?", None),
)
"""Of a call that lists documents: from which one on, how many, in which order, which of their fields."""

_TABLE: Final = (
    Method(
        "new_project",
        Access.WRITE,
        (Parameter("project", "document"),),
        "Insert a project, or get it.",
        answers="project",
    ),
    Method(
        "new_trial_group",
        Access.WRITE,
        (Parameter("group", "document"),),
        "Insert a group, or get it.",
        answers="group",
    ),
    Method(
        "new_trial",
        Access.WRITE,
        (Parameter("trial", "document"), Parameter("auto_increment", "bool", False)),
        "Insert a trial; if it exists, its next revision (auto_increment) or nothing.",
        answers="trial",
    ),
    Method(
        "get_project",
        Access.READ,
        (Parameter("project", "definition"),),
        "The project, or None.",
        answers="project",
    ),
    Method(
        "get_trial_group",
        Access.READ,
        (Parameter("group", "definition"),),
        "The group, or None.",
        answers="group",
    ),
    Method(
        "get_trial",
        Access.READ,
        (Parameter("trial", "definition"),),
        "The trials that a definition names.",
        answers="[trial]",
    ),
    Method(
        "fetch_projects",
        Access.READ,
        _LISTED,
        "Projects that match a query, oldest first.",
        answers="[project]",
    ),
    Method(
        "fetch_groups", Access.READ, _LISTED, "Groups that match a query, oldest first.", answers="[group]"
    ),
    Method(
        "fetch_trials", Access.READ, _LISTED, "Trials that match a query, oldest first.", answers="[trial]"
    ),
    Method(
        "fetch_and_update_trial",
        Access.WRITE,
        (Parameter("query", "query"), Parameter("update", "update")),
        "Atomically update the oldest trial that matches; the updated trial, or None.",
        answers="trial",
    ),
    Method(
        "fetch_and_update_group",
        Access.WRITE,
        (Parameter("query", "query"), Parameter("update", "update")),
        "Atomically update the oldest group that matches; the updated group, or None.",
        answers="group",
    ),
    Method(
        "fetch_metrics",
        Access.READ,
        (
            _TRIAL,
            Parameter("name", "text"),
            Parameter("kind", "kind", "metric"),
            Parameter("start", "count", 0),
            Parameter("limit", "count", 65_536),
        ),
        "Points of one series from ordinal `start`: columns of steps, times and values.",
    ),
    Method(
        "fetch_blob",
        Access.READ,
        (
            Parameter("digest", "digest"),
            Parameter("offset", "count", 0),
            Parameter("limit", "count", 262_144),
        ),
        "Bytes of a blob from `offset` on, at most 262,144 at once.",
    ),
    Method(
        "fetch_rejected",
        Access.READ,
        (
            Parameter("trial", "trial?", None),
            Parameter("start", "count", 0),
            Parameter("limit", "count", 256),
        ),
        "Records that were quarantined because they can never be stored, oldest first.",
    ),
    Method(
        "delete_trial",
        Access.WRITE,
        (_TRIAL, Parameter("force", "bool", False)),
        "Delete a trial with all that belongs to it; whether there was one.",
        answers="bool",
    ),
    Method("commit", Access.WRITE, (), "Make everything logged before durable and readable on disk."),
    Method(
        "create_project",
        Access.LOG,
        (Parameter("project", "document"),),
        "Insert a project, unless it exists.",
    ),
    Method(
        "create_group", Access.LOG, (Parameter("group", "document"),), "Insert a group, unless it exists."
    ),
    Method(
        "create_trial",
        Access.LOG,
        (Parameter("trial", "document"),),
        "Insert a trial as the next revision of its hash, unless its id exists.",
    ),
    Method(
        "add_project_trial",
        Access.LOG,
        (Parameter("project", "project"), _TRIAL),
        "Put a trial into a project.",
    ),
    Method("add_group_trial", Access.LOG, (Parameter("group", "group"), _TRIAL), "Put a trial into a group."),
    Method(
        "set_group_metadata",
        Access.LOG,
        (Parameter("group", "group"), Parameter("metadata", "values")),
        "Merge values into a group's metadata.",
        updates="group",
    ),
    Method(
        "log_trial_start",
        Access.LOG,
        (_TRIAL, Parameter("time", "time"), _RANK),
        "The trial runs from this moment; a rank above 0 joins it and leaves its status alone.",
        updates="trial",
    ),
    Method(
        "log_trial_finish",
        Access.LOG,
        (
            _TRIAL,
            Parameter("time", "time"),
            Parameter("status", "status"),
            Parameter("error", "error?", None),
            _RANK,
        ),
        "The trial ended at this moment, in this status; of a rank above 0 only the error is stored.",
        updates="trial",
    ),
    Method(
        "log_trial_arguments",
        Access.LOG,
        (_TRIAL, Parameter("arguments", "values")),
        "Merge values into a trial's parameters; its hash does not change.",
        updates="trial",
    ),
    Method(
        "log_trial_metadata",
        Access.LOG,
        (_TRIAL, Parameter("metadata", "values"), Parameter("aggregator", "aggregator?", None)),
        "Merge values into a trial's metadata; a series aggregator appends them to lists.",
        updates="trial",
    ),
    Method(
        "log_trial_dropped_points",
        Access.LOG,
        (_TRIAL, Parameter("points", "count"), Parameter("reason", "text")),
        "Add points that will never be stored to the trial's metadata `dropped_points`.",
    ),
    Method(
        "put_blob",
        Access.LOG,
        (
            Parameter("digest", "digest"),
            Parameter("size", "count"),
            Parameter("offset", "count"),
            Parameter("data", "bytes"),
        ),
        "Store the bytes from `offset` on of a blob of `size` bytes; it is complete when it has all of them.",
    ),
    Method(
        "log_trial_media",
        Access.LOG,
        (
            _TRIAL,
            Parameter("kind", "media"),
            Parameter("name", "text"),
            Parameter("step", "any"),
            Parameter("time", "time"),
            Parameter("value", "map"),
        ),
        "Append a histogram, image, text, graph or file to a series of its kind.",
    ),
    Method(
        "add_trial_tags",
        Access.LOG,
        (_TRIAL, Parameter("tags", "values")),
        "Merge values into a trial's tags.",
        updates="trial",
    ),
    Method(
        "set_trial_status",
        Access.LOG,
        (_TRIAL, Parameter("status", "status"), Parameter("error", "error?", None)),
        "Change a trial's status; `error` is added to its errors.",
        updates="trial",
    ),
    Method(
        "rewind_trial",
        Access.LOG,
        (_TRIAL, Parameter("step", "number"), Parameter("time", "time")),
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
