"""The logger of one trial, for training scripts."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Final

from track.chrono import LoggerChronoContext
from track.logger.media import MediaLogger
from track.persistence.protocol import LATEST, TIMINGS, MakeAggregator, MetricWriter, Protocol
from track.process.lifecycle import ForkSafeRLock
from track.process.signals import SIGNAL_SECONDS, SignalHandler, seconds_left
from track.run.capture import OutputCapture, output_names
from track.run.eta import CountdownLogger
from track.run.provenance import settle
from track.serialization import to_json
from track_protocol.errors import TrackError
from track_protocol.model.aggregators import SumAggregator
from track_protocol.model.entities import CustomStatus, Status, Trial

__all__ = ["LogSignalHandler", "LoggerChronoContext", "TrialLogger"]

_log: Final = logging.getLogger("track")
_RUNTIME: Final = "runtime"


class TrialLogger(MediaLogger, CountdownLogger):
    """Logs into one trial; as a context manager, it starts and finishes it.

    Args:
        trial: the trial.
        protocol: where it is stored.
        create: stores the trial when that has not happened yet; it is called once, as late as possible,
            so that the trial's arguments are known by then.
        rank: of this process, when several log into the trial and one of them made it.
    """

    def __init__(
        self,
        trial: Trial,
        protocol: Protocol,
        *,
        create: Callable[[Trial], Trial] | None = None,
        rank: int | None = None,
    ) -> None:
        super().__init__()
        self._trial = trial
        self.protocol = protocol
        self._create = create
        self._creation = ForkSafeRLock()
        self._early: list[tuple[Any, Mapping[str, Any]]] = []
        self._write: MetricWriter = self._first_write
        # Only given to the store if there is one: a store of the user's own need not know of ranks.
        self._rank: dict[str, Any] = {} if rank is None else {"rank": rank}
        self._is_stored = create is None
        self._is_running = False
        self._was_interrupted = False
        self._pid = 0
        self._signals: LogSignalHandler | None = None
        self._output: OutputCapture | None = None
        if create is None:
            self._write = protocol.metric_writer(trial)

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process it logs into the same trial.
        return partial(TrialLogger, **self._rank), (self.ensure(), self.protocol)

    @property
    def trial(self) -> Trial:
        """The trial as this process knows it; `TrackClient.report` shows the stored one."""
        return self._trial

    @property
    def _owns_status(self) -> bool:
        """Whether its ends are the trial's: another rank may crash and leave the trial running."""
        return not self._rank.get("rank")

    def ensure(self) -> Trial:
        """The trial, stored now if it was not yet."""
        if self._create is not None:
            with self._creation as outermost:
                # Of several threads that log first, one creates it, and the others wait for that.
                if outermost and self._create is not None:
                    self._trial = self._create(self._trial)
                    self._write = self.protocol.metric_writer(self._trial)
                    self._create, self._is_stored = None, True
                    early, self._early = self._early, []
                    for step, metrics in early:
                        self._write(step, metrics)
        return self._trial

    def _is_open_for(self, field: str, values: Mapping[str, Any]) -> bool:
        """Whether values became part of the definition of a trial that is not created yet."""
        if self._create is None:
            return False
        with self._creation as outermost:
            if not outermost or self._create is None:
                return False
            getattr(self._trial, field).update(values)
            return True

    def _first_write(self, step: Any, metrics: Mapping[str, Any]) -> None:
        self.ensure()
        if self._create is not None:
            # A signal handler called this while the trial was being created.
            self._early.append((step, metrics))
        else:
            self._write(step, metrics)

    # -- values ----------------------------------------------------------------------------------

    def log_metrics(
        self, /, step: Any = None, aggregator: Any = None, *, context: Any = None, **kwargs: Any
    ) -> None:
        """Append one point to each of some series; never waits for the store.

        Args:
            step: where in the training the values were observed; any number, text or tuple.
            aggregator: how the series read back; every point is stored in any case.
            context: labels of the series, such as ``{"phase": "train"}``; part of what each of them is.
                Anything but a mapping is the value of a metric that is called context.
            kwargs: the values by the series' names.
        """
        if context is not None:
            self.protocol.log_trial_metrics(self.ensure(), step, aggregator, context=context, **kwargs)
        elif aggregator is None:
            self._write(step, kwargs)
        else:
            self.protocol.log_trial_metrics(self.ensure(), step, aggregator, **kwargs)

    def log_metadata(self, /, aggregator: MakeAggregator | None = LATEST, **kwargs: Any) -> None:
        """Store values with the trial.

        Args:
            aggregator: whether a later value replaces an earlier one of that name or joins it.
            kwargs: the values by name.
        """
        if not self._is_open_for("metadata", kwargs):
            self.protocol.log_trial_metadata(self._trial, aggregator, **kwargs)

    def log_arguments(self, /, **kwargs: Any) -> None:
        """Set the trial's parameters, and create it if it was not yet.

        Parameters that come later are added to the trial, but no longer count for its identity.
        """
        if self._is_open_for("parameters", kwargs):
            self.ensure()
        elif kwargs:
            self._trial.parameters.update(kwargs)
            self.protocol.log_trial_arguments(self._trial, **kwargs)

    def add_tags(self, /, **kwargs: Any) -> None:
        """Label the trial."""
        if not self._is_open_for("tags", kwargs):
            self.protocol.add_trial_tags(self._trial, **kwargs)

    def chrono(
        self,
        name: str,
        aggregator: MakeAggregator | None = TIMINGS,
        start_callback: Callable[[], Any] | None = None,
        end_callback: Callable[[], Any] | None = None,
    ) -> LoggerChronoContext:
        """A context manager that times its block.

        Args:
            name: of the timer.
            aggregator: how the timings read back: by default mean, deviation, minimum and maximum.
            start_callback: called before the clock starts.
            end_callback: called before the clock stops, for example to wait for a device.
        """
        trial = self.ensure()
        timing = self._timing(name, aggregator)
        return LoggerChronoContext(
            self.protocol, trial, aggregator, name, start_callback, end_callback, timing
        )

    def capture_output(self, output_size: int = 50) -> None:
        """Keep the last lines that this process prints, from now until `finish`, in the trial's metadata.

        They are still printed.  Standard output is ``out`` there and standard error ``err``, each a list of
        lines; ``out_R`` and ``err_R`` for a rank R other than 0.  They are stored about every ten seconds,
        and at the end.  While it captures, a second call does nothing.

        Args:
            output_size: maximum lines of each that are stored.

        Raises:
            UsageError: `output_size` is less than 1.
        """
        if self._output is None:
            names = output_names(self._rank.get("rank"))
            self._output = OutputCapture(self._log_output, names, output_size)
            self._output.begin()

    def _log_output(self, lines: Mapping[str, Any]) -> bool:
        # Captured output must not create the trial before its arguments are known.
        if self._is_stored:
            self.protocol.log_trial_metadata(self._trial, **lines)
        return self._is_stored

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """The trial runs from now on, until `finish`, a signal or the end of the process.

        SIGINT and SIGTERM end it as interrupted, save it, and then do what they did before; so do SIGUSR1
        and SIGUSR2 under Slurm, unless the program handles them itself.
        """
        trial = self.ensure()
        self.protocol.log_trial_start(trial, **self._rank)
        if self._owns_status:
            self.protocol.log_trial_chrono_start(trial, _RUNTIME, SumAggregator.lazy())
        self._is_running = True
        self._was_interrupted = False
        self._pid = os.getpid()
        self._signals = LogSignalHandler(self)
        self._signals.install()

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
        output, self._output = self._output, None
        if output is not None:
            output.end()
        if self._was_interrupted and self._owns_status:
            self._end_again(trial, exc_type, exc_val, exc_tb)
            return
        self._stop_clock(trial)
        self.protocol.log_trial_finish(trial, exc_type, exc_val, exc_tb, **self._rank)
        settle(trial)

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

    def _stop_clock(self, trial: Trial) -> None:
        if self._is_running:
            self._is_running = False
            if self._owns_status:
                self.protocol.log_trial_chrono_finish(trial, _RUNTIME)

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        """A signal ends it, if it still runs."""
        if self._is_running:
            if self._output is not None:
                self._output.save()
            self._stop_clock(self._trial)
            name = signal.Signals(signum).name
            error = KeyboardInterrupt(f"{name} came while the trial was running")
            self.protocol.log_trial_finish(
                self._trial, type(error), error, _traceback_to(frame), **self._rank
            )
            self._was_interrupted = True

    def set_status(self, status: Status | CustomStatus, error: str | None = None) -> None:
        """Change the trial's status.

        Args:
            status: the new one; the name or the number of a known one will do.
            error: the error, if any; added to the trial's errors.
        """
        self.protocol.set_trial_status(self.ensure(), status, error)

    def rewind(self, step: float) -> None:
        """Go back to a step, that of a checkpoint: the points logged so far of later steps are superseded.

        They move from their series into the trial's history.  Of several ranks only rank 0 does
        this, for all of them: before the others log, that is before the job's barrier.

        Args:
            step: the last one that stays.

        Raises:
            BadArguments: it is no number.
        """
        if self._owns_status:
            self.protocol.rewind_trial(self.ensure(), step)

    def report(self, short: bool = True) -> None:
        """Print the trial as it is stored, as JSON; as this process knows it if the store is unreachable.

        Args:
            short: leave out the fields that only programs need.
        """
        trial = self.ensure()
        stored = self.protocol.current_trial(trial)
        sys.stdout.write(json.dumps(to_json(stored or trial, short), indent=2) + "\n")

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


