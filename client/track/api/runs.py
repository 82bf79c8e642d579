"""A run: what ``track.init`` returns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

from track.api.media import as_media
from track.api.notices import say_ignored
from track.api.values import Config, Summary
from track.client import TrackClient
from track.logger import TrialLogger
from track.recording.fields import labels_of
from track_protocol.model.entities import Trial
from track_protocol.model.values import INT_MAX, INT_MIN, MAX_DEPTH

__all__ = ["Run"]


class Run:
    """One trial that runs, for scripts in the form of other trackers.

    Args:
        client: of the store.
        logger: of the trial.
        config: what ``init`` was given.
        tags: likewise.
        id: by which the script calls the run; by default the trial's uid.
        is_resumed: whether the trial may have points already.
        on_end: called once it has ended.

    Attributes:
        client: everything else that a client offers.
        logger: everything else that can be logged.
        config: the parameters.
        summary: values for the whole run.
    """

    def __init__(
        self,
        client: TrackClient,
        logger: TrialLogger,
        config: Mapping[str, Any],
        tags: Mapping[str, Any],
        id: str | None,
        is_resumed: bool,
        on_end: Callable[[Run], None],
    ) -> None:
        self.client = client
        self.logger = logger
        stored = logger.trial
        self._id = id
        self._last: dict[str, Any] = _last_values(stored) if is_resumed else {}
        self._step: int = _next_step(stored) if is_resumed else 0
        self._on_end = on_end
        self._has_ended = False
        self._tags = tuple(tag for tag, value in {**stored.tags, **tags}.items() if value is True)
        said = stored.metadata.get("summary")
        self.config = Config(logger, {**stored.parameters, **config})
        self.summary = Summary(logger, said if isinstance(said, Mapping) else {}, lambda: self._last)

    @property
    def id(self) -> str:
        """By which it is resumed."""
        return self.trial.uid if self._id is None else self._id

    @property
    def name(self) -> str | None:
        """Of the trial; it may be set, as may the next two."""
        return self.trial.name

    @name.setter
    def name(self, name: str) -> None:
        self.logger.rename(name)

    @property
    def notes(self) -> str | None:
        """The description."""
        return self.trial.description

    @notes.setter
    def notes(self, notes: str) -> None:
        self.logger.rename(description=notes)

    @property
    def tags(self) -> tuple[str, ...]:
        """The labels without a value."""
        return self._tags

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        wanted = tuple(labels_of(tags))
        self.logger.add_tags(labels_of([tag for tag in wanted if tag not in self._tags]))
        self.logger.remove_tags(*[tag for tag in self._tags if tag not in wanted])
        self._tags = wanted

    @property
    def project(self) -> str | None:
        """Name of the project."""
        return None if self.client.project is None else self.client.project.name

    @property
    def step(self) -> int:
        """The step of the next call that gives none."""
        return self._step

    @property
    def trial(self) -> Trial:
        """The trial as this process knows it."""
        return self.logger.trial

    def __repr__(self) -> str:
        return f"<run {self.name or ''} {self.trial.uid[:12]} of {self.project}>"

    def log(
        self,
        data: Mapping[str, Any] | None = None,
        step: int | None = None,
        commit: bool | None = None,
        *,
        context: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> None:
        """Store values of one step; never raises.

        Numbers become points of metrics; `Image`, `Histogram`, `Text` and figures media; texts are texts.  A
        dict within is the same as names with dots: ``{"train": {"loss": 1}}`` is ``train.loss``.

        Args:
            data: values by name.
            step: by default one more than that of the call before.  Steps need not ascend.
            commit: False leaves the next call, if it gives no step, at the same one.  By default False when
                `step` is given, else True.
            context: labels of the series.
            named: more values.
        """
        if data is not None and not isinstance(data, Mapping):
            self.logger.log(data, step=step, context=context, **named)
            return
        at = self._step_of(step, commit)
        values = _flat({**(data or {}), **named})
        metrics = {name: value for name, value in values if not self._log_media(name, value, at, context)}
        if metrics:
            self._last.update(metrics)
            self.logger.log(metrics, step=at, context=context)

    def _log_media(self, name: str, value: Any, step: Any, context: Mapping[str, Any] | None) -> bool:
        """Store a value as media, if it is any; what cannot be made into them is counted as dropped."""
        try:
            media = as_media(value)
            for each in media or ():
                each.log_to(self.logger, name, step, context)
        except Exception as error:  # noqa: BLE001  # figures and tensors may raise anything: it ends no training
            reason = f"{name}: {type(value).__name__} cannot be stored ({type(error).__name__})"
            self.logger.protocol.count_dropped(self.logger.ensure(), 1, reason)
            return True
        return media is not None

    def _step_of(self, step: int | None, commit: bool | None) -> int:
        at = self._step if step is None else step
        is_committed = step is None if commit is None else commit
        if type(at) is int and INT_MIN <= at < INT_MAX:
            self._step = at + 1 if is_committed else at
        return at

    def log_artifact(self, path: Any, name: str | None = None, **others: Any) -> None:
        """Store a file; see `TrialLogger.log_artifact`."""
        say_ignored("log_artifact", others)
        self.logger.log_artifact(path, name)

    def log_code(self, *_: Any, **__: Any) -> None:
        """Store the source files of the program; see `TrialLogger.log_code`."""
        self.logger.log_code()

    def save(self, path: str | os.PathLike[str], *_: Any, **__: Any) -> None:
        """Store a file; see `TrialLogger.log_artifact`."""
        self.logger.log_artifact(path)

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """The run ends, and everything logged is saved.

        Args:
            exit_code: another than 0 says that it failed.
            quiet: accepted for scripts of other trackers.
        """
        if exit_code:
            self.__exit__(SystemExit, SystemExit(exit_code), None)
        else:
            self.__exit__(None, None, None)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if not self._has_ended:
            self._has_ended = True
            try:
                self.logger.__exit__(exc_type, exc_val, exc_tb)
            finally:
                self._on_end(self)


def _flat(values: Mapping[Any, Any], before: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Values of mappings in one another, by names with dots; one that is too deep stays as it is."""
    for key, value in values.items():
        name = before + (key if isinstance(key, str) else _text(key))
        if isinstance(value, Mapping) and value and depth < MAX_DEPTH:
            yield from _flat(value, f"{name}.", depth + 1)
        else:
            yield name, value


def _text(key: Any) -> str:
    try:
        return str(key)
    except Exception:  # noqa: BLE001  # its own text may raise anything: its type is a name, too
        return type(key).__name__


def _summaries(trial: Trial) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in trial.metrics:
        summary = getattr(trial.metrics, "summary", None)
        yield name, summary(name) if summary is not None else {}


def _last_values(trial: Trial) -> dict[str, Any]:
    return {name: summary.get("last") for name, summary in _summaries(trial)}


def _next_step(trial: Trial) -> int:
    """One more than the greatest whole step."""
    steps = [summary.get("last_step") for _, summary in _summaries(trial)]
    return max((step + 1 for step in steps if isinstance(step, int)), default=0)
