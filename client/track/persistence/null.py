"""The store that is none: definitions live in memory, logged values nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar, Unpack

from track.persistence.calls import as_status, end_of, item_may_be_named, wire_arguments
from track.persistence.protocol import MetricWriter, Page, Protocol
from track_protocol.errors import ItemNotFound
from track_protocol.model.documents import group_to_document, project_to_document, trial_to_document
from track_protocol.model.entities import CustomStatus, Project, Status, Trial, TrialGroup, new_id
from track_protocol.model.rejected import Rejected
from track_protocol.query.order import in_order, parse_fields, parse_order
from track_protocol.query.parse import Kind, matches, parse_query

__all__ = ["NullProtocol"]

T = TypeVar("T", Project, TrialGroup, Trial)

_DOCUMENTS: Mapping[str, Any] = {
    "group": group_to_document,
    "project": project_to_document,
    "trial": trial_to_document,
}


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

    def new_project(self, project: Project) -> Project:
        """See `Protocol.new_project`."""
        return self._projects.setdefault(project.uid, project)

    def get_project(self, project: Project) -> Project | None:
        """See `Protocol.get_project`."""
        return self._projects.get(project.uid)

    def new_trial_group(self, group: TrialGroup) -> TrialGroup:
        """See `Protocol.new_trial_group`."""
        return self._groups.setdefault(group.uid, group)

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

    def get_trial(self, trial: Trial) -> list[Trial]:
        """See `Protocol.get_trial`."""
        found = self._trials.get(trial.uid)
        return [] if found is None else [found]

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

    def fetch_projects(self, query: Mapping[str, Any], **page: Unpack[Page]) -> list[Project]:
        """See `Protocol.fetch_projects`."""
        return _matching("project", self._projects.values(), query, page)

    def fetch_groups(self, query: Mapping[str, Any], **page: Unpack[Page]) -> list[TrialGroup]:
        """See `Protocol.fetch_groups`."""
        return _matching("group", self._groups.values(), query, page)

    def fetch_trials(self, query: Mapping[str, Any], **page: Unpack[Page]) -> list[Trial]:
        """See `Protocol.fetch_trials`."""
        return _matching("trial", self._trials.values(), query, page)

    def fetch_and_update_trial(
        self, query: Mapping[str, Any], attr: str, *args: Any, **kwargs: Any
    ) -> Trial | None:
        """See `Protocol.fetch_and_update_trial`."""
        wire_arguments("trial", attr, args, kwargs)
        for trial in self.fetch_trials(query)[:1]:
            getattr(self, attr)(trial, *args, **kwargs)
            return trial
        return None

    def fetch_and_update_group(
        self, query: Mapping[str, Any], attr: str, *args: Any, **kwargs: Any
    ) -> TrialGroup | None:
        """See `Protocol.fetch_and_update_group`."""
        wire_arguments("group", attr, args, kwargs)
        for group in self.fetch_groups(query)[:1]:
            getattr(self, attr)(group, *args, **kwargs)
            return group
        return None

    def fetch_metrics(self, trial: Trial, name: str, kind: str = "metric", context: Any = None) -> Any:
        """Always fails: nothing is kept."""
        raise ItemNotFound(f"no {kind} is kept by {self.uri}: give TrackClient a store, as in file:runs.json")

    def fetch_media(self, trial: Trial, kind: str, name: str | None = None, context: Any = None) -> Any:
        """Fails for a name, and finds no names: nothing is kept."""
        return {} if name is None else self.fetch_metrics(trial, name, kind)

    def fetch_blob(self, digest: str) -> Iterator[bytes]:
        """Always fails: nothing is kept."""
        raise ItemNotFound(f"no blob is kept by {self.uri}: give TrackClient a store, as in file:runs.json")

    def fetch_rejected(self, trial: Trial | None = None) -> list[Rejected]:
        """Nothing is rejected."""
        return []

    def log_trial_start(self, trial: Trial, rank: int | None = None) -> None:
        """See `Protocol.log_trial_start`."""
        if not rank:
            trial.status = Status.Running

    def log_trial_finish(
        self,
        trial: Trial,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
        rank: int | None = None,
    ) -> None:
        """See `Protocol.log_trial_finish`."""
        if not rank:
            status, error = end_of(exc_type, exc_val, exc_tb)
            self.set_trial_status(trial, status, error)

    @item_may_be_named("trial")
    def log_trial_arguments(self, trial: Trial, /, **kwargs: Any) -> None:
        """See `Protocol.log_trial_arguments`."""
        trial.parameters.update(kwargs)

    @item_may_be_named("trial")
    def log_trial_metadata(self, trial: Trial, /, aggregator: Any = None, **kwargs: Any) -> None:
        """See `Protocol.log_trial_metadata`; the latest value is kept."""
        trial.metadata.update(kwargs)

    @item_may_be_named("trial")
    def log_trial_metrics(
        self, trial: Trial, /, step: Any = None, aggregator: Any = None, *, context: Any = None, **kwargs: Any
    ) -> None:
        """Swallows them."""

    def log_trial_media(
        self,
        trial: Trial,
        kind: str,
        name: str,
        value: Any,
        step: Any = None,
        context: Any = None,
        *,
        at: float | None = None,
        **options: Any,
    ) -> None:
        """Swallows them."""

    def log_trial_chrono_start(
        self,
        trial: Trial,
        name: str,
        aggregator: Any = None,
        start_callback: Any = None,
        end_callback: Any = None,
    ) -> None:
        """Measures nothing."""

    def log_trial_chrono_finish(
        self, trial: Trial, name: str, exc_type: Any = None, exc_val: Any = None, exc_tb: Any = None
    ) -> None:
        """Measures nothing."""

    def log_trial_points(
        self, trial: Trial, name: str, points: Iterable[tuple[Any, float, Any]], kind: str = "metric"
    ) -> None:
        """Swallows them."""

    def log_trial_losses(self, trial: Trial, points: int, reason: str) -> None:
        """Counts nothing: all of it is swallowed."""

    @item_may_be_named("trial")
    def add_trial_tags(self, trial: Trial, /, **kwargs: Any) -> None:
        """See `Protocol.add_trial_tags`."""
        trial.tags.update(kwargs)

    def set_trial_status(self, trial: Trial, status: Status | CustomStatus, error: str | None = None) -> None:
        """See `Protocol.set_trial_status`."""
        trial.status = as_status(status)
        if error is not None:
            trial.errors.append(error)

    def rewind_trial(self, trial: Trial, step: float) -> None:
        """There are no points to supersede."""
        wire_arguments("trial", "rewind_trial", (step,), {})

    @item_may_be_named("group")
    def set_group_metadata(self, group: TrialGroup, /, **kwargs: Any) -> None:
        """See `Protocol.set_group_metadata`."""
        group.metadata.update(kwargs)

    def commit(self, **kwargs: Any) -> None:
        """There is nothing to make durable."""

    def metric_writer(self, trial: Trial) -> MetricWriter:
        """Swallows them."""
        return lambda step, metrics: None


def _matching(kind: Kind, items: Iterable[T], query: Mapping[str, Any], page: Page) -> list[T]:
    parsed = parse_query(query, kind)
    parse_fields(page.get("fields"), kind)
    pairs = [(item, _DOCUMENTS[kind](item)) for item in items]
    found = [(item, document) for item, document in pairs if matches(document, parsed)]
    order = in_order([document for _, document in found], parse_order(page.get("order") or (), kind))
    start, limit = page.get("start", 0), page.get("limit")
    return [found[at][0] for at in order[start : None if limit is None else start + limit]]
