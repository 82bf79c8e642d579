"""The logger of one trial, for training scripts."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Final, Self

from track.chrono import LoggerChronoContext
from track.configuration import environment
from track.logger.due import Due, due
from track.logger.forms import Metrics, Values, metrics_of, values_of
from track.logger.media import MediaLogger
from track.logger.signals import LogSignalHandler, traceback_to
from track.persistence.calls import as_status, end_of
from track.persistence.protocol import LATEST, RUNTIME, TIMINGS, MakeAggregator, MetricWriter, Protocol
from track.persistence.series import SeriesMapping, StoredSeries
from track.process.lifecycle import ForkSafeRLock
from track.process.signals import SIGNAL_SECONDS
from track.reading.readable import Readable
from track.recording.announce import announce
from track.recording.capture import OutputCapture, output_names
from track.recording.eta import CountdownLogger
from track.recording.parameters import fields_of, is_same
from track.recording.provenance import RUN, await_git
from track.recording.system import SystemMetrics, system_metrics_in
from track.serialization import to_json
from track.utils.out import RingOutputDecorator
from track_protocol.errors import BadValue, TrackError, UsageError
from track_protocol.model.aggregators import SumAggregator, is_aggregator, spec_of
from track_protocol.model.entities import CustomStatus, Status, Trial, new_id
from track_protocol.model.seriesname import SeriesName, labelled
from track_protocol.model.values import text_of

__all__ = ["LogSignalHandler", "LoggerChronoContext", "TrialLogger"]

_log: Final = logging.getLogger("track")
_PLAIN_STEPS: Final = frozenset({int, float})
_MAX_COUNTED: Final = 2**31
"""Above any number of lines or values that somebody means."""

_MERGED: Final = {
    "parameters": "log_trial_arguments",
    "metadata": "log_trial_metadata",
    "tags": "add_trial_tags",
}
"""Fields of a trial that are merged, and what merges them."""

_RESERVED: Final = ("aggregator", "context", "step")
"""Names of series that are keywords of the storage contract."""


class TrialLogger(MediaLogger, CountdownLogger, Readable, Due):
    """Logs into one trial; as a context manager, it starts and finishes it.

    Args:
        trial: the trial.
        protocol: where it is stored.
        create: stores the trial when that has not happened yet; it is called once, as late as possible,
            so that the trial's arguments are known by then.
        rank: of this process, when several log into the trial and one of them made it.
        starts: whether its first point starts the trial, if nothing else did.  By default that of a trial
            which is created here: a point that is added to a trial of another process does not run it again.
        labels: of all metrics and timings that are logged here, such as this process's rank.
        shared: whether a child that is forked before the creation logs into the same trial; `create` then
            creates the trial of the definition's id, if it has one.

    Attributes:
        stdout: the captured standard output, None before `capture_output`.
        stderr: the captured standard error.
    """

    def __init__(
        self,
        trial: Trial,
        protocol: Protocol,
        *,
        create: Callable[[Trial], Trial] | None = None,
        rank: int | None = None,
        starts: bool | None = None,
        labels: Mapping[str, Any] | None = None,
        shared: bool = False,
    ) -> None:
        super().__init__()
        self._trial = trial
        self.protocol = protocol
        self._create = create
        self._creation = ForkSafeRLock()
        self._early: list[Callable[[Trial], None]] = []
        self._starts = create is not None if starts is None else starts
        self._write: MetricWriter = self._first_write
        # Only given to the store if there is one: a store of the user's own need not know of ranks.
        self._rank: dict[str, Any] = {} if rank is None else {"rank": rank}
        self._labels = dict(labels or {})
        self._is_running = False
        self._started_itself = False
        self._was_interrupted = False
        self._has_finished = False
        self._is_announced = False
        self._pid = os.getpid()
        self._shared_id: bytes | None = None
        self._at_fork: dict[str, frozenset[str]] = {}
        self._is_shared = False
        self._signals: LogSignalHandler | None = None
        self._output: OutputCapture | None = None
        self._system: SystemMetrics | None = None
        self._warned: set[tuple[str, str]] = set()
        self.stdout: RingOutputDecorator | None = None
        self.stderr: RingOutputDecorator | None = None
        if create is None and not self._starts:
            self._write = self._writer(trial)
        if create is not None and shared:
            due.share(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process it logs into the same trial.
        options = {**self._rank, "labels": self._labels}
        return partial(TrialLogger, **options), (self.ensure(), self.protocol)

    def __del__(self) -> None:
        # The program can no longer finish it, and the process may run for long.
        if getattr(self, "_is_running", False) and self._pid == os.getpid():
            self.finish()

    @property
    def trial(self) -> Trial:
        """The trial: its status as this process knows it, its metrics as they are stored at each reading."""
        return self._trial

    @property
    def has_started(self) -> bool:
        """Whether this process has started it."""
        return self._is_running or self._has_finished or self._was_interrupted

    @property
    def has_finished(self) -> bool:
        """Whether this process has finished it, and not started it again."""
        return self._has_finished

    @property
    def _owns_status(self) -> bool:
        """Whether its ends are the trial's: another rank may crash and leave the trial running."""
        return not self._rank.get("rank") and not self._is_shared

    @property
    def _participation(self) -> dict[str, Any]:
        """How this process takes part, where that is said at its end."""
        return {**self._rank, "shared": True} if self._is_shared else self._rank

    # -- creation --------------------------------------------------------------------------------

    def ensure(self) -> Trial:
        """The trial, stored now if it was not yet."""
        if self._create is not None:
            with self._creation as outermost:
                # Of several threads that log first, one creates it, and the others wait for that.
                if outermost and self._create is not None:
                    self._created(self._create(self._trial))
        return self._trial

    def _created(self, stored: Trial) -> None:
        if isinstance(stored.metrics, SeriesMapping):
            stored.metrics = StoredSeries(partial(_stored_metrics, self.protocol, stored))
        # A child that was forked before that starts the trial, too.  It ends it if nobody else runs it, or if
        # the trial has become its own.
        defined = self._trial
        is_shared = self._shared_id is not None and stored.id == self._shared_id
        self._is_shared = is_shared and self._pid != os.getpid()
        self._trial, self._create, self._pid = stored, None, os.getpid()
        self._said(False)
        if is_shared:
            self._add_later(defined)
        early, self._early = self._early, []
        for call in early:
            call(self._trial)

    def will_fork(self) -> None:
        """See `Due.will_fork`; one that is being created, or that comes with points, is not shared."""
        if self._create is None or self._creation.is_taken or self._shared_id is not None:
            return
        if not self._trial.metrics and not self._trial.chronos:
            self._shared_id = self._trial.id = new_id()
            self._at_fork = {field: frozenset(getattr(self._trial, field)) for field in _MERGED}

    def _add_later(self, defined: Trial) -> None:
        """Store what was said after a fork: another process may have created the trial without it."""
        for field, method in _MERGED.items():
            stored = getattr(self._trial, field)
            later = {
                name: value
                for name, value in getattr(defined, field).items()
                if name not in self._at_fork[field] and self._may_add(name, value, stored)
            }
            if later:
                stored.update(later)
                getattr(self.protocol, method)(self._trial, **later)

    def _may_add(self, name: str, value: Any, stored: Mapping[str, Any]) -> bool:
        """Whether a value is stored that another process may have stored, too: a child replaces none."""
        return not self._is_shared or (name != RUN and (name not in stored or is_same(stored[name], value)))

    def create_if_due(self) -> None:
        """Create the trial if something was said about it."""
        if due.waits_for(self):
            self.ensure()

    def _said(self, is_due: bool) -> None:
        (due.add if is_due else due.discard)(self)

    def expect_creation(self) -> None:
        """Something was said about the trial: it is created at the latest when the program ends."""
        if self._create is not None:
            self._said(True)

    def leave(self) -> None:
        """The client continues with another trial, or ends: store what was said about this one.

        One that its first point has started is complete, until another point starts it again.
        """
        self.create_if_due()
        if self._is_running and self._started_itself and self._pid == os.getpid():
            self.finish()
            self._starts, self._write = True, self._first_write

    def _log_call(self, call: Callable[[Trial], None]) -> None:
        """Log something about the trial, which exists by then."""
        trial = self.ensure()
        if self._create is None:
            call(trial)
        else:
            # A signal handler logs while the trial is being created: it must not come before it.
            self._early.append(call)

    def _is_open_for(self, field: str, values: Mapping[str, Any]) -> bool:
        """Whether values became part of the definition of a trial that is not created yet."""
        if self._create is None:
            return False
        with self._creation as outermost:
            if not outermost or self._create is None:
                return False
            getattr(self._trial, field).update(values)
            self.expect_creation()
            return True

    def _begin(self) -> Trial:
        """The trial, which runs now if its first point starts it."""
        trial = self.ensure()
        if self._create is None and self._starts:
            with self._creation:
                starts: bool = self._starts
                self._starts = False
                # A forked child logs into the trial of its parent, which starts it or does not.
                if starts and self._pid == os.getpid():
                    self.start()
                    self._started_itself = True
        return trial

    def _first_write(self, step: Any, metrics: Mapping[str, Any]) -> None:
        trial = self._begin()
        if self._create is not None:
            self._early.append(lambda _: self._first_write(step, metrics))
            return
        self._write = self._writer(trial)
        self._write(step, metrics)

    def _writer(self, trial: Trial) -> MetricWriter:
        write, labels = self.protocol.metric_writer(trial), self._labels
        if not labels:
            return write
        return lambda step, metrics: write(step, labelled(metrics, labels))

    def count_dropped(self, points: int, reason: str) -> None:
        """Count values in the trial that a log call was given and that cannot be stored; warn once; never
        raises.

        Args:
            points: how many.
            reason: why, and what to write in their place.
        """
        count = max(1, points) if issubclass(type(points), int) and points < _MAX_COUNTED else 1
        text = text_of(reason)
        self._log_call(lambda trial: self.protocol.count_dropped(trial, count, text))

    # -- values ----------------------------------------------------------------------------------

    def log_metrics(
        self, /, *given: Any, step: Any = None, aggregator: Any = None, context: Any = None, **kwargs: Any
    ) -> None:
        """Append one point to each of some series; never waits for the store, and never raises.

        ``log_metrics({"loss": 1.0}, step=3)``, ``log_metrics(step=3, loss=1.0)``, ``log_metrics(3, loss=1)``
        and ``log_metrics("loss", 1.0, step=3)`` do the same.  What has none of these forms is counted in the
        trial's dropped points, with one warning.  A dict as a value becomes a series for each of its items:
        ``{"train": {"loss": 1.0}}`` is ``train.loss``.

        Args:
            given: values by name, or a name and its value; a step before or behind them.
            step: where in the training the values were observed; any number, text or tuple.
            aggregator: how the series read back; every point is stored in any case.
            context: labels of the series, such as ``{"phase": "train"}``; part of what each of them is.
                Anything but a mapping is the value of a metric that is called context.
            kwargs: the values by the series' names.
        """
        if aggregator is None and context is None:
            if not given:
                self._write(step, kwargs)
                return
            if kwargs and len(given) == 1 and step is None and type(given[0]) in _PLAIN_STEPS:
                self._write(given[0], kwargs)
                return
        if context is not None and not issubclass(type(context), Mapping):
            context, kwargs["context"] = None, context
        self._log_metrics(metrics_of(given, step, aggregator, kwargs), context)

    def log(
        self, /, *given: Any, step: Any = None, aggregator: Any = None, context: Any = None, **kwargs: Any
    ) -> None:
        """The same as `log_metrics`, under the name that other trackers use."""
        self.log_metrics(*given, step=step, aggregator=aggregator, context=context, **kwargs)

    def _log_metrics(self, metrics: Metrics, context: Any) -> None:
        if metrics.problem:
            self.count_dropped(metrics.lost, metrics.problem)
        if not metrics.values:
            return
        self._begin()
        self._log_call(lambda trial: self._log_points(trial, metrics, context))

    def _log_points(self, trial: Trial, metrics: Metrics, context: Any) -> None:
        step, values, aggregator = metrics.step, metrics.values, metrics.aggregator
        if aggregator is None and context is None:
            self._write(step, values)
            return
        # Keywords of the storage contract; a series of one of these names has the default aggregator.
        reserved: dict[str, Any] = {name: values[name] for name in _RESERVED if name in values}
        others = {name: value for name, value in values.items() if name not in reserved}
        merged = self._in_labels(context)
        labels = {} if merged is None else {"context": merged}
        if reserved:
            try:
                self._write(step, labelled(reserved, context))
            except BadValue as error:
                self.count_dropped(len(reserved), str(error))
        if others or labels:
            self.protocol.log_trial_metrics(trial, step, aggregator, **labels, **others)

    def _in_labels(self, context: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """The labels of a call, over those of this logger."""
        try:
            return {**self._labels, **(context or {})} if self._labels else context
        except Exception:  # noqa: BLE001  # foreign code may raise anything: refused where labels are read
            return context

    def log_metadata(self, /, *given: Any, aggregator: Any = LATEST, **kwargs: Any) -> None:
        """Store values with the trial; never raises.

        Args:
            given: values by name, or a name and its value; or the aggregator.
            aggregator: whether a later value replaces an earlier one of that name or joins it.  Anything
                that makes no aggregator is the value of that name.
            kwargs: the values by name.
        """
        said = None if aggregator is LATEST else aggregator
        read = self._read(values_of("log_metadata", given, kwargs, said))
        if read.values and not self._is_open_for("metadata", read.values):
            self._log_call(lambda trial: self._add_metadata(trial, read.values, read.aggregator))

    def _add_metadata(self, trial: Trial, values: dict[str, Any], aggregator: Any) -> None:
        if "aggregator" in values:
            # The storage contract takes a value of this name where it takes an aggregator.
            own = values.pop("aggregator")
            if is_aggregator(own):
                self.count_dropped(
                    1, f"metadata aggregator: a {type(own).__name__} cannot have this name: rename it"
                )
            else:
                self.protocol.log_trial_metadata(trial, own)
        if values:
            maker = LATEST if aggregator is None else aggregator
            self.protocol.log_trial_metadata(trial, maker, **values)

    def log_arguments(self, /, *given: Any, force: Any = None, **kwargs: Any) -> None:
        """Set the trial's parameters, and create it if it was not yet; never raises.

        Parameters that come later are added to the trial, but no longer count for its identity.  One that
        the trial has already keeps its value, and the trial gets an error that says so.

        Args:
            given: values by name, or a name and its value.
            force: True replaces values that the trial has already.  Anything else, and True where
                there is nothing to replace, is the value of a parameter that is called force.
            kwargs: the values by name.
        """
        known = self._trial.parameters
        forced = force is True and any(name in known for name in kwargs.keys() | _names(given))
        if force is not None and not forced:
            kwargs["force"] = force
        values = self._read(values_of("log_arguments", given, kwargs)).values
        if self._is_open_for("parameters", values):
            self.ensure()
        elif values:
            self._log_call(lambda _: self._add_arguments(values, forced))

    def _add_arguments(self, values: dict[str, Any], forced: bool) -> None:
        known = self._trial.parameters
        for name in [] if forced else [name for name in values if name in known]:
            given = values.pop(name)
            if not is_same(known[name], given):
                self._complain(f"parameter {name} is {_shown(known[name])} already, not {_shown(given)}")
        if values:
            known.update(values)
            self.protocol.log_trial_arguments(self._trial, **values)

    def _complain(self, text: str) -> None:
        """An error of the trial that does not end it."""
        message = f"{text}; the stored value stays: log the new one under another name, or with force=True"
        _log.warning("%s", message)
        self._know(self._trial.status, message)
        self.protocol.set_trial_status(self._trial, self._trial.status or Status.CreatedGroup, message)

    def add_tags(self, /, *given: Any, **kwargs: Any) -> None:
        """Label the trial; never raises.

        Args:
            given: labels by name, or a name and its label.
            kwargs: the labels by name.
        """
        tags = self._read(values_of("add_tags", given, kwargs)).values
        if tags and not self._is_open_for("tags", tags):
            self._log_call(lambda trial: self.protocol.add_trial_tags(trial, **tags))

    def remove_tags(self, *names: str) -> None:
        """Remove labels of the trial; never raises, and names that it does not have do no harm.

        Args:
            names: of the labels.
        """
        texts = [text_of(name) for name in names]
        if texts:
            self._log_call(lambda trial: self.protocol.remove_trial_tags(trial, texts))

    def rename(self, name: str | None = None, description: str | None = None) -> None:
        """Change what the trial is called and how it is described; its uid stays.  Never raises.

        Args:
            name: the new one; an empty text removes it, None leaves it as it is.
            description: likewise.
        """
        given = {"name": name, "description": description}
        texts = {field: text_of(text) for field, text in given.items() if text is not None}

        def change(trial: Trial) -> None:
            self.protocol.rename_trial(trial, **texts)
            for field, text in texts.items():
                setattr(trial, field, text or None)

        if texts:
            self._log_call(change)

    def _read(self, read: Values) -> Values:
        if read.problem:
            self.count_dropped(read.lost, read.problem)
        return read

    def chrono(
        self,
        name: str,
        aggregator: MakeAggregator | None = TIMINGS,
        start_callback: Callable[[], Any] | None = None,
        end_callback: Callable[[], Any] | None = None,
    ) -> LoggerChronoContext:
        """A context manager that times its block; never raises for a name or an aggregator that are none.

        Args:
            name: of the timer; of anything else, its text.
            aggregator: how the timings read back: by default mean, deviation, minimum and maximum.
            start_callback: called before the clock starts.
            end_callback: called before the clock stops, for example to wait for a device.
        """
        trial = self._begin()
        if not issubclass(type(name), str):
            self._warn_of("chrono", "name", name, name := text_of(name))
        if aggregator is not TIMINGS and not _makes_aggregators(aggregator):
            self._warn_of("chrono", "aggregator", aggregator, "the default")
            aggregator = TIMINGS
        if self._labels:
            name = SeriesName(name, self._labels).text
        timing = self._timing(name, aggregator)
        return LoggerChronoContext(
            self.protocol, trial, aggregator, name, start_callback, end_callback, timing
        )

    def capture_output(self, output_size: int = 50) -> Self:
        """Keep the last lines that this process prints, from now until `finish`, in the trial's metadata.

        They are still printed.  Standard output is ``out`` there and standard error ``err``, each a list of
        lines; ``out_R`` and ``err_R`` for a rank R other than 0.  They are stored about every ten seconds,
        and at the end.  While it captures, a second call does nothing.

        Args:
            output_size: maximum lines of each that are stored, at least 1; with anything else there is one
                warning, and it is 50.

        Returns:
            the logger.
        """
        if self._output is None:
            if not (issubclass(type(output_size), int) and 1 <= output_size < _MAX_COUNTED):
                self._warn_of("capture_output", "output_size", output_size, "50")
                output_size = 50
            names = output_names(self._rank.get("rank"))
            self._output = OutputCapture(self._log_output, names, output_size)
            self.stdout, self.stderr = self._output.streams
            self._output.begin()
        return self

    def log_system_metrics(self, interval: float = 15.0) -> None:
        """Log what this machine and this process do, from now until `finish`.

        Processor, memory, disks, network and GPUs of NVIDIA become series with the label
        ``source="system"``; `track.recording.system` lists them.  It needs the extra ``system``: without it
        there is one warning.  While it logs, a second call does nothing.

        Args:
            interval: seconds between two samples, at least 1; with what is no number there is one
                warning, and it is 15.
        """
        if self._system is None:
            if not (
                issubclass(type(interval), (int, float)) and -math.inf < interval < threading.TIMEOUT_MAX
            ):
                self._warn_of("log_system_metrics", "interval", interval, "15")
                interval = 15.0
            trial, protocol = self.ensure(), self.protocol

            def store(labels: Mapping[str, str], values: Mapping[str, float]) -> None:
                protocol.log_trial_metrics(trial, None, None, context=labels, **values)

            labels = {name: str(value) for name, value in self._rank.items()}
            self._system = SystemMetrics(store, max(1.0, interval), labels)
            self._system.begin()

    def _warn_of(self, call: str, argument: str, given: Any, used: str) -> None:
        """Warn, once for each argument, of what no training should end for."""
        if (call, argument) not in self._warned:
            self._warned.add((call, argument))
            _log.warning(
                "%s: %s is not a usable %s; used instead: %s", call, text_of(given)[:80], argument, used
            )

    def _log_output(self, lines: Mapping[str, Any]) -> bool:
        # Captured output must not create the trial before its arguments are known.
        is_stored = self._create is None
        if is_stored:
            self.protocol.log_trial_metadata(self._trial, **lines)
        return is_stored

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """The trial runs from now on, until `finish`, a signal or the end of the process.

        SIGINT, SIGTERM and SIGHUP end it as interrupted, save it, and then do what they did before; so do
        SIGUSR1 and SIGUSR2 under Slurm, unless the program handles them itself.  One that runs already,
        because its first point has started it, just continues.
        """
        self._starts = self._started_itself = False
        if self._is_running and self._pid == os.getpid():
            return
        trial = self.ensure()
        self.protocol.log_trial_start(trial, **self._rank)
        if self._owns_status:
            self.protocol.log_trial_chrono_start(trial, RUNTIME, SumAggregator.lazy())
            self._know(Status.Running)
            if not self._is_announced:
                self._is_announced = True
                announce(self.protocol, trial)
        self._is_running = True
        self._was_interrupted = self._has_finished = False
        self._pid = os.getpid()
        self._signals = LogSignalHandler(self)
        self._signals.install()
        if system_metrics_in(environment()) and not self._is_shared:
            self.log_system_metrics()

    def finish(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """The trial ended: completed, interrupted, or by an exception, whose traceback is stored.

        One that a signal interrupted stays so, however the program leaves afterwards.

        Args:
            exc_type: class of the exception, None at a normal end.
            exc_val: the exception.
            exc_tb: its traceback.
        """
        self._end(exc_type, exc_val, exc_tb)
        self._let_go()

    def _end(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        trial = self.ensure()
        self._has_finished, self._starts = True, False
        output, self._output = self._output, None
        if output is not None:
            output.end()
        system, self._system = self._system, None
        if system is not None:
            system.end()
        if self._was_interrupted and self._owns_status:
            self._end_again(trial, exc_type, exc_val, exc_tb)
            return
        self._stop_clock(trial)
        self.protocol.log_trial_finish(trial, exc_type, exc_val, exc_tb, **self._participation)
        await_git(trial)
        if self._owns_status:
            self._know(*end_of(exc_type, exc_val, exc_tb))

    def _know(self, status: Status | CustomStatus | None, error: str | None = None) -> None:
        """What the store is about to hold; one that holds this very object has it already."""
        self._trial.status = status
        if error is not None and error not in self._trial.errors[-1:]:
            self._trial.errors.append(error)

    def _end_again(
        self,
        trial: Trial,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Keep the status that the program set after the signal, unless it is the signal itself."""
        if exc_type is not None and issubclass(exc_type, Exception):
            text = "".join(traceback.format_exception(exc_type, exc_val, exc_tb))
            self.protocol.set_trial_status(trial, Status.Interrupted, text)
            self._know(Status.Interrupted, text)

    def _stop_clock(self, trial: Trial) -> None:
        if self._is_running:
            self._is_running = False
            if self._owns_status:
                self.protocol.log_trial_chrono_finish(trial, RUNTIME)

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        """A signal ends it, if it still runs."""
        if self._is_running:
            if self._output is not None:
                self._output.save()
            self._stop_clock(self._trial)
            name = signal.Signals(signum).name
            error = KeyboardInterrupt(f"{name} came while the trial was running")
            ending = (type(error), error, traceback_to(frame))
            self.protocol.log_trial_finish(self._trial, *ending, **self._participation)
            if self._owns_status:
                self._know(*end_of(*ending))
            self._was_interrupted = True

    def set_status(self, status: Status | CustomStatus, error: str | None = None) -> None:
        """Change the trial's status; never raises.

        Args:
            status: the new one; the name or the number of a known one will do.  What is no status leaves the
                trial's own, and is counted as dropped, with one warning.
            error: the error, if any; added to the trial's errors.
        """
        text = None if error is None else text_of(error)
        try:
            known = as_status(status)
        except UsageError as problem:
            self.count_dropped(1, f"set_status: {problem}")
            if text is None:
                return
            known = self._trial.status or Status.CreatedGroup
        else:
            self._starts = False
        self._log_call(lambda trial: self.protocol.set_trial_status(trial, known, text))
        self._know(known, text)

    def rewind(self, step: float) -> None:
        """Go back to a step, that of a checkpoint: the points logged so far of later steps are superseded.

        They move from their series into the trial's history.  Of several ranks only rank 0 does
        this, for all of them: before the others log, that is before the job's barrier.

        Args:
            step: the last one that stays.

        Raises:
            BadArguments: it is no number.
        """
        if not self._rank.get("rank"):
            self.protocol.rewind_trial(self.ensure(), step)

    def report(self, short: bool = True) -> Self:
        """Print the trial as it is stored, as JSON; as this process knows it if the store is unreachable.

        Output that is closed or full is only warned about.

        Args:
            short: leave out the fields that only programs need.

        Returns:
            the logger.
        """
        trial = self.ensure()
        stored = self.protocol.current_trial(trial)
        try:
            sys.stdout.write(json.dumps(to_json(stored or trial, short), indent=2) + "\n")
            sys.stdout.flush()
        except (AttributeError, OSError, ValueError) as error:
            _log.warning("the report cannot be printed: %s", error)
        return self

    def __enter__(self) -> TrialLogger:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        try:
            # A child that was forked inside the block and leaves it, as by sys.exit(), ends only itself.
            if self._pid == os.getpid():
                self._end(exc_type, exc_val, exc_tb)
            self._save()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Restore the signal handlers of before."""
        handler, self._signals = self._signals, None
        if handler is not None:
            handler.uninstall()

    def _save(self) -> None:
        try:
            self.protocol.persist(SIGNAL_SECONDS if self._was_interrupted else None)
        except TrackError as error:
            # The training is done and must not fail for this; save() and the exit of the process try again.
            _log.error("the trial is not saved yet: %s", error)


def _stored_metrics(protocol: Protocol, trial: Trial) -> Mapping[str, Any]:
    stored = protocol.current_trial(trial)
    return {} if stored is None else stored.metrics


def _makes_aggregators(given: Any) -> bool:
    try:
        spec_of(given)
    except Exception:  # noqa: BLE001  # it is called to find out, and may raise anything
        return False
    return True


def _names(given: tuple[Any, ...]) -> set[str]:
    """Names in the first of the positional arguments: a mapping, or a name."""
    first = given[0] if given else ()
    return {first} if isinstance(first, str) else set(fields_of(first) or ())


def _shown(value: Any) -> str:
    return f"{value!r:.200}" if type(value) is str else text_of(value)[:200]
