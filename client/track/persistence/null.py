"""The null store: it holds definitions in memory and drops logged values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from track.persistence.calls import as_status, given_to, update_named, wire_arguments
from track.persistence.protocol import Conditions, MetricWriter, Protocol, matched
from track_protocol.errors import ItemNotFound
from track_protocol.model.documents import group_to_document, project_to_document, trial_to_document
from track_protocol.model.entities import Project, Status, Trial, TrialGroup, new_id
from track_protocol.model.rejected import Rejected
from track_protocol.query.order import CREATED, Order, parse_fields, parse_order
from track_protocol.query.parse import Kind, matches, parse_query
from track_protocol.query.tree import MISSING, reached
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
    positions = _in_order([document for _, document in found], parse_order(order or (), kind))
    return [found[at][0] for at in positions[start : None if limit is None else start + limit]]


def _in_order(documents: Sequence[Mapping[str, Any]], order: Sequence[Order]) -> list[int]:
    """The positions of documents, given in the order of their making, in another order."""
    positions = list(range(len(documents)))
    for each in reversed(order):
        if each.paths == (CREATED,):
            positions.sort(reverse=each.descending)
            continue
        ranks: tuple[list[tuple[Any, int]], ...] = ([], [], [], [])
        for position in positions:
            found = (reached(documents[position], path) for path in each.paths)
            value = next((each for each in found if each is not MISSING and each is not None), None)
            ranks[_rank(value)].append((value if _rank(value) == 0 else str(value), position))
        for pairs in ranks[::2]:
            pairs.sort(key=lambda pair: pair[0], reverse=each.descending)
        positions = [position for pairs in ranks for _, position in pairs]
    return positions


def _rank(value: Any) -> int:
    if value is None:
        return 3
    if not isinstance(value, (int, float)):
        return 2
    return 0 if value == value else 1
