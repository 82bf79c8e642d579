"""The storage contract over an outbox: the client's side of every store that speaks the protocol."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Unpack
from weakref import finalize

from track.connection.offline import Offline
from track.media.protocol import OutboxMedia, key_of
from track.outbox import Creation, Outbox
from track.persistence.calls import item_may_be_named, wire_arguments
from track.persistence.pending import GROUP, PROJECT, TRIAL, Creations
from track.persistence.protocol import LATEST, TIMINGS, MakeAggregator, MetricWriter, Page, Protocol
from track.persistence.series import PAGE, Series, SeriesMapping, fetch_series
from track.serialization import to_json
from track_protocol.errors import BadArguments, BadValue, ItemNotFound
from track_protocol.model.aggregators import spec_of
from track_protocol.model.documents import (
    Document,
    group_from_document,
    group_to_document,
    project_from_document,
    project_to_document,
    trial_from_document,
    trial_to_document,
)
from track_protocol.model.entities import CustomStatus, Project, Status, Trial, TrialGroup, new_id
from track_protocol.model.rejected import Rejected, rejected_from_document
from track_protocol.model.seriesname import SeriesName, labelled
from track_protocol.model.values import normalise
from track_protocol.query.parse import Kind, normalise_query
from track_protocol.wire.batch import CHRONO, METRIC

__all__ = ["OutboxProtocol", "write_json"]


_ALWAYS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "project": ("uid",),
    "group": ("uid",),
    "trial": ("id", "uid", "hash", "revision", "status"),
}
"""Fields without which there is no object."""

_EMPTY: Final[Mapping[Kind, Document]] = {
    "project": project_to_document(Project(_uid="")),
    "group": group_to_document(TrialGroup(_uid="")),
    "trial": trial_to_document(Trial(_hash="")),
}
"""What fields hold that were not asked for."""


class OutboxProtocol(OutboxMedia):
    """Every documented call, through an outbox: log calls return at once, the others wait for an answer.

    Args:
        uri: of the store.
        outbox: what carries the calls.
        offline: what to do while the store is away; None for one in this process, which never is.
    """

    def __init__(self, uri: str, outbox: Outbox, offline: Offline | None = None) -> None:
        super().__init__(uri, outbox)
        self._creations = Creations(outbox, offline)
        self._timers: dict[tuple[bytes, str, int], list[_Timer]] = {}
        # A client that is dropped rather than closed must not hold a thread and a connection for ever.
        finalize(self, outbox.close_when_drained).atexit = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process gets a connection of its own.
        return _reopened, (self.uri, dict(self.outbox.unconfirmed))

    # -- projects, groups and trials -------------------------------------------------------------

    def new_project(self, project: Project) -> Project:
        """See `Protocol.new_project`."""
        document = _plain(project_to_document(project))
        return project_from_document(self._creations.create(PROJECT, document))

    def get_project(self, project: Project) -> Project | None:
        """See `Protocol.get_project`."""
        found = self._ask("get_project", project={"uid": project.uid})
        return None if found is None else project_from_document(found)

    def new_trial_group(self, group: TrialGroup) -> TrialGroup:
        """See `Protocol.new_trial_group`."""
        document = _plain(group_to_document(group))
        return group_from_document(self._creations.create(GROUP, document))

    def get_trial_group(self, group: TrialGroup) -> TrialGroup | None:
        """See `Protocol.get_trial_group`."""
        found = self._ask("get_trial_group", group={"uid": group.uid})
        return None if found is None else group_from_document(found)

    def new_trial(self, trial: Trial, auto_increment: bool = False) -> Trial | None:
        """See `Protocol.new_trial`."""
        document = _plain(trial_to_document(trial)) | {"id": new_id()}
        if auto_increment:
            found = self._creations.create(TRIAL, document)
        else:
            found = self._ask("new_trial", trial=document, auto_increment=False)
        if found is None:
            return None
        stored = self._trial(found)
        trial.id, trial.revision = stored.id, stored.revision
        self._creations.expect(trial, stored)
        return stored

    def adopt_trial(self, trial: Trial) -> Trial | None:
        """See `Protocol.adopt_trial`: the id is kept, and the revision unless it is taken here."""
        document = _plain(trial_to_document(trial)) | {"id": trial.id or new_id()}
        stored = self._trial(self._creations.create(TRIAL, document))
        self._creations.expect(stored)
        return stored

    def get_trial(self, trial: Trial) -> list[Trial]:
        """See `Protocol.get_trial`."""
        definition = {"uid": trial.uid} if trial.id is None else {"id": trial.id}
        return self._stored_trials(self._ask("get_trial", trial=definition))

    def current_trial(self, trial: Trial) -> Trial | None:
        """See `Protocol.current_trial`."""
        if trial.id is None or not self._creations.may_go_on_alone:
            return super().current_trial(trial)
        found = self._creations.ask_for(trial)
        return found if isinstance(found, Trial) else next(iter(self._stored_trials(found)), None)

    def put_trial(self, trial: Trial) -> None:
        """See `Protocol.put_trial`."""
        self._creations.put(TRIAL, _plain(trial_to_document(trial)))

    def add_project_trial(self, project: Project, trial: Trial) -> None:
        """See `Protocol.add_project_trial`."""
        self.outbox.log("add_project_trial", {"project": project.uid, "trial": key_of(trial)})

    def add_group_trial(self, group: TrialGroup, trial: Trial) -> None:
        """See `Protocol.add_group_trial`."""
        self.outbox.log("add_group_trial", {"group": group.uid, "trial": key_of(trial)})

    def delete_trial(self, trial: Trial, force: bool = False) -> bool:
        """See `Protocol.delete_trial`."""
        return bool(self._ask("delete_trial", trial=key_of(trial), force=force))

    # -- queries ---------------------------------------------------------------------------------

    def fetch_projects(self, query: Mapping[str, Any], **page: Unpack[Page]) -> list[Project]:
        """See `Protocol.fetch_projects`."""
        return [project_from_document(each) for each in self._fetch("project", query, page)]

    def fetch_groups(self, query: Mapping[str, Any], **page: Unpack[Page]) -> list[TrialGroup]:
        """See `Protocol.fetch_groups`."""
        return [group_from_document(each) for each in self._fetch("group", query, page)]

    def fetch_trials(self, query: Mapping[str, Any], **page: Unpack[Page]) -> list[Trial]:
        """See `Protocol.fetch_trials`; series are fetched when they are first read."""
        return [self._trial(each) for each in self._fetch("trial", query, page)]

    def fetch_and_update_trial(
        self, query: Mapping[str, Any], attr: str, *args: Any, **kwargs: Any
    ) -> Trial | None:
        """See `Protocol.fetch_and_update_trial`."""
        found = self._update("trial", query, attr, args, kwargs)
        return None if found is None else self._trial(found)

    def fetch_and_update_group(
        self, query: Mapping[str, Any], attr: str, *args: Any, **kwargs: Any
    ) -> TrialGroup | None:
        """See `Protocol.fetch_and_update_group`."""
        found = self._update("group", query, attr, args, kwargs)
        return None if found is None else group_from_document(found)

    def fetch_metrics(
        self, trial: Trial, name: str, kind: str = METRIC, context: Mapping[str, Any] | None = None
    ) -> Series:
        """See `Protocol.fetch_metrics`."""
        return fetch_series(self._pages(key_of(trial)), SeriesName(name, context).text, kind)

    def fetch_rejected(self, trial: Trial | None = None) -> list[Rejected]:
        """See `Protocol.fetch_rejected`."""
        found: list[Rejected] = []
        key = None if trial is None else key_of(trial)
        while page := self._ask("fetch_rejected", trial=key, start=len(found)):
            found += map(rejected_from_document, page)
        return found

    # -- what happens in a trial -----------------------------------------------------------------

    def log_trial_start(self, trial: Trial, rank: int | None = None) -> None:
        """See `Protocol.log_trial_start`."""
        self._log_trial("log_trial_start", trial, rank)

    def log_trial_finish(
        self,
        trial: Trial,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
        rank: int | None = None,
    ) -> None:
        """See `Protocol.log_trial_finish`."""
        self._log_trial("log_trial_finish", trial, exc_type, exc_val, exc_tb, rank)

    @item_may_be_named("trial")
    def log_trial_arguments(self, trial: Trial, /, **kwargs: Any) -> None:
        """See `Protocol.log_trial_arguments`."""
        self._log_trial("log_trial_arguments", trial, **kwargs)

    @item_may_be_named("trial")
    def log_trial_metadata(
        self, trial: Trial, /, aggregator: MakeAggregator | None = LATEST, **kwargs: Any
    ) -> None:
        """See `Protocol.log_trial_metadata`."""
        self._log_trial("log_trial_metadata", trial, aggregator, **kwargs)

    @item_may_be_named("trial")
    def log_trial_metrics(
        self,
        trial: Trial,
        /,
        step: Any = None,
        aggregator: MakeAggregator | None = None,
        *,
        context: Any = None,
        **kwargs: Any,
    ) -> None:
        """See `Protocol.log_trial_metrics`."""
        values = self._in_context(trial, context, kwargs)
        try:
            spec = self._spec(aggregator)
        except BadArguments as error:
            # How a series reads back is no reason to lose its points, and none to end the training.
            self.outbox.drops.warn(str(error))
            spec = None
        self.outbox.writer(self._id(trial), METRIC, spec)(step, values)

    def log_trial_chrono_start(
        self,
        trial: Trial,
        name: str,
        aggregator: MakeAggregator | None = TIMINGS,
        start_callback: Callable[[], Any] | None = None,
        end_callback: Callable[[], Any] | None = None,
    ) -> None:
        """See `Protocol.log_trial_chrono_start`; each thread has timers of its own, which may nest.

        What one thread has started another may stop, as a trial's runtime, while it is the only one.
        """
        if start_callback is not None:
            start_callback()
        timers = self._timers.setdefault((self._id(trial), name, threading.get_ident()), [])
        timers.append(_Timer(self._spec(aggregator), end_callback, time.perf_counter()))

    def log_trial_chrono_finish(
        self,
        trial: Trial,
        name: str,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """See `Protocol.log_trial_chrono_finish`."""
        key = self._running(self._id(trial), name)
        timers = self._timers.get(key, [])
        try:
            timer = timers.pop()
        except IndexError:
            self.outbox.drops.drop(1, f"chrono {name!r} was stopped without being started", key[0])
            return
        if not timers:
            self._timers.pop(key, None)
        if timer.end_callback is not None:
            timer.end_callback()
        elapsed = time.perf_counter() - timer.started
        if exc_type is None:
            self.outbox.writer(key[0], CHRONO, timer.spec)(None, {name: elapsed})

    def _running(self, trial: bytes, name: str) -> tuple[bytes, str, int]:
        """The timer that this thread has started, or else the only one of that name that another has."""
        mine = (trial, name, threading.get_ident())
        if mine in self._timers:
            return mine
        others = [key for key in list(self._timers) if key[:2] == mine[:2]]
        return others[0] if len(others) == 1 else mine

    def log_trial_points(
        self, trial: Trial, name: str, points: Iterable[tuple[Any, float, Any]], kind: str = METRIC
    ) -> None:
        """See `Protocol.log_trial_points`."""
        self.outbox.log_points(self._id(trial), kind, name, points)

    def log_trial_losses(self, trial: Trial, points: int, reason: str) -> None:
        """See `Protocol.log_trial_losses`."""
        self.outbox.log("log_trial_losses", {"trial": key_of(trial), "points": points, "reason": reason})

    @item_may_be_named("trial")
    def add_trial_tags(self, trial: Trial, /, **kwargs: Any) -> None:
        """See `Protocol.add_trial_tags`."""
        self._log_trial("add_trial_tags", trial, **kwargs)

    def set_trial_status(self, trial: Trial, status: Status | CustomStatus, error: str | None = None) -> None:
        """See `Protocol.set_trial_status`."""
        self._log_trial("set_trial_status", trial, status, error)

    def rewind_trial(self, trial: Trial, step: float) -> None:
        """See `Protocol.rewind_trial`."""
        self._log_trial("rewind_trial", trial, step)

    @item_may_be_named("group")
    def set_group_metadata(self, group: TrialGroup, /, **kwargs: Any) -> None:
        """See `Protocol.set_group_metadata`."""
        arguments = wire_arguments("group", "set_group_metadata", (), kwargs, self._complain)
        self.outbox.log("set_group_metadata", {"group": group.uid, **arguments})

    # -- durability ------------------------------------------------------------------------------

    @property
    def is_away(self) -> bool:
        """See `Protocol.is_away`."""
        return self._creations.may_go_on_alone and self.outbox.is_known_unreachable

    @property
    def unkept(self) -> int:
        """See `Protocol.unkept`."""
        return self.outbox.dropped + self.outbox.rejected

    def commit(self, **kwargs: Any) -> None:
        """Make everything logged before durable, and readable where the store is a file for people.

        Args:
            kwargs: ``file_name_override``: also write everything in the store to that JSON file.
        """
        path = kwargs.pop("file_name_override", None)
        if kwargs:
            raise BadArguments(f"commit takes file_name_override only, not {', '.join(kwargs)}")
        self.flush()
        self._ask("commit")
        if path is not None:
            write_json(Path(path), self._everything())

    def flush(self, timeout: float | None = None) -> None:
        """See `Protocol.flush`."""
        unsettled = self._creations.unsettled
        self.outbox.flush(timeout)
        self._creations.settle(unsettled, timeout)

    def secure(self, timeout: float | None = None) -> None:
        """See `Protocol.secure`."""
        unsettled = self._creations.unsettled
        self.outbox.persist(timeout)
        if not self.outbox.waiting:
            self._creations.settle(unsettled, timeout)

    def close(self) -> None:
        """Secure what was logged and release the connection; a later call opens it again."""
        try:
            self.secure()
        finally:
            self.outbox.release()

    def metric_writer(self, trial: Trial) -> MetricWriter:
        """See `Protocol.metric_writer`: straight into the outbox."""
        return self.outbox.writer(self._id(trial))

    # -- inside ----------------------------------------------------------------------------------

    def _fetch(self, kind: Kind, query: Mapping[str, Any], page: Page) -> list[Document]:
        options = {name: value for name, value in page.items() if value is not None}
        if "order" in options:
            options["order"] = list(page["order"] or ())
        empty: Document = {}
        if (fields := page.get("fields")) is not None:
            options["fields"] = [*fields, *_ALWAYS[kind]]
            empty = _EMPTY[kind]
        found: list[Document] = self._ask(f"fetch_{kind}s", query=normalise_query(query), **options)
        return [{**deepcopy(empty), **document} for document in found]

    def _update(
        self, kind: str, query: Mapping[str, Any], attr: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        update = {"method": attr, "arguments": wire_arguments(kind, attr, args, kwargs)}
        return self._ask(f"fetch_and_update_{kind}", query=normalise_query(query), update=update)

    def _log_trial(self, method: str, trial: Trial, /, *args: Any, **kwargs: Any) -> None:
        arguments = wire_arguments("trial", method, args, kwargs, self._complain)
        self.outbox.log(method, {"trial": key_of(trial), **arguments})

    def _complain(self, error: BadValue) -> None:
        self.outbox.drops.drop(1, str(error))

    def _in_context(self, trial: Trial, context: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values by the texts of their series; none, and a warning, when the context is wrong."""
        try:
            return labelled(values, context)
        except BadValue as error:
            self.outbox.drops.drop(len(values), str(error), key_of(trial))
            return {}

    def _spec(self, aggregator: MakeAggregator | None) -> list[Any] | None:
        return None if aggregator is None else spec_of(aggregator)

    def _id(self, trial: Trial) -> bytes:
        if trial.id is None:
            found = self.get_trial(trial)
            if not found:
                raise ItemNotFound(f"no trial has the uid {trial.uid!r}: create it with new_trial first")
            trial.id = found[0].id
        assert trial.id is not None
        return trial.id

    def _trial(self, document: Document) -> Trial:
        pages = self._pages(document["id"])
        return trial_from_document(
            document,
            metrics=SeriesMapping(METRIC, document["metrics"], pages),
            chronos=SeriesMapping(CHRONO, document["chronos"], pages),
        )

    def _stored_trials(self, documents: Iterable[Document]) -> list[Trial]:
        """Trials as they are stored, which settles what this process knew of them."""
        found = list(documents)
        self._creations.settle_trials(found)
        return [self._trial(document) for document in found]

    def _pages(self, trial: bytes | str) -> Callable[[str, str, int, int], Mapping[str, Any]]:
        def page(name: str, kind: str, start: int, limit: int) -> Mapping[str, Any]:
            found: Mapping[str, Any] = self._ask(
                "fetch_metrics", trial=trial, name=name, kind=kind, start=start, limit=min(limit, PAGE)
            )
            return found

        return page

    def _everything(self) -> dict[str, Any]:
        return {
            "projects": [to_json(each) for each in self.fetch_projects({})],
            "groups": [to_json(each) for each in self.fetch_groups({})],
            "trials": [to_json(each) for each in self.fetch_trials({})],
        }


class _Timer:
    """A running timer."""

    __slots__ = ("end_callback", "spec", "started")

    def __init__(
        self, spec: list[Any] | None, end_callback: Callable[[], Any] | None, started: float
    ) -> None:
        self.spec = spec
        self.end_callback = end_callback
        self.started = started


def _reopened(uri: str, unconfirmed: Mapping[bytes | str, Creation]) -> Protocol:
    """The store again in another process, whose records may arrive before those that create its trials."""
    from track.persistence import get_protocol

    protocol = get_protocol(uri)
    if isinstance(protocol, OutboxProtocol):
        protocol.outbox.inherit(unconfirmed)
    return protocol


def _plain(document: Document) -> Document:
    plain: Document = normalise(document, "document")
    return plain


def write_json(path: Path, content: Any) -> None:
    """Replace a file as a whole: a reader finds the old one or the new one."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
