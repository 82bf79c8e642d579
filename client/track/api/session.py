"""The current run of this process, and the functions that work on it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from track.api.notices import say_ignored
from track.api.runs import Run
from track.api.values import Config, Forwarded, Summary
from track.client import TrackClient, TrialDoesNotExist
from track.configuration import DEFAULT_STORE, environment, options
from track.persistence.existing import open_existing
from track.persistence.protocol import Protocol
from track.reading.runs import Runs
from track.recording.fields import labels_of
from track.recording.parameters import Arguments, as_mapping
from track.recording.resume import definition, resumes_in
from track.structure import CONTINUED
from track_protocol.errors import UsageError
from track_protocol.model.entities import Trial

__all__ = [
    "config",
    "current_run",
    "define_metric",
    "finish",
    "init",
    "log",
    "log_artifact",
    "login",
    "runs",
    "save",
    "summary",
    "watch",
]

_ID: Final = "run_id"
"""The tag that has the id which a script gave its run."""

_ALIASES: Final = {
    "experiment_name": "name",
    "run_name": "name",
    "description": "notes",
    "project_name": "project",
}
"""Names that SwanLab and early versions of trackio have for arguments."""

_RESUMES: Final = ("allow", "must", "auto")
_KEEPS: Final = (False, "return_previous")


class _Session:
    """The state of this process.

    Attributes:
        run: the current run.
        last: the run that has ended last.
        client: that of the run before, which serves the next one in the same store.
        uri: of the client's store.
    """

    run: Run | None = None
    last: Run | None = None
    client: TrackClient | None = None
    uri: str | None = None


def init(
    project: str | None = None,
    name: str | None = None,
    config: Arguments = None,
    *,
    uri: str | None = None,
    group: str | None = None,
    tags: Sequence[str] | Mapping[str, Any] | None = None,
    notes: str | None = None,
    id: str | None = None,
    resume: bool | str | None = None,
    reinit: bool | str | None = None,
    mode: str | None = None,
    system_metrics: bool | None = None,
    **others: Any,
) -> Run:
    """Start a run, which is the current one from then on; a run before it is finished.

    Args:
        project: created if it does not exist.
        name: of the trial.
        config: the parameters: a mapping, a namespace, or a parser, which then parses the command line.
        uri: of the store; by default ``TRACK_URI``, or ``uri`` in `track.config`, or `DEFAULT_STORE`.
        group: name of the group.
        tags: labels.
        notes: free text.
        id: by which the script finds the run again.
        resume: ``"allow"``, ``"auto"`` or True continue the run of that id if there is one, ``"must"`` fails
            if there is none, ``"never"`` fails if there is one.  Without an id, any but ``"never"`` continues
            the newest unfinished trial of the same name, version and parameters.
        reinit: False or ``"return_previous"`` returns the current run if there is one; ``"create_new"``
            leaves it running.
        mode: ``"disabled"`` stores nothing.  ``"online"`` and ``"offline"`` change nothing: what an
            unreachable server has not got yet is sent later in any case.
        system_metrics: log what the machine does; see `TrialLogger.log_system_metrics`.  By default what
            ``TRACK_SYSTEM_METRICS`` (1 or 0) in the environment says, else not.
        others: what other trackers take, too; ``experiment_name`` and ``description`` count as `name` and
            `notes`, ``job_type`` becomes a tag, anything else has no effect, with one warning.

    Raises:
        UsageError: ``resume="never"``, and there is a run of that id.
        TrialDoesNotExist: ``resume="must"``, and there is none.
    """
    if _Session.run is not None and reinit in _KEEPS:
        return _Session.run
    if reinit != "create_new":
        finish()
    given = {"project": project, "name": name, "notes": notes}
    for alias in _ALIASES.keys() & others.keys():
        given[_ALIASES[alias]] = given[_ALIASES[alias]] or others.pop(alias)
    labels = labels_of(tags)
    if job_type := others.pop("job_type", None):
        labels["job_type"] = job_type
    if id is not None:
        labels[_ID] = id
    say_ignored("init", [name for name, value in others.items() if value is not None])
    client = _client("none:" if mode == "disabled" else uri)
    _place(client, given["project"], group)
    parameters = as_mapping(config)
    trial = None if id is None else _found(client, id, resume)
    resumes = resume is True or resume in _RESUMES
    is_resumed = resumes or resumes_in(environment()) or bool(environment().get(CONTINUED))
    if trial is not None:
        logger = client.set_trial(trial, force=True)
        logger.log_arguments(
            **{name: value for name, value in parameters.items() if name not in trial.parameters}
        )
        logger.add_tags(**labels)
    else:
        logger = client.new_trial(
            force=True,
            arguments=parameters or None,
            resume=True if resumes and id is None else None,
            name=given["name"],
            description=given["notes"],
            tags=labels,
        )
    logger.start()
    if system_metrics:
        logger.log_system_metrics()
    made = Run(client, logger, parameters, labels, id, is_resumed, _ended)
    _Session.run = made
    return made


def _client(uri: str | None) -> TrackClient:
    wanted = uri or str(options("uri", DEFAULT_STORE))
    if _Session.client is None or _Session.uri != wanted or _Session.run is not None:
        _Session.client, _Session.uri = TrackClient(wanted), wanted
    return _Session.client


def _place(client: TrackClient, project: str | None, group: str | None) -> None:
    if project is not None:
        client.set_project(name=project, force=True)
    client.group = None
    if group is not None:
        client.set_group(name=group, force=True)


def _found(client: TrackClient, id: str, resume: bool | str | None) -> Trial | None:
    """The trial that a script means by an id, if it is to be continued."""
    if resume is None or resume is False:
        return None
    found = _stored(client, id)
    if found is None and resume == "must":
        raise TrialDoesNotExist(
            f"no run has the id {id!r}: correct it, or allow a new one with resume='allow'"
        )
    if found is not None and resume == "never":
        raise UsageError(f"a run has the id {id!r} already: give another, or continue it with resume='allow'")
    return found


def _stored(client: TrackClient, id: str) -> Trial | None:
    query: dict[str, Any] = {f"tags.{_ID}": id}
    if client.project is not None:
        query["project_id"] = client.project.uid
    tagged = client.protocol.fetch_trials(query)
    if tagged:
        return tagged[-1]
    try:
        return client.protocol.current_trial(definition(id, None, 0))
    except UsageError:
        return None  # a word of the script's own


def _ended(run: Run) -> None:
    if _Session.run is run:
        _Session.run, _Session.last = None, run


def current_run() -> Run | None:
    """The run that has begun and not ended, as ``track.run``; None without one."""
    return _Session.run


def _current() -> Run:
    """The current run; one begins when there is none."""
    return _Session.run or init()


def log(
    data: Mapping[str, Any] | None = None,
    step: int | None = None,
    commit: bool | None = None,
    **named: Any,
) -> None:
    """Store values of one step in the current run; see `Run.log`.  Without a run, one begins."""
    _current().log(data, step, commit, **named)


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """The current run ends, and everything logged is saved; see `Run.finish`."""
    if _Session.run is not None:
        _Session.run.finish(exit_code, quiet)


def save(path: str | os.PathLike[str], *others: Any, **more: Any) -> None:
    """Store a file with the current run; see `TrialLogger.log_artifact`.

    Args:
        path: of the file.
        others: what other trackers take, too.
        more: the same by name.
    """
    say_ignored("save", [*map(repr, others), *more])
    _current().save(path)


def log_artifact(path: str | os.PathLike[str], name: str | None = None, **others: Any) -> None:
    """Store a file with the current run; see `TrialLogger.log_artifact`."""
    _current().log_artifact(path, name, **others)


def login(*given: Any, **others: Any) -> bool:
    """Accepted for scripts of other trackers: logging in takes ``track login`` once.

    Args:
        given: what other trackers take.
        others: the same by name.
    """
    say_ignored("track", ["login()"])
    return True


def watch(*given: Any, **others: Any) -> None:
    """Accepted for scripts of other trackers: log what you want to see of a model as histograms.

    Args:
        given: what other trackers take.
        others: the same by name.
    """
    say_ignored("track", ["watch()"])


def define_metric(*given: Any, **others: Any) -> None:
    """Accepted for scripts of other trackers: each metric has its least, greatest and last value in any case.

    Args:
        given: what other trackers take.
        others: the same by name.
    """
    say_ignored("track", ["define_metric()"])


def _latest() -> Run | None:
    return _Session.run or _Session.last


def _config() -> Config | None:
    run = _latest()
    return None if run is None else run.config


def _summary() -> Summary | None:
    run = _latest()
    return None if run is None else run.summary


config: Final = Forwarded(_config, lambda: (_latest() or init()).config)
"""The parameters of the current run, or of the last one."""

summary: Final = Forwarded(_summary, lambda: (_latest() or init()).summary)
"""Values for the whole current run, or the last one."""


def runs(
    store: str | Protocol | TrackClient | None = None,
    filter: str | Mapping[str, Any] = "",
    order: str | Sequence[str] | None = None,
    limit: int | None = None,
) -> Runs:
    """Stored trials, read page by page when they are needed; see `track.reading.runs.Runs`.

    Args:
        store: a URI, or what is open already; by default that of the current or last run, else as for `init`.
        filter: which trials, as for ``track ls --filter``: ``"status = completed and lr < 0.1"``.
        order: attributes to sort by, ``-`` in front to descend: ``"metrics.loss.min"``.
        limit: how many at most.

    Raises:
        ItemNotFound: there is no such file.
        BadQuery: the filter or the order cannot be understood; the message suggests what may be meant.
    """
    if store is None:
        store = _Session.client
    if isinstance(store, TrackClient):
        store = store.protocol
    protocol = open_existing(store) if store is None or isinstance(store, str) else store
    return Runs(protocol, filter, order, limit)
