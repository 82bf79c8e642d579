"""The storage contract over an outbox: the client's side of every store that implements the protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from weakref import finalize

from track.connection.handover import handed_over, taken_over
from track.connection.offline import Offline
from track.media import media_of
from track.media.blobs import BlobSender
from track.media.reading import MediaSeries
from track.outbox import Creation, Outbox
from track.outbox.records import plain_step
from track.persistence.calls import Complain, key_of, wire_arguments
from track.persistence.lookup import find_trial
from track.persistence.parts import parts_of_call, parts_of_document, put
from track.persistence.pending import GROUP, PROJECT, TRIAL, PendingCreates
from track.persistence.protocol import (
    RUNTIME,
    TIMINGS,
    MakeAggregator,
    MetricWriter,
    Protocol,
    item_may_be_named,
)
from track.persistence.reopening import note, opened_again
from track.persistence.series import Fetch, Series, SeriesMapping, fetch_series
from track.persistence.timers import Timers
from track.process.files import replace_file
from track.serialization import to_json
from track_protocol.errors import BadArguments, BadValue, ItemNotFound
from track_protocol.model.aggregators import SumAggregator, spec_of
from track_protocol.model.documents import (
    Document,
    group_from_document,
    group_to_document,
    project_from_document,
    project_to_document,
    trial_from_document,
    trial_to_document,
)
from track_protocol.model.entities import Project, Trial, TrialGroup, new_id
from track_protocol.model.rejected import Rejected, rejected_from_document
from track_protocol.model.seriesname import SeriesName, check_series_name, labelled
from track_protocol.model.values import normalise
from track_protocol.wire.batch import CHRONO, METRIC
from track_protocol.wire.methods import METHODS, Access

__all__ = ["OutboxProtocol"]


_EMPTY: Final[Mapping[str, Document]] = {
    "project": project_to_document(Project(_uid="")),
    "group": group_to_document(TrialGroup(_uid="")),
    "trial": trial_to_document(Trial(_hash="")),
}
"""Values of fields that were not requested."""


class OutboxProtocol(Protocol):
    """Every documented call, through an outbox: log calls return at once, the others wait for an answer.

    Args:
        uri: of the store; a subclass that it alone can make is what another process gets.
        outbox: the outbox that sends the calls.
        offline: what to do while the store is unreachable; None for one in this process.
    """

    def __init__(self, uri: str, outbox: Outbox, offline: Offline | None = None) -> None:
        super().__init__(uri)
        self.outbox = outbox
        self._blobs = BlobSender(outbox.log, lambda: outbox.drops)
        self._pending = PendingCreates(outbox, offline)
        self._timers = Timers()
        self._origin = note(self)
        # A client that is dropped rather than closed must not hold a thread and a connection for ever.
        finalize(self, outbox.close_when_drained).atexit = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process gets one connection of its own, and no token.
        uri, place = handed_over(self.uri)
        return _reopened, (type(self), uri, place, self._origin, dict(self.outbox.unconfirmed))

    @property
    def _answers(self) -> Mapping[str, Callable[[Any], Any]]:
        """What answers become, by what the declaration of a method says that they hold."""
        return {
            **dict.fromkeys(("table", "fields", "rows", "changes", "columns", "points"), lambda found: found),
            "bool": bool,
            "group": lambda found: group_from_document(_whole("group", found)),
            "project": lambda found: project_from_document(_whole("project", found)),
            "trial": lambda found: self._stored_trial(_whole("trial", found)),
        }

    # -- projects, groups and trials -------------------------------------------------------------

    def new_project(self, project: Project) -> Project:
        """See `Protocol.new_project`."""
        document = _plain(project_to_document(project))
        return project_from_document(self._pending.create(PROJECT, document))

    def new_trial_group(self, group: TrialGroup) -> TrialGroup | None:
        """See `Protocol.new_trial_group`."""
        found = self._pending.create(GROUP, _plain(group_to_document(group)))
        return None if found is None else group_from_document(found)

    def new_trial(self, trial: Trial, auto_increment: bool = False) -> Trial | None:
        """See `Protocol.new_trial`."""
        document, late = parts_of_document(_plain(trial_to_document(trial)) | {"id": new_id()})
        if auto_increment:
            found = self._pending.create(TRIAL, document)
        else:
            found = self._ask("new_trial", trial=document, auto_increment=False)
        if found is None:
            return None
        self._put(document["id"], late)
        stored = self._trial({**found, **late})
        trial.id, trial.revision = stored.id, stored.revision
        self._pending.expect(trial, stored)
        self._log_given(trial)
        return stored

    def _log_given(self, trial: Trial) -> None:
        """The points that a definition brings along; a document has none."""
        for kind, given in ((METRIC, trial.metrics), (CHRONO, trial.chronos)):
            for name, values in given.items():
                if isinstance(values, Mapping) and kind == CHRONO:
                    reason = f"chrono {name}: timings cannot be made of statistics; give a list of seconds"
                    self.count_dropped(trial, 1, reason)
                    continue
                if isinstance(values, Mapping):
                    points = list(values.items())
                else:
                    several = values if isinstance(values, (list, tuple)) else [values]
                    points = [(None, value) for value in several]
                now = time.time()
                self.log_trial_points(trial, name, [(step, now, value) for step, value in points], kind)

    def adopt_trial(self, trial: Trial) -> Trial | None:
        """See `Protocol.adopt_trial`: the id is stored, and the revision unless it is taken here."""
        document, late = parts_of_document(_plain(trial_to_document(trial)) | {"id": trial.id or new_id()})
        found = self._pending.create(TRIAL, document)
        self._put(document["id"], late)
        stored = self._trial({**found, **late})
        self._pending.expect(stored)
        return stored

    def current_trial(self, trial: Trial) -> Trial | None:
        """See `Protocol.current_trial`."""
        if trial.id is None or not self._pending.may_work_offline:
            return super().current_trial(trial)
        found = self._pending.ask_for(trial)
        return found if isinstance(found, Trial) else next(map(self._stored_trial, found), None)

    def put_trial(self, trial: Trial) -> None:
        """See `Protocol.put_trial`."""
        document, late = parts_of_document(_plain(trial_to_document(trial)))
        self._pending.put(TRIAL, document)
        self._put(document["id"], late)

    def _put(self, trial: bytes, late: Mapping[str, Document]) -> None:
        for field, values in late.items():
            for call in put(trial, field, values):
                self.outbox.log(*call)

    # -- queries ---------------------------------------------------------------------------------

    def fetch_metrics(
        self, trial: Trial | str, name: str, kind: str = METRIC, context: Mapping[str, Any] | None = None
    ) -> Series:
        """See `Protocol.fetch_metrics`."""
        if isinstance(trial, str):
            trial = find_trial(self, trial)
        series = SeriesName(name, context).text
        read = {METRIC: trial.metrics, CHRONO: trial.chronos}.get(kind)
        known = read.known_points(series) if isinstance(read, SeriesMapping) else 0
        return fetch_series(self._pages(key_of(trial)), series, kind, known=known)

    def fetch_rejected(self, trial: Trial | None = None) -> list[Rejected]:
        """See `Protocol.fetch_rejected`."""
        found: list[Rejected] = []
        key = None if trial is None else key_of(trial)
        while page := self._ask("fetch_rejected", trial=key, start=len(found)):
            found += map(rejected_from_document, page)
        return found

    def fetch_media(
        self, trial: Trial, kind: str, name: str | None = None, context: Mapping[str, Any] | None = None
    ) -> Any:
        """See `Protocol.fetch_media`; a `MediaSeries`, or those of all names."""
        if name is not None:
            series = SeriesName(name, context).text
            found = self.fetch_metrics(trial, series, kind)
            return MediaSeries(kind, series, found.steps, found.times, found.values, self.fetch_blob)
        stored = self.current_trial(trial)
        names = {} if stored is None else stored.media.get(kind, {})
        return {each: self.fetch_media(trial, kind, each) for each in names}

    def fetch_blob(self, digest: str) -> Iterator[bytes]:
        """See `Protocol.fetch_blob`."""
        offset = 0
        while page := self._ask("fetch_blob", digest=digest, offset=offset):
            yield page
            offset += len(page)

    # -- what happens in a trial -----------------------------------------------------------------

    def log_trial_start(self, trial: Trial, rank: int | None = None) -> Trial:
        """See `Protocol.log_trial_start`."""
        super().log_trial_start(trial, rank)
        if not rank:
            self.log_trial_chrono_start(trial, RUNTIME, SumAggregator.lazy())
        return trial

    def log_trial_finish(
        self,
        trial: Trial,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
        rank: int | None = None,
        shared: bool = False,
    ) -> None:
        """See `Protocol.log_trial_finish`."""
        if not rank and not shared and self._timers.runs(trial, RUNTIME):
            self.log_trial_chrono_finish(trial, RUNTIME)
        super().log_trial_finish(trial, exc_type, exc_val, exc_tb, rank, shared)

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

    def log_trial_media(
        self,
        trial: Trial,
        kind: str,
        name: str,
        value: Any,
        step: Any = None,
        context: Mapping[str, Any] | None = None,
        *,
        at: float | None = None,
        **options: Any,
    ) -> None:
        """See `Protocol.log_trial_media`."""
        try:
            media = media_of(kind, value, **options)
            series = check_series_name(SeriesName(name, context).text, kind)
            logged = time.time() if at is None else at
            arguments = {"kind": kind, "name": series, "step": plain_step(step), "time": logged}
        except BadArguments as error:
            self.outbox.drops.drop(1, str(error), key_of(trial))
            return
        why = self._blobs.send(media)
        if why is None:
            value = dict(media.document)
            self.outbox.log("log_trial_media", {"trial": key_of(trial), **arguments, "value": value})
        else:
            self.outbox.drops.drop(1, f"{kind} {series}: {why}", key_of(trial))

    def log_trial_chrono_start(
        self,
        trial: Trial,
        name: str,
        aggregator: MakeAggregator | None = TIMINGS,
        start_callback: Callable[[], Any] | None = None,
        end_callback: Callable[[], Any] | None = None,
    ) -> None:
        """See `Protocol.log_trial_chrono_start`; see `Timers` on threads."""
        self._id(trial)
        if name == RUNTIME and self._timers.runs(trial, RUNTIME):
            return  # since the start of the trial
        self._timers.start(trial, name, start_callback, end_callback, self._spec(aggregator))

    def log_trial_chrono_finish(
        self,
        trial: Trial,
        name: str,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """See `Protocol.log_trial_chrono_finish`."""
        id = self._id(trial)
        timer = self._timers.stop(trial, name)
        if timer is None:
            self.outbox.drops.drop(1, f"chrono {name!r} was stopped without being started", id)
            return
        if exc_type is None:
            self.outbox.writer(id, CHRONO, timer.spec)(None, {name: timer.seconds})

    def log_trial_points(
        self, trial: Trial, name: str, points: Iterable[tuple[Any, float, Any]], kind: str = METRIC
    ) -> None:
        """See `Protocol.log_trial_points`."""
        self.outbox.log_points(self._id(trial), kind, name, points)

    # -- durability ------------------------------------------------------------------------------

    @property
    def is_unreachable(self) -> bool:
        """See `Protocol.is_unreachable`."""
        return self._pending.may_work_offline and self.outbox.is_known_unreachable

    @property
    def dropped_count(self) -> int:
        """See `Protocol.dropped_count`."""
        return self.outbox.dropped + self.outbox.rejected

    def count_dropped(self, trial: Trial, points: int, reason: str) -> None:
        """See `Protocol.count_dropped`."""
        self.outbox.drops.drop(points, reason, key_of(trial))

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
            replace_file(Path(path), json.dumps(self._everything(), indent=2).encode())

    def flush(self, timeout: float | None = None) -> None:
        """See `Protocol.flush`."""
        unresolved = self._pending.unresolved
        self.outbox.flush(timeout)
        self._pending.resolve(unresolved, timeout)

    def persist(self, timeout: float | None = None) -> None:
        """See `Protocol.persist`."""
        unresolved = self._pending.unresolved
        self.outbox.persist(timeout)
        if not self.outbox.waiting:
            self._pending.resolve(unresolved, timeout)

    def close(self) -> None:
        """`persist` what was logged, then release the connection; a later call opens it again."""
        try:
            self.persist()
        finally:
            self.outbox.release()

    def metric_writer(self, trial: Trial) -> MetricWriter:
        """See `Protocol.metric_writer`: straight into the outbox."""
        return self.outbox.writer(self._id(trial))

    # -- inside ----------------------------------------------------------------------------------

    def _call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """A log call becomes a record; any other waits for its answer."""
        declared = METHODS[method]
        if declared.access is Access.LOG:
            complain = Complain(partial(self._drop_value, args), self.outbox.drops.warn)
            for part in parts_of_call(method, wire_arguments(declared, args, kwargs, complain)):
                self.outbox.log(*part)
            return None
        found = self.outbox.call(method, wire_arguments(declared, args, kwargs))
        if found is None:
            return None
        make = self._answers[declared.answers.strip("[]")]
        if not declared.answers.startswith("["):
            return make(found)
        # As documented, a definition that names no trial is answered with None, and a query with no items.
        return [make(each) for each in found] or (None if method == "get_trial" else [])

    def _ask(self, method: str, **arguments: Any) -> Any:
        return self.outbox.call(method, arguments)

    def _drop_value(self, args: tuple[Any, ...], error: BadValue) -> None:
        trial = args[0] if args and isinstance(args[0], Trial) else None
        self.outbox.drops.drop(1, str(error), None if trial is None else key_of(trial))

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
            found = self.current_trial(trial)
            if found is None:
                raise ItemNotFound(f"no trial has the uid {trial.uid!r}: create it with new_trial first")
            trial.id = found.id
        assert trial.id is not None
        return trial.id

    def _trial(self, document: Document) -> Trial:
        pages = self._pages(document["id"])
        return trial_from_document(
            document,
            metrics=SeriesMapping(METRIC, document["metrics"], pages),
            chronos=SeriesMapping(CHRONO, document["chronos"], pages),
        )

    def _stored_trial(self, document: Document) -> Trial:
        """A stored trial; also updates what this process knew of it."""
        self._pending.update_trials([document])
        return self._trial(document)

    def _pages(self, trial: bytes | str) -> Fetch:
        def page(name: str, kind: str, start: int, limit: int) -> Callable[[], Mapping[str, Any]]:
            wanted = {"trial": trial, "name": name, "kind": kind, "start": start, "limit": limit}
            return self.outbox.ask("fetch_metrics", wanted)

        return page

    def _everything(self) -> dict[str, Any]:
        return {
            "projects": [to_json(each) for each in self.fetch_projects({})],
            "groups": [to_json(each) for each in self.fetch_groups({})],
            "trials": [to_json(each) for each in self.fetch_trials({})],
        }


def _reopened(
    store: Callable[[str], OutboxProtocol],
    uri: str,
    place: str | None,
    origin: bytes,
    unconfirmed: Mapping[bytes | str, Creation],
) -> OutboxProtocol:
    """The store again in another process, whose records may arrive before those that create its trials."""
    key = (store, uri, place)
    protocol: OutboxProtocol = opened_again(origin, key, lambda: store(taken_over(uri, place)))
    protocol.outbox.inherit(unconfirmed)
    return protocol


def _whole(kind: str, document: Document) -> Document:
    """The document with every field of its kind."""
    missing = _EMPTY[kind].keys() - document.keys()
    return document | {name: copy(_EMPTY[kind][name]) for name in missing}


def _plain(document: Document) -> Document:
    plain: Document = normalise(document, "document")
    return plain
