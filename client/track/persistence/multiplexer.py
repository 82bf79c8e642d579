"""One protocol over several: all of them are written to, and the first that answers is read."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from types import TracebackType
from typing import Any, Final, TypeVar

from track.persistence.calls import reads
from track.persistence.protocol import TIMINGS, Conditions, MakeAggregator, MetricWriter, Protocol, matched
from track.persistence.registry import get_protocol
from track.persistence.timers import Timers
from track_protocol.errors import BadArguments, ItemNotFound, TrackError, TrialInUse, UsageError
from track_protocol.model.entities import Project, Trial, TrialGroup
from track_protocol.uri import MULTIPLEXER, multiplexed, redact

__all__ = ["Failure", "Fanout", "ProtocolMultiplexer"]

_log: Final = logging.getLogger("track")
_MAX_FAILURES: Final = 1_000
_MAX_TRIALS: Final = 10_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that one backend has failed, while another has done it.

    Attributes:
        backend: its URI, without secrets.
        method: the call.
        error: what it raised.
        time: when, in seconds since the epoch.
    """

    backend: str
    method: str
    error: Exception
    time: float


class Fanout:
    """Calls several backends, and records which of them fail.

    Args:
        backends: at least one.

    Attributes:
        failures: what single backends have failed, oldest first; of very many, the last 1,000.
    """

    def __init__(self, backends: Sequence[Protocol]) -> None:
        self._backends = backends
        self.failures: deque[Failure] = deque(maxlen=_MAX_FAILURES)
        self._failed: set[int] = set()

    def write(
        self, method: str, call: Callable[[int, Protocol], T], until: Callable[[], bool] = lambda: False
    ) -> T:
        """Have every backend do something; the first answer.

        Args:
            method: its name.
            call: does it, given the backend's number and the backend.
            until: predicate on an answer; once it is true, the remaining backends are not called.

        Raises:
            Exception: all have failed; the most informative of what they raised.
        """
        answers: list[T] = []
        errors: list[tuple[int, Exception]] = []
        for number, backend in enumerate(self._backends):
            try:
                answers.append(call(number, backend))
            except Exception as error:  # noqa: BLE001 - whatever one backend does, the others continue
                errors.append((number, error))
                continue
            if until():
                break
        if not answers:
            raise self._worst(errors)
        for number, failure in errors:
            self.report(number, method, failure)
        return answers[0]

    def read(self, method: str, call: Callable[[Protocol], T]) -> T:
        """The first answer; those that have failed are asked last.

        Args:
            method: what is asked, by its name.
            call: calls a backend.

        Raises:
            Exception: as for `write`.
        """
        errors: list[tuple[int, Exception]] = []
        for number in sorted(range(len(self._backends)), key=lambda number: number in self._failed):
            try:
                answer = call(self._backends[number])
            except Exception as error:  # noqa: BLE001 - whatever one backend does, the next is asked
                errors.append((number, error))
                continue
            for failed, failure in errors:
                self.report(failed, method, failure)
            return answer
        raise self._worst(errors)

    def report(self, number: int, method: str, error: Exception) -> None:
        """Record the failure of one backend while another succeeded; the first time, warn.

        Args:
            number: of the backend.
            method: the name of the call.
            error: the raised error.
        """
        backend = redact(self._backends[number].uri)
        self.failures.append(Failure(backend, method, error, time.time()))
        if number not in self._failed:
            self._failed.add(number)
            _log.warning(
                "%s failed %s; the other backends continue: %s (`failures` lists further ones)",
                backend,
                method,
                error,
            )

    def _worst(self, errors: list[tuple[int, Exception]]) -> Exception:
        """The error of a call that failed everywhere: one of the caller's, else the newest."""
        return min(errors, key=lambda each: (not isinstance(each[1], BadArguments), each[0] in self._failed))[
            1
        ]


