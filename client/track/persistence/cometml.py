"""Trials as experiments of Comet, by the comet_ml package, which sends and does not read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn

from track.media.parts import parts_of
from track.persistence.null import NullProtocol
from track.persistence.protocol import TIMINGS, MakeAggregator, MetricWriter, item_may_be_named
from track.persistence.timers import Timers
from track.serialization import to_json
from track_protocol.errors import ItemNotFound, MissingExtra, UriError, UsageError
from track_protocol.model.entities import Project, Trial, TrialGroup
from track_protocol.model.seriesname import SeriesName, labelled
from track_protocol.security.tokens import redact_tokens
from track_protocol.uri import Uri, check_options, redact

__all__ = ["CometMLProtocol"]

_API_KEY: Final = "COMET_API_KEY"
_OFFLINE: Final = "COMET_OFFLINE_DIRECTORY"
_PLACE: Final = "cometml:WORKSPACE/PROJECT"

_SILENT_OPTIONS: Final[Mapping[str, Any]] = {
    "auto_metric_logging": False,
    "auto_output_logging": False,
    "auto_param_logging": False,
    "display_summary_level": 0,
    "log_code": False,
    "log_env_details": False,
    "log_git_metadata": False,
    "log_git_patch": False,
    "log_graph": False,
    "parse_args": False,
}
"""Nothing is sent but what the script logs."""


def _unreadable(method: str) -> Any:
    """A method that always fails: Comet's SDK does not read."""

    def refuse(self: CometMLProtocol, *args: Any, **kwargs: Any) -> NoReturn:
        raise UsageError(
            f"{method} reads, and {self.uri} cannot be read through Comet's SDK: look at comet.com, or log "
            f"to a store as well, as in multiplexer:file:runs.json;{self.uri}"
        )

    return refuse


