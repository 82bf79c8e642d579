"""The null store: it holds definitions in memory and drops logged values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from track.persistence.calls import as_status, given_to, update_named, wire_arguments
from track.persistence.protocol import Conditions, MetricWriter, Protocol, matched
from track_protocol.errors import ItemNotFound
from track_protocol.model.documents import group_to_document, project_to_document, trial_to_document
from track_protocol.model.entities import Project, Status, Trial, TrialGroup, new_id
from track_protocol.model.rejected import Rejected
from track_protocol.query.columns import Column, check_size, parse_columns, parse_table_order
from track_protocol.query.order import parse_fields, parse_order
from track_protocol.query.parse import Kind, matches, parse_query
from track_protocol.query.tables import FieldSummaries, cell, group_rows, in_order, series_summary
from track_protocol.wire.methods import METHODS

__all__ = ["NullProtocol"]

T = TypeVar("T", Project, TrialGroup, Trial)

_DOCUMENTS: Mapping[str, Any] = {
    "group": group_to_document,
    "project": project_to_document,
    "trial": trial_to_document,
}

_FIELDS: Final = {"arguments": "parameters", "metadata": "metadata", "tags": "tags"}
"""The field of an item into which named values are merged, by the parameter that holds them."""

_TEXTS: Final = ("name", "description")


class NullProtocol(Protocol):
    """Lets a script run as if it were tracked; points and timings are swallowed.

    Args:
        uri: ``none:``.
    """

    def __init__(self, uri: str = "none:") -> None:
        super().__init__(uri)
        self._projects: dict[str, Project] = {}
        self._groups: dict[str, TrialGroup] = {}
        self._trials: dict[str, Trial] = {}

    def _call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Changes of an item are made in memory; everything else is swallowed."""
        declared = METHODS.get(method)
        if declared is not None and declared.updates is not None:
            given = given_to(declared, args, kwargs)
            if not given.get("rank"):
                self._change(given.pop(declared.updates), method, given)

    def _change(self, item: Any, method: str, given: Mapping[str, Any]) -> None:
        for field in _FIELDS.keys() & given.keys():
            getattr(item, _FIELDS[field]).update(given[field])
        for field in _TEXTS:
            if method == "rename_trial" and given[field] is not None:
                setattr(item, field, given[field] or None)
        for name in given["names"] if method == "remove_trial_tags" else ():
            item.tags.pop(name, None)
        if method == "log_trial_start":
            item.status = Status.Running
        elif "status" in given:
            item.status = as_status(given["status"])
        if given.get("error") is not None:
            item.errors.append(given["error"])

    def new_project(self, project: Project) -> Project:
        """See `Protocol.new_project`."""
        return self._projects.setdefault(project.uid, project)

    def get_project(self, project: Project) -> Project | None:
        """See `Protocol.get_project`."""
        return self._projects.get(project.uid)

    def new_trial_group(self, group: TrialGroup) -> TrialGroup | None:
        """See `Protocol.new_trial_group`."""
        if group.uid in self._groups:
            return None
        self._groups[group.uid] = group
        return group

    def get_trial_group(self, group: TrialGroup) -> TrialGroup | None:
        """See `Protocol.get_trial_group`."""
        return self._groups.get(group.uid)

    def new_trial(self, trial: Trial, auto_increment: bool = False) -> Trial | None:
        """See `Protocol.new_trial`."""
        while trial.uid in self._trials:
            if not auto_increment:
                return None
            trial.revision += 1
        trial.id = new_id()
        self._trials[trial.uid] = trial
        return trial

    def get_trial(self, trial: Trial) -> list[Trial] | None:
        """See `Protocol.get_trial`."""
        if trial.revision or trial.id is not None:
            found = self._trials.get(trial.uid)
            return None if found is None else [found]
        return [each for each in self._trials.values() if each.hash == trial.hash] or None

    def put_trial(self, trial: Trial) -> None:
        """See `Protocol.put_trial`."""
        if all(known.id != trial.id for known in self._trials.values()):
            self._trials[trial.uid] = trial

    def add_project_trial(self, project: Project, trial: Trial) -> None:
        """See `Protocol.add_project_trial`."""
        trial.project_id = project.uid

    def add_group_trial(self, group: TrialGroup, trial: Trial) -> None:
        """See `Protocol.add_group_trial`."""
        trial.group_id = group.uid

    def delete_trial(self, trial: Trial, force: bool = False) -> bool:
        """See `Protocol.delete_trial`."""
        return self._trials.pop(trial.uid, None) is not None

    def fetch_projects(self, query: Conditions = None, **page: Any) -> list[Project]:
        """See `Protocol.fetch_projects`."""
        return _matching("project", self._projects.values(), query, **page)

    def fetch_groups(self, query: Conditions = None, **page: Any) -> list[TrialGroup]:
        """See `Protocol.fetch_groups`."""
        return _matching("group", self._groups.values(), query, **page)

    def fetch_trials(self, query: Conditions = None, **page: Any) -> list[Trial]:
        """See `Protocol.fetch_trials`."""
        return _matching("trial", self._trials.values(), query, **page)

    def fetch_table(
        self,
        query: Conditions = None,
        columns: Sequence[str] = ("uid",),
        order: Sequence[str] | None = None,
        start: int = 0,
        limit: int = 100,
    ) -> dict[str, Any]:
        """See `Protocol.fetch_table`."""
        wanted = parse_columns(columns)
        check_size(limit, len(wanted), "limit")
        found = self._documents(query)
        positions = in_order(found, parse_table_order(order or ()))[start : start + limit]
        return _table(len(found), [found[at] for at in positions], wanted)

    def fetch_rows(
        self, trials: Sequence[Trial | bytes], columns: Sequence[str] = ("uid",)
    ) -> dict[str, Any]:
        """See `Protocol.fetch_rows`."""
        wanted = parse_columns(columns)
        check_size(len(trials), len(wanted), "trials")
        known = {each["id"]: each for each in self._documents({})}
        ids = [each.id if isinstance(each, Trial) else each for each in trials]
        rows = [known[id] for id in ids if id in known]
        return _table(len(rows), rows, wanted)

    def fetch_fields(self, query: Conditions = None) -> dict[str, Any]:
        """See `Protocol.fetch_fields`."""
        found = self._documents(query)
        fields = FieldSummaries()
        for root in _FIELDS.values():
            fields.add(root, [each[root] for each in found])
        return {
            "total": len(found),
            "fields": fields.documents(len(found)),
            "series": series_summary(found),
            "statuses": dict(Counter(each["status"]["name"] for each in found)),
            "more": False,
        }

    def fetch_groups_of(
        self,
        query: Conditions = None,
        by: Sequence[str] = (),
        measures: Sequence[str] = (),
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """See `Protocol.fetch_groups_of`."""
        wanted = parse_columns([*by, *measures])
        rows = [[cell(each, column.paths) for column in wanted] for each in self._documents(query)]
        return group_rows(rows, len(by), limit)

    def fetch_changes(self, cursor: str | None = None, limit: int = 1000) -> dict[str, Any]:
        """Nothing is known of changes: whoever asks again has to read everything."""
        nothing: dict[str, Any] = {"trials": [], "deleted": [], "groups": [], "projects": []}
        return {"cursor": "", "known": cursor is None, "more": False, **nothing}

    def _documents(self, query: Conditions) -> list[dict[str, Any]]:
        """The trials that match, with the names of their projects and groups."""
        found = []
        for trial in self.fetch_trials(query):
            document = {"created": None, **trial_to_document(trial)}
            for field, items in (("project", self._projects), ("group", self._groups)):
                uid = document[f"{field}_id"]
                known = items.get(uid)
                document[field] = uid if known is None or known.name is None else known.name
            found.append(document)
        return found

    def set_project_metadata(self, project: Project, /, **kwargs: Any) -> None:
        """See `Protocol.set_project_metadata`."""
        self._projects.get(project.uid, project).metadata.update(kwargs)

    def fetch_and_update_trial(self, query: Conditions, attr: str, *args: Any, **kwargs: Any) -> Trial:
        """See `Protocol.fetch_and_update_trial`."""
        update_named(attr, "trial")
        trial = matched("trial", query, next(iter(self.fetch_trials(query)), None))
        getattr(self, attr)(trial, *args, **kwargs)
        return trial

    def fetch_and_update_group(self, query: Conditions, attr: str, *args: Any, **kwargs: Any) -> TrialGroup:
        """See `Protocol.fetch_and_update_group`."""
        update_named(attr, "group")
        group = matched("group", query, next(iter(self.fetch_groups(query)), None))
        getattr(self, attr)(group, *args, **kwargs)
        return group

    def fetch_metrics(self, trial: Trial | str, name: str, kind: str = "metric", context: Any = None) -> Any:
        """Always fails: nothing is stored."""
        raise ItemNotFound(
            f"no {kind} is stored by {self.uri}: give TrackClient a store, as in file:runs.json"
        )

    def fetch_columns(self, series: Any, *_args: Any, **_kwargs: Any) -> list[dict[str, Any] | None]:
        """No series exists: nothing is stored."""
        return [None] * len(series)

    def fetch_grouped_columns(self, *_args: Any, **_kwargs: Any) -> list[dict[str, Any]]:
        """No group exists: nothing is stored."""
        return []

    def fetch_tails(self, tails: Any, limit: int = 0) -> list[dict[str, Any] | None]:
        """No series exists: nothing is stored."""
        return [None] * len(tails)

    def fetch_media(self, trial: Trial, kind: str, name: str | None = None, context: Any = None) -> Any:
        """Fails for a name, and finds no names: nothing is stored."""
        return {} if name is None else self.fetch_metrics(trial, name, kind)

    def fetch_blob(self, digest: str) -> Iterator[bytes]:
        """Always fails: nothing is stored."""
        raise ItemNotFound(f"no blob is stored by {self.uri}: give TrackClient a store, as in file:runs.json")

    def fetch_rejected(self, trial: Trial | None = None) -> list[Rejected]:
        """Nothing is rejected."""
        return []

    def rewind_trial(self, trial: Trial, step: float) -> None:
        """Checks the step only: there are no points."""
        wire_arguments(METHODS["rewind_trial"], (trial, step), {})

    def metric_writer(self, trial: Trial) -> MetricWriter:
        """Swallows them."""
        return lambda step, metrics: None


def _table(total: int, documents: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> dict[str, Any]:
    return {
        "total": total,
        "ids": [each["id"] for each in documents],
        "columns": [[cell(each, column.paths) for each in documents] for column in columns],
    }


def _matching(
    kind: Kind,
    items: Iterable[T],
    query: Conditions,
    *,
    start: int = 0,
    limit: int | None = None,
    order: Sequence[str] | None = None,
    fields: Sequence[str] | None = None,
) -> list[T]:
    parsed = parse_query(query, kind)
    parse_fields(fields, kind)
    pairs = [(item, _DOCUMENTS[kind](item)) for item in items]
    found = [(item, document) for item, document in pairs if matches(document, parsed)]
    positions = in_order([document for _, document in found], parse_order(order or (), kind))
    return [found[at][0] for at in positions[start : None if limit is None else start + limit]]