class LogSignalHandler(SignalHandler):
    """Ends a running trial when the process is asked to end, or ends without saying so.

    In a child that was forked while the trial ran, a signal saves what the child logged; the trial continues.

    Args:
        logger: of the trial.
    """

    def __init__(self, logger: TrialLogger) -> None:
        self._logger = logger
        self._pid = 0
        self._error_before: BaseException | None = None

    def install(self) -> None:
        """See `SignalHandler.install`."""
        self._pid = os.getpid()
        self._error_before = getattr(sys, "last_value", None)
        super().install()

    def sigint(self, signum: int, frame: FrameType | None) -> None:
        """Interrupted: store that, with the traceback, and save everything logged."""
        self.sigterm(signum, frame)

    def sigterm(self, signum: int, frame: FrameType | None) -> None:
        """Interrupted: store that, with the traceback, and save everything logged."""
        if self._pid == os.getpid():
            self._logger._interrupt(signum, frame)
        self._save(signum)

    def warned(self, signum: int, frame: FrameType | None) -> None:
        """Save everything logged, and leave the trial running: the program decides about its end."""
        self._save(signum)

    def _save(self, signum: int) -> None:
        try:
            self._logger.protocol.persist(seconds_left())
        except TrackError as error:
            _log.error("%s: not everything is saved: %s", signal.Signals(signum).name, error)

    def atexit(self) -> None:
        """The program ended without `finish`: completed, or by the exception that ended the program."""
        error = None if _is_notebook() else getattr(sys, "last_value", None)
        if self._pid != os.getpid():
            return
        if error is None or error is self._error_before:
            self._logger.finish()
        else:
            self._logger.finish(type(error), error, error.__traceback__)


def _is_notebook() -> bool:
    """Whether the session is interactive: there the last error ended one line and not the program."""
    return hasattr(sys, "ps1") and not sys.flags.interactive


def _traceback_to(frame: FrameType | None) -> TracebackType | None:
    """The traceback that an exception raised in `frame` would have."""
    trace = None
    while frame is not None:
        trace = TracebackType(trace, frame, frame.f_lasti, frame.f_lineno or 0)
        frame = frame.f_back
    return trace
