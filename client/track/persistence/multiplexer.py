"""One protocol over several: all of them are written to, and the first that answers is read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice
from types import TracebackType
from typing import Any, Final, TypeVar, Unpack

from track.persistence import get_protocol
from track.persistence.calls import item_may_be_named
from track.persistence.fanout import Failure, Fanout
from track.persistence.protocol import LATEST, TIMINGS, MakeAggregator, MetricWriter, Page, Protocol
from track_protocol.errors import ItemNotFound, TrackError, TrialInUse, UsageError
from track_protocol.model.entities import CustomStatus, Project, Status, Trial, TrialGroup
from track_protocol.model.rejected import Rejected
from track_protocol.model.seriesname import SeriesName
from track_protocol.uri import MULTIPLEXER, multiplexed

__all__ = ["Failure", "ProtocolMultiplexer"]

_log: Final = logging.getLogger("track")
_MOST_TRIALS: Final = 10_000

T = TypeVar("T")


class ProtocolMultiplexer(Protocol):
    """Writes to several backends, and reads from the first that answers.

    A backend that fails is reported, by one warning and in `failures`, and the others go on.  A call raises
    only when all backends fail it.  Backends that have failed are read after those that have not, since they
    may lack something.  Trials have the same internal id and revision everywhere, as far as a backend can
    keep them.

    Args:
        backends: protocols or URIs; at least one.

    Attributes:
        backends: the protocols.

    Raises:
        UsageError: there is none.
        UriError, MissingExtra: a URI cannot be used.
    """

    def __init__(self, *backends: Protocol | str) -> None:
        if not backends:
            raise UsageError("a multiplexer needs backends: give protocols or URIs")
        self.backends = [get_protocol(each) if isinstance(each, str) else each for each in backends]
        super().__init__(f"{MULTIPLEXER}:{';'.join(each.uri.replace(';', '%3B') for each in self.backends)}")
        self._fanout = Fanout(self.backends)
        self._trials: dict[bytes, list[Trial | None]] = {}
        self._ends: dict[tuple[str, str, int], list[Callable[[], Any] | None]] = {}

    @classmethod
    def from_uri(cls, uri: str) -> ProtocolMultiplexer:
        """The multiplexer of ``multiplexer:URI;URI;…``; a ``;`` within one of them is written ``%3B``."""
        return cls(*multiplexed(uri))

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process gets connections of its own.
        return ProtocolMultiplexer, tuple(self.backends)

    @property
    def failures(self) -> list[Failure]:
        """What single backends have failed, oldest first; of very many, the last 1,000."""
        return list(self._fanout.failures)

    # -- projects, groups and trials -------------------------------------------------------------

    def new_project(self, project: Project) -> Project:
        """See `Protocol.new_project`."""
        return self._fanout.write("new_project", lambda _, each: each.new_project(replace(project)))

    def get_project(self, project: Project) -> Project | None:
        """See `Protocol.get_project`."""
        return self._fanout.read("get_project", lambda each: each.get_project(project))

    def new_trial_group(self, group: TrialGroup) -> TrialGroup:
        """See `Protocol.new_trial_group`."""
        return self._fanout.write("new_trial_group", lambda _, each: each.new_trial_group(replace(group)))

    def get_trial_group(self, group: TrialGroup) -> TrialGroup | None:
        """See `Protocol.get_trial_group`."""
        return self._fanout.read("get_trial_group", lambda each: each.get_trial_group(group))

    def new_trial(self, trial: Trial, auto_increment: bool = False) -> Trial | None:
        """See `Protocol.new_trial`; the first backend that can do it draws the id."""
        wanted = replace(trial, revision=self._free_revision(trial) if auto_increment else trial.revision)
        theirs: list[Trial | None] = [None] * len(self.backends)
        first: list[Trial] = []

        def make(number: int, backend: Protocol) -> Trial | None:
            made = backend.adopt_trial(first[0]) if first else backend.new_trial(wanted, auto_increment)
            if made is not None:
                first.append(made)
                theirs[number] = made
                self._compare(number, backend, first[0], made)
            elif first:
                raise UsageError(f"it has another trial {first[0].uid}")
            return made

        stored = self._fanout.write("new_trial", make, until=lambda: not first)
        if stored is None:
            return None
        trial.id, trial.revision = stored.id, stored.revision
        self._remember(stored, theirs)
        return stored

    def adopt_trial(self, trial: Trial) -> Trial | None:
        """See `Protocol.adopt_trial`."""
        theirs: list[Trial | None] = [None] * len(self.backends)

        def adopt(number: int, backend: Protocol) -> Trial | None:
            theirs[number] = backend.adopt_trial(trial)
            return theirs[number]

        stored = self._fanout.write("adopt_trial", adopt)
        if stored is not None:
            self._remember(stored, theirs)
        return stored

    def get_trial(self, trial: Trial) -> list[Trial]:
        """See `Protocol.get_trial`."""
        return self._fanout.read("get_trial", lambda each: each.get_trial(trial))

    def add_project_trial(self, project: Project, trial: Trial) -> None:
        """See `Protocol.add_project_trial`."""
        self._log("add_project_trial", trial, lambda each, theirs: each.add_project_trial(project, theirs))

    def add_group_trial(self, group: TrialGroup, trial: Trial) -> None:
        """See `Protocol.add_group_trial`."""
        self._log("add_group_trial", trial, lambda each, theirs: each.add_group_trial(group, theirs))

    def delete_trial(self, trial: Trial, force: bool = False) -> bool:
        """See `Protocol.delete_trial`; behind a backend in which it is in use no further one deletes it."""
        refused: list[TrialInUse] = []

        def delete(number: int, backend: Protocol) -> bool:
            if refused:
                raise refused[0]
            try:
                return backend.delete_trial(self._theirs(number, trial), force)
            except TrialInUse as error:
                refused.append(error)
                raise

        try:
            return self._fanout.write("delete_trial", delete)
        except (TrackError, OSError, NotImplementedError) as error:
            # Of all that stands in the way, this is what the caller can do something about.
            raise (refused[0] if refused else error) from None

    # -- queries ---------------------------------------------------------------------------------

    def fetch_projects(self, query: Mapping[str, Any], **page: Unpack[Page]) -> list[Project]:
        """See `Protocol.fetch_projects`."""
        return self._fanout.read("fetch_projects", lambda each: each.fetch_projects(query, **page))

    def fetch_groups(self, query: Mapping[str, Any], **page: Unpack[Page]) -> list[TrialGroup]:
        """See `Protocol.fetch_groups`."""
        return self._fanout.read("fetch_groups", lambda each: each.fetch_groups(query, **page))

    def fetch_trials(self, query: Mapping[str, Any], **page: Unpack[Page]) -> list[Trial]:
        """See `Protocol.fetch_trials`."""
        return self._fanout.read("fetch_trials", lambda each: each.fetch_trials(query, **page))

    def fetch_metrics(
        self, trial: Trial, name: str, kind: str = "metric", context: Mapping[str, Any] | None = None
    ) -> Any:
        """See `Protocol.fetch_metrics`."""
        series = SeriesName(name, context).text
        return self._fanout.read("fetch_metrics", lambda each: each.fetch_metrics(trial, series, kind))

    def fetch_media(
        self, trial: Trial, kind: str, name: str | None = None, context: Mapping[str, Any] | None = None
    ) -> Any:
        """See `Protocol.fetch_media`."""
        return self._fanout.read("fetch_media", lambda each: each.fetch_media(trial, kind, name, context))

    def fetch_blob(self, digest: str) -> Iterator[bytes]:
        """See `Protocol.fetch_blob`; who has its beginning has all of it."""

        def begun(backend: Protocol) -> Iterator[bytes]:
            parts = backend.fetch_blob(digest)
            # Read now, so that a backend that has no such blob is found out while others can be asked.
            return chain(list(islice(parts, 1)), parts)

        yield from self._fanout.read("fetch_blob", begun)

    def fetch_rejected(self, trial: Trial | None = None) -> list[Rejected]:
        """See `Protocol.fetch_rejected`."""
        return self._fanout.read("fetch_rejected", lambda each: each.fetch_rejected(trial))

    def fetch_and_update_trial(
        self, query: Mapping[str, Any], attr: str, *args: Any, **kwargs: Any
    ) -> Trial | None:
        """See `Protocol.fetch_and_update_trial`: claimed where it answers first, then done on the others.

        So processes that claim trials through multiplexers must name the same backend first.
        """
        claimed: list[Trial] = []

        def update(number: int, backend: Protocol) -> Trial | None:
            if claimed:
                getattr(backend, attr)(self._theirs(number, claimed[0]), *args, **kwargs)
                return claimed[0]
            found = backend.fetch_and_update_trial(query, attr, *args, **kwargs)
            claimed.extend(() if found is None else (found,))
            return found

        return self._fanout.write("fetch_and_update_trial", update, until=lambda: not claimed)

    def fetch_and_update_group(
        self, query: Mapping[str, Any], attr: str, *args: Any, **kwargs: Any
    ) -> TrialGroup | None:
        """See `Protocol.fetch_and_update_group` and `fetch_and_update_trial`."""
        claimed: list[TrialGroup] = []

        def update(number: int, backend: Protocol) -> TrialGroup | None:
            if claimed:
                getattr(backend, attr)(claimed[0], *args, **kwargs)
                return claimed[0]
            found = backend.fetch_and_update_group(query, attr, *args, **kwargs)
            claimed.extend(() if found is None else (found,))
            return found

        return self._fanout.write("fetch_and_update_group", update, until=lambda: not claimed)

    # -- what happens in a trial -----------------------------------------------------------------

    def log_trial_start(self, trial: Trial, rank: int | None = None) -> None:
        """See `Protocol.log_trial_start`."""
        self._log("log_trial_start", trial, lambda each, theirs: each.log_trial_start(theirs, rank))

    def log_trial_finish(
        self,
        trial: Trial,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
        rank: int | None = None,
    ) -> None:
        """See `Protocol.log_trial_finish`."""
        self._log(
            "log_trial_finish",
            trial,
            lambda each, theirs: each.log_trial_finish(theirs, exc_type, exc_val, exc_tb, rank),
        )

    @item_may_be_named("trial")
    def log_trial_arguments(self, trial: Trial, /, **kwargs: Any) -> None:
        """See `Protocol.log_trial_arguments`."""
        self._log(
            "log_trial_arguments", trial, lambda each, theirs: each.log_trial_arguments(theirs, **kwargs)
        )

    @item_may_be_named("trial")
    def log_trial_metadata(
        self, trial: Trial, /, aggregator: MakeAggregator | None = LATEST, **kwargs: Any
    ) -> None:
        """See `Protocol.log_trial_metadata`."""
        self._log(
            "log_trial_metadata",
            trial,
            lambda each, theirs: each.log_trial_metadata(theirs, aggregator, **kwargs),
        )

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
        # Only given if there is one: a backend of the user's own need not know of labels.
        values = kwargs if context is None else {**kwargs, "context": context}
        self._log(
            "log_trial_metrics",
            trial,
            lambda each, theirs: each.log_trial_metrics(theirs, step, aggregator, **values),
        )

    def log_trial_media(
        self,
        trial: Trial,
        kind: str,
        name: str,
        value: Any,
        step: Any = None,
        context: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """See `Protocol.log_trial_media`."""
        self._log(
            "log_trial_media",
            trial,
            lambda each, theirs: each.log_trial_media(theirs, kind, name, value, step, context, **options),
        )

    def log_trial_points(
        self, trial: Trial, name: str, points: Iterable[tuple[Any, float, Any]], kind: str = "metric"
    ) -> None:
        """See `Protocol.log_trial_points`."""
        known = list(points)
        self._log(
            "log_trial_points",
            trial,
            lambda each, theirs: each.log_trial_points(theirs, name, known, kind),
        )

    def log_trial_chrono_start(
        self,
        trial: Trial,
        name: str,
        aggregator: MakeAggregator | None = TIMINGS,
        start_callback: Callable[[], Any] | None = None,
        end_callback: Callable[[], Any] | None = None,
    ) -> None:
        """See `Protocol.log_trial_chrono_start`; the callbacks are called once, not by each backend."""
        if start_callback is not None:
            start_callback()
        self._ends.setdefault((trial.uid, name, threading.get_ident()), []).append(end_callback)
        self._log(
            "log_trial_chrono_start",
            trial,
            lambda each, theirs: each.log_trial_chrono_start(theirs, name, aggregator),
        )

    def log_trial_chrono_finish(
        self,
        trial: Trial,
        name: str,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """See `Protocol.log_trial_chrono_finish`."""
        ends = self._ends.get((trial.uid, name, threading.get_ident()))
        end_callback = ends.pop() if ends else None
        if not ends:
            self._ends.pop((trial.uid, name, threading.get_ident()), None)
        if end_callback is not None:
            end_callback()
        self._log(
            "log_trial_chrono_finish",
            trial,
            lambda each, theirs: each.log_trial_chrono_finish(theirs, name, exc_type, exc_val, exc_tb),
        )

    def log_trial_losses(self, trial: Trial, points: int, reason: str) -> None:
        """See `Protocol.log_trial_losses`."""
        self._log(
            "log_trial_losses", trial, lambda each, theirs: each.log_trial_losses(theirs, points, reason)
        )

    @item_may_be_named("trial")
    def add_trial_tags(self, trial: Trial, /, **kwargs: Any) -> None:
        """See `Protocol.add_trial_tags`."""
        self._log("add_trial_tags", trial, lambda each, theirs: each.add_trial_tags(theirs, **kwargs))

    def set_trial_status(self, trial: Trial, status: Status | CustomStatus, error: str | None = None) -> None:
        """See `Protocol.set_trial_status`."""
        self._log(
            "set_trial_status", trial, lambda each, theirs: each.set_trial_status(theirs, status, error)
        )

    def rewind_trial(self, trial: Trial, step: float) -> None:
        """See `Protocol.rewind_trial`."""
        self._log("rewind_trial", trial, lambda each, theirs: each.rewind_trial(theirs, step))

    @item_may_be_named("group")
    def set_group_metadata(self, group: TrialGroup, /, **kwargs: Any) -> None:
        """See `Protocol.set_group_metadata`."""
        self._fanout.write("set_group_metadata", lambda _, each: each.set_group_metadata(group, **kwargs))

    # -- durability ------------------------------------------------------------------------------

    @property
    def unkept(self) -> int:
        """See `Protocol.unkept`: those of all backends."""
        return sum(backend.unkept for backend in self.backends)

    def commit(self, **kwargs: Any) -> None:
        """See `Protocol.commit`; ``file_name_override`` is written by the first backend that does."""
        name = kwargs.pop("file_name_override", None)
        self._fanout.write("commit", lambda _, each: each.commit(**kwargs))
        if name is not None:
            self._fanout.read("commit", lambda each: each.commit(file_name_override=name))

    def flush(self, timeout: float | None = None) -> None:
        """See `Protocol.flush`; `timeout` is for each backend."""
        self._fanout.write("flush", lambda _, each: each.flush(timeout))

    def secure(self, timeout: float | None = None) -> None:
        """See `Protocol.secure`; `timeout` is for each backend."""
        self._fanout.write("secure", lambda _, each: each.secure(timeout))

    def close(self) -> None:
        """See `Protocol.close`."""
        self._fanout.write("close", lambda _, each: each.close())

    def metric_writer(self, trial: Trial) -> MetricWriter:
        """See `Protocol.metric_writer`."""
        writers: dict[int, MetricWriter] = {}

        def prepare(number: int, backend: Protocol) -> None:
            writers[number] = backend.metric_writer(self._theirs(number, trial))

        self._fanout.write("metric_writer", prepare)
        if len(writers) == 1:
            return next(iter(writers.values()))

        def write(step: Any, metrics: Mapping[str, Any]) -> None:
            for number, each in writers.items():
                try:
                    each(step, metrics)
                except Exception as error:  # noqa: BLE001 - whatever one backend does, the others go on
                    self._fanout.report(number, "metric_writer", error)

        return write

    # -- inside ----------------------------------------------------------------------------------

    def _log(self, method: str, trial: Trial, call: Callable[[Protocol, Trial], None]) -> None:
        self._fanout.write(method, lambda number, backend: call(backend, self._theirs(number, trial)))

    def _free_revision(self, trial: Trial) -> int:
        """A revision that no backend has of this trial's hash."""
        taken = [trial.revision - 1]
        for backend in self.backends:
            # Who cannot be asked now will tell so when it is written to.
            with suppress(TrackError, OSError, NotImplementedError):
                taken += [each.revision for each in backend.fetch_trials({"hash": trial.hash})]
        return 1 + max(taken)

    def _compare(self, number: int, backend: Protocol, first: Trial, made: Trial) -> None:
        if made.id != first.id or made.revision != first.revision:
            error = UsageError(f"it has the trial {first.uid} as {made.uid}, under an id of its own")
            self._fanout.report(number, "new_trial", error)

    def _remember(self, trial: Trial, theirs: list[Trial | None]) -> None:
        """Which trial each backend has for this one, unless they are all the same."""
        if trial.id is None or all(each is not None and each.id == trial.id for each in theirs):
            return
        while len(self._trials) >= _MOST_TRIALS:
            del self._trials[next(iter(self._trials))]
        self._trials[trial.id] = theirs

    def _theirs(self, number: int, trial: Trial) -> Trial:
        known = None if trial.id is None else self._trials.get(trial.id)
        if known is None:
            return trial
        theirs = known[number]
        if theirs is None:
            raise ItemNotFound(f"the trial {trial.uid} was not created there")
        return theirs