class ProtocolMultiplexer(Protocol):
    """Writes to several backends, and reads from the first that answers.

    A backend that fails is reported, by one warning and in `failures`; the others continue.  A call raises
    only when all backends fail it.  Backends that have failed are read after those that have not, since they
    may lack something.  Trials have the same internal id and revision everywhere, as far as a backend
    supports that.

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
        self._timers = Timers()

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

    def _call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """The first that can answers what is read; all do what is written, each to its own trial."""
        if reads(method):
            return self._fanout.read(method, lambda each: getattr(each, method)(*args, **kwargs))
        return self._fanout.write(
            method,
            lambda number, each: getattr(each, method)(
                *(self._theirs(number, given) for given in args), **kwargs
            ),
        )

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

    def delete_trial(self, trial: Trial, force: bool = False) -> bool:
        """See `Protocol.delete_trial`; after a backend in which it is in use no further one deletes it."""
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
            # Of all errors, this is the one that the caller can fix.
            raise (refused[0] if refused else error) from None

    def fetch_blob(self, digest: str) -> Iterator[bytes]:
        """See `Protocol.fetch_blob`; who has its beginning has all of it."""

        def begun(backend: Protocol) -> Iterator[bytes]:
            parts = backend.fetch_blob(digest)
            # Read now, so that a backend that has no such blob is found out while others can be asked.
            return chain(list(islice(parts, 1)), parts)

        yield from self._fanout.read("fetch_blob", begun)

    def fetch_and_update_trial(self, query: Conditions, attr: str, *args: Any, **kwargs: Any) -> Trial:
        """See `Protocol.fetch_and_update_trial`: claimed where it answers first, then done on the others.

        So processes that claim trials through multiplexers must name the same backend first.
        """
        claimed: Trial | None = self._claim("fetch_and_update_trial", query, attr, args, kwargs)
        return matched("trial", query, claimed)

    def fetch_and_update_group(self, query: Conditions, attr: str, *args: Any, **kwargs: Any) -> TrialGroup:
        """See `Protocol.fetch_and_update_group` and `fetch_and_update_trial`."""
        claimed: TrialGroup | None = self._claim("fetch_and_update_group", query, attr, args, kwargs)
        return matched("group", query, claimed)

    def _claim(
        self,
        method: str,
        query: Conditions,
        attr: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        claimed: list[Any] = []

        def update(number: int, backend: Protocol) -> Any:
            if claimed:
                getattr(backend, attr)(self._theirs(number, claimed[0]), *args, **kwargs)
                return claimed[0]
            try:
                claimed.append(getattr(backend, method)(query, attr, *args, **kwargs))
            except ItemNotFound:
                return None
            return claimed[0]

        return self._fanout.write(method, update, until=lambda: not claimed)

    def log_trial_points(
        self, trial: Trial, name: str, points: Iterable[tuple[Any, float, Any]], kind: str = "metric"
    ) -> None:
        """See `Protocol.log_trial_points`; an iterator is read once, for all backends."""
        super().log_trial_points(trial, name, list(points), kind)

    def log_trial_chrono_start(
        self,
        trial: Trial,
        name: str,
        aggregator: MakeAggregator | None = TIMINGS,
        start_callback: Callable[[], Any] | None = None,
        end_callback: Callable[[], Any] | None = None,
    ) -> None:
        """See `Protocol.log_trial_chrono_start`; the callbacks are called once, not by each backend."""
        self._timers.start(trial, name, start_callback, end_callback)
        self._call("log_trial_chrono_start", trial, name, aggregator)

    def log_trial_chrono_finish(
        self,
        trial: Trial,
        name: str,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """See `Protocol.log_trial_chrono_finish`."""
        self._timers.stop(trial, name)
        super().log_trial_chrono_finish(trial, name, exc_type, exc_val, exc_tb)

    @property
    def protos(self) -> Sequence[Protocol]:
        """The same as `backends`."""
        return self.backends

    # -- durability ------------------------------------------------------------------------------

    @property
    def dropped_count(self) -> int:
        """See `Protocol.dropped_count`: those of all backends."""
        return sum(backend.dropped_count for backend in self.backends)

    def commit(self, **kwargs: Any) -> None:
        """See `Protocol.commit`; ``file_name_override`` is written by the first backend that does."""
        name = kwargs.pop("file_name_override", None)
        self._fanout.write("commit", lambda _, each: each.commit(**kwargs))
        if name is not None:
            self._fanout.read("commit", lambda each: each.commit(file_name_override=name))

    def flush(self, timeout: float | None = None) -> None:
        """See `Protocol.flush`; `timeout` is for each backend."""
        self._fanout.write("flush", lambda _, each: each.flush(timeout))

    def persist(self, timeout: float | None = None) -> None:
        """See `Protocol.persist`; `timeout` is for each backend."""
        self._fanout.write("persist", lambda _, each: each.persist(timeout))

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
                except Exception as error:  # noqa: BLE001 - whatever one backend does, the others continue
                    self._fanout.report(number, "metric_writer", error)

        return write

    # -- inside ----------------------------------------------------------------------------------

    def _free_revision(self, trial: Trial) -> int:
        """A revision that no backend has of this trial's hash."""
        taken = [trial.revision - 1]
        for backend in self.backends:
            # A backend that cannot be asked now fails when it is written to.
            with suppress(TrackError, OSError, NotImplementedError):
                taken += [each.revision for each in backend.fetch_trials({"hash": trial.hash})]
        return 1 + max(taken)

    def _compare(self, number: int, backend: Protocol, first: Trial, made: Trial) -> None:
        if made.id != first.id or made.revision != first.revision:
            error = UsageError(f"it stores the trial {first.uid} as {made.uid}, with another id")
            self._fanout.report(number, "new_trial", error)

    def _remember(self, trial: Trial, theirs: list[Trial | None]) -> None:
        """Which trial each backend has for this one, unless they are all the same."""
        if trial.id is None or all(each is not None and each.id == trial.id for each in theirs):
            return
        while len(self._trials) >= _MAX_TRIALS:
            del self._trials[next(iter(self._trials))]
        self._trials[trial.id] = theirs

    def _theirs(self, number: int, given: Any) -> Any:
        """An argument as a backend knows it."""
        if isinstance(given, (Project, TrialGroup)):
            return replace(given)
        known = self._trials.get(given.id) if isinstance(given, Trial) and given.id is not None else None
        if known is None:
            return given
        theirs = known[number]
        if theirs is None:
            raise ItemNotFound(f"the trial {given.uid} was not created there")
        return theirs