class CometMLProtocol(NullProtocol):
    """Each trial is an experiment whose key is the trial's internal id.

    Without ``COMET_API_KEY``, or with ``COMET_OFFLINE_DIRECTORY``, experiments are offline ones: archives in
    that folder (by default the current one), which ``comet upload`` sends.  An archive is written by `close`.

    Parameters, metadata, status and errors become parameters and "others" of these names, tags become tags
    ``name=value``, and timings become metrics ``chrono.NAME``.  Comet knows steps that are integers; other
    steps are left out, and values that are no numbers become "others".

    What is asked about projects, groups and trials is answered from what this process has created; points,
    and trials of other processes, cannot be read.

    Args:
        uri: ``cometml:WORKSPACE/PROJECT``, also with only one of them, ``cometml:PROJECT``.

    Raises:
        MissingExtra: comet_ml is not installed.
        UriError: the URI has other parts.
    """

    def __init__(self, uri: str) -> None:
        parsed = Uri.parse(uri)
        check_options(parsed, {})
        parts = [part for part in f"{parsed.hostname or ''}/{parsed.path}".split("/") if part]
        extra = (parsed.port, parsed.username, parsed.fragment or None, parsed.more_hosts or None)
        if len(parts) > 2 or any(part is not None for part in extra):
            raise UriError(f"{redact(uri)}: write {_PLACE}")
        super().__init__(uri)
        self._workspace = parts[0] if len(parts) == 2 else None
        self._project = parts[-1] if parts else None
        self._comet = _comet_ml()
        self._experiments: dict[bytes, Any] = {}
        self._timers = Timers()

    # -- trials ----------------------------------------------------------------------------------

    def new_trial(self, trial: Trial, auto_increment: bool = False) -> Trial | None:
        """See `Protocol.new_trial`; revisions are those of this process."""
        made = super().new_trial(trial, auto_increment)
        if made is not None:
            self._begin(made)
        return made

    def adopt_trial(self, trial: Trial) -> Trial | None:
        """See `Protocol.adopt_trial`; id and revision are stored."""
        if trial.id is None:
            return super().adopt_trial(trial)
        self._trials[trial.uid] = trial
        self._begin(trial)
        return trial

    def add_project_trial(self, project: Project, trial: Trial) -> None:
        """See `Protocol.add_project_trial`."""
        self._experiment(trial).log_other("project", _plain(project.name))

    def add_group_trial(self, group: TrialGroup, trial: Trial) -> None:
        """See `Protocol.add_group_trial`."""
        self._experiment(trial).log_other("group", _plain(group.name))

    fetch_trials = _unreadable("fetch_trials")
    fetch_table = _unreadable("fetch_table")
    fetch_rows = _unreadable("fetch_rows")
    fetch_fields = _unreadable("fetch_fields")
    fetch_groups_of = _unreadable("fetch_groups_of")
    fetch_changes = _unreadable("fetch_changes")
    fetch_and_update_trial = _unreadable("fetch_and_update_trial")
    fetch_metrics = _unreadable("fetch_metrics")
    fetch_media = _unreadable("fetch_media")
    fetch_blob = _unreadable("fetch_blob")
    fetch_columns = _unreadable("fetch_columns")
    fetch_grouped_columns = _unreadable("fetch_grouped_columns")
    fetch_tails = _unreadable("fetch_tails")
    fetch_rejected = _unreadable("fetch_rejected")

    # -- what happens in a trial -----------------------------------------------------------------

    def _change(self, item: Any, method: str, given: Mapping[str, Any]) -> None:
        """What changes a trial in memory goes to its experiment, too."""
        if method == "remove_trial_tags":
            raise UsageError(f"{self.uri} cannot remove tags through Comet's SDK: remove them on comet.com")
        super()._change(item, method, given)
        if not isinstance(item, Trial):
            return
        if method == "rename_trial":
            self._experiment(item).set_name(_plain(item.name or item.uid))
            self._others(item, {} if item.description is None else {"description": item.description})
        if "arguments" in given:
            self._experiment(item).log_parameters(_plain(given["arguments"]), nested_support=True)
        if "tags" in given:
            self._experiment(item).add_tags(_tags(given["tags"]))
        self._others(item, given.get("metadata", {}))
        if method == "log_trial_start" or "status" in given:
            assert item.status is not None
            self._others(item, {"status": item.status.name})
        if given.get("error") is not None:
            self._others(item, {"error": given["error"]})

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
        """See `Protocol.log_trial_metrics`; labels are part of the name."""
        self._points(trial, step, labelled(kwargs, context))

    def log_trial_media(
        self,
        trial: Trial,
        kind: str,
        name: str,
        value: Any,
        step: Any = None,
        context: Any = None,
        **options: Any,
    ) -> None:
        """See `Protocol.log_trial_media`: images, texts, histograms and files, as Comet takes them."""
        send = _MEDIA.get(kind)
        if send is None:
            raise UsageError(f"Comet does not accept {kind}: it accepts {', '.join(_MEDIA)}")
        send(self._experiment(trial), redact_tokens(SeriesName(name, context).text), value, _whole(step))

    def metric_writer(self, trial: Trial) -> MetricWriter:
        """See `Protocol.metric_writer`."""
        return lambda step, metrics: self._points(trial, step, metrics)

    def log_trial_chrono_start(
        self,
        trial: Trial,
        name: str,
        aggregator: MakeAggregator | None = TIMINGS,
        start_callback: Callable[[], Any] | None = None,
        end_callback: Callable[[], Any] | None = None,
    ) -> None:
        """See `Protocol.log_trial_chrono_start`."""
        self._timers.start(trial, name, start_callback, end_callback)

    def log_trial_chrono_finish(
        self,
        trial: Trial,
        name: str,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """See `Protocol.log_trial_chrono_finish`."""
        timer = self._timers.stop(trial, name)
        if timer is None:
            raise UsageError(f"chrono {name!r} was stopped without being started")
        if exc_type is None:
            self._experiment(trial).log_metric(f"chrono.{redact_tokens(name)}", timer.seconds)

    def log_trial_dropped_points(self, trial: Trial, points: int, reason: str) -> None:
        """See `Protocol.log_trial_dropped_points`."""
        self._others(trial, {"dropped_points": {"points": points, "reason": reason}})

    def rewind_trial(self, trial: Trial, step: float) -> None:
        """See `Protocol.rewind_trial`; Comet keeps the points, and gets the step as an "other"."""
        super().rewind_trial(trial, step)
        self._others(trial, {"rewind": step})

    # -- durability ------------------------------------------------------------------------------

    def commit(self, **kwargs: Any) -> None:
        """Send, or write to the offline folder, what was logged.

        Raises:
            UsageError: an option was given; there are none.
        """
        if kwargs:
            raise UsageError(f"a commit to Comet takes no options, not {', '.join(kwargs)}")
        self.flush()

    def flush(self, timeout: float | None = None) -> None:
        """See `Protocol.flush`."""
        for experiment in list(self._experiments.values()):
            experiment.flush(None if timeout is None else max(1, round(timeout)))

    def close(self) -> None:
        """End the experiments; an offline one becomes an archive."""
        while self._experiments:
            self._experiments.pop(next(iter(self._experiments))).end()

    # -- inside ----------------------------------------------------------------------------------

    def _begin(self, trial: Trial) -> None:
        assert trial.id is not None, "a trial that is in a store has an id"
        folder = os.environ.get(_OFFLINE)
        options = {**_SILENT_OPTIONS, "workspace": self._workspace, "project_name": self._project}
        if folder is not None or not os.environ.get(_API_KEY):
            made = self._comet.OfflineExperiment(
                offline_directory=folder or os.curdir, experiment_key=trial.id.hex(), **options
            )
        else:
            made = self._comet.Experiment(experiment_key=trial.id.hex(), **options)
        self._experiments[trial.id] = made
        made.set_name(_plain(trial.name or trial.uid))
        made.log_parameters(_plain(trial.parameters), nested_support=True)
        made.add_tags(_tags(trial.tags))
        fields = {"uid": trial.uid, "version": trial.version, "description": trial.description}
        self._others(
            trial, {**{name: value for name, value in fields.items() if value is not None}, **trial.metadata}
        )

    def _points(self, trial: Trial, step: Any, values: Mapping[str, Any]) -> None:
        experiment = self._experiment(trial)
        whole = _whole(step)
        for name, value in _plain(dict(values)).items():
            if isinstance(value, (int, float)):
                experiment.log_metric(name, value, step=whole)
            else:
                self._others(trial, {name: value})

    def _others(self, trial: Trial, values: Mapping[str, Any]) -> None:
        experiment = self._experiment(trial)
        for name, value in values.items():
            experiment.log_other(redact_tokens(name), _text(value))

    def _experiment(self, trial: Trial) -> Any:
        known = trial if trial.id is not None else self._trials.get(trial.uid)
        found = None if known is None or known.id is None else self._experiments.get(known.id)
        if found is None:
            raise ItemNotFound(
                f"trial {trial.uid} has no open experiment here: Comet takes what the process that created a "
                "trial logs, until close()"
            )
        return found


def _whole(step: Any) -> int | None:
    """The only steps that Comet knows."""
    return step if isinstance(step, int) and not isinstance(step, bool) else None


_MEDIA: Final[Mapping[str, Callable[[Any, str, Any, int | None], Any]]] = {
    "image": lambda comet, name, value, step: comet.log_image(value, name=name, step=step),
    "text": lambda comet, name, value, step: comet.log_text(
        redact_tokens(value), step=step, metadata={"name": name}
    ),
    "histogram": lambda comet, name, value, step: comet.log_histogram_3d(value, name=name, step=step),
    "file": lambda comet, name, value, step: comet.log_asset(_file(Path(value)), file_name=name, step=step),
}


def _file(path: Path) -> str | BytesIO:
    """What Comet reads: the file; of a text that has a token in it, the content without that."""
    with path.open("rb") as file:
        if all(part == file.read(len(part)) for part in parts_of(path)):
            return os.fspath(path)
    return BytesIO(b"".join(parts_of(path)))


def _tags(tags: Mapping[str, Any]) -> list[str]:
    """Comet's tags are texts."""
    plain = _plain(dict(tags))
    return [f"{name}={each if isinstance(each, str) else json.dumps(each)}" for name, each in plain.items()]


def _plain(value: Any) -> Any:
    """Plain values without the tokens in them."""
    return json.loads(redact_tokens(json.dumps(to_json(value))))


def _text(value: Any) -> Any:
    """As Comet stores it: plain values as they are, others as JSON."""
    plain = _plain(value)
    return plain if isinstance(plain, (str, int, float, bool)) else json.dumps(plain)


def _comet_ml() -> Any:
    try:
        # Deferred: it is heavy, and few have it.
        import comet_ml
    except ImportError as error:
        raise MissingExtra(
            f"cometml: experiments need Comet's package: pip install 'trackwire[comet]' ({error})"
        ) from error
    return comet_ml
