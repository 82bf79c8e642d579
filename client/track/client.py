"""The entry to everything: `TrackClient`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from track.chrono import LoggerChronoContext
from track.configuration import environment, options, switched_on
from track.logger import TrialLogger
from track.logger.forwarders import LoggerForwarders
from track.persistence import get_protocol
from track.persistence.lookup import find_trial
from track.persistence.protocol import LATEST, TIMINGS, MakeAggregator, Protocol
from track.process.lifecycle import ForkSafeRLock
from track.recording.fields import plain_fields
from track.recording.names import made_name
from track.recording.parameters import Arguments, as_mapping, is_same, storable
from track.recording.provenance import captured, captures_in, log_run
from track.recording.resume import (
    claimed,
    definition,
    joined,
    joined_or_created,
    orion_in,
    rank_in,
    resumes_in,
)
from track.recording.system import system_metrics_in
from track.serialization import to_json
from track.structure import CONTINUED, set_current_project, set_current_trial
from track.versioning import default_version_hash
from track_protocol.errors import BadArguments, ItemNotFound, MissingExtra, TrackError, UsageError
from track_protocol.model.entities import Project, Status, Trial, TrialGroup

__all__ = ["TrackClient", "TrialDoesNotExist"]

_ORPHAN: Final = "orphan"


class _NotGiven(str):
    """The default backend, which differs from the same text given by the caller."""

    __slots__ = ()


_NONE: Final = _NotGiven("none")
_T = TypeVar("_T", Project, TrialGroup)
_log: Final = logging.getLogger("track")


class TrialDoesNotExist(ItemNotFound):
    """The trial that was asked for is not in the store."""


class TrackClient(LoggerForwarders):
    """Tracks one trial at a time in one store.

    Args:
        backend: URI of the store: ``file:NAME.json``, ``sqlite:NAME.db``, ``ephemeral:``,
            ``socket://HOST:PORT`` or, to track nothing, ``none``; a `Protocol` will do too.
            When it is left out, ``TRACK_URI``, or ``uri`` in `track.config`, names one.
        rank: of this process, when several log into one trial: 0 has its status, the others only join it.
            By default that of the environment: ``RANK``, as torchrun sets it, or, beside ``TRACK_TRIAL``,
            that of Slurm, Open MPI or PMI.
        rank_label: label all metrics and timings with the rank, ``loss{rank="3"}``, so that those of several
            ranks are distinguished.  By default what ``TRACK_RANK_LABEL`` (1 or 0) in the environment says.

    Attributes:
        protocol: the store, with every call of the storage contract.
        project: the current project, None before `set_project`.
        group: the current group, None before `set_group`.
        logger: the logger of the current trial, None before there is one.

    Raises:
        UriError: the URI cannot be understood.
        UsageError: ``TRACK_RESUME``, ``TRACK_CAPTURE`` or ``TRACK_SYSTEM_METRICS`` is set to something else
            than 0 or 1, or `track.config` cannot be read.
        MissingExtra: the packages of its backend are not installed.
    """

    def __init__(
        self, backend: str | Protocol = _NONE, rank: int | None = None, rank_label: bool | None = None
    ) -> None:
        if backend is _NONE:
            backend = str(options("uri", "") or _none())
        self.protocol: Protocol = get_protocol(backend) if isinstance(backend, str) else backend
        self.project: Project | None = None
        self.group: TrialGroup | None = None
        self.logger: TrialLogger | None = None
        self._beginning = ForkSafeRLock()
        self._continued = os.environ.get(CONTINUED)
        self._resumes = resumes_in(environment())
        self._captures = captures_in(environment())
        system_metrics_in(environment())  # said here if it is wrong, and not when the training begins
        self._orion = orion_in(os.environ)
        self._orion_trial = self._orion.trial
        self._rank = rank_in(os.environ) if rank is None else rank
        labels = switched_on(environment(), "TRACK_RANK_LABEL") if rank_label is None else rank_label
        self._labels = {"rank": self._rank} if labels and self._rank is not None else {}
        self._version: Callable[[], str | None] = default_version_hash

    @property
    def trial(self) -> Trial | None:
        """The current trial; under Oríon (``ORION_TRIAL_ID``) the one that it means, from the start."""
        if self.logger is None and self._orion_trial is not None:
            self._begun().ensure()
        return None if self.logger is None else self.logger.trial

    @property
    def version(self) -> str | None:
        """The version of the code that runs, which trials get; see `set_version`."""
        return self._version()

    # -- where -----------------------------------------------------------------------------------

    def set_project(
        self, project: Project | str | None = None, force: bool = False, get_only: bool = False, **kwargs: Any
    ) -> Project:
        """Choose the project, and create it if it does not exist.

        Args:
            project: its definition or its name, or else
            kwargs: the fields of one, such as ``name``.
            force: choose another one than before.
            get_only: do not create it.

        Raises:
            UsageError: another project was chosen before, and not `force`; or it has no name.
            ItemNotFound: it does not exist, and `get_only`.
        """
        if isinstance(project, str):
            project, kwargs = None, {"name": project, **kwargs}
        named = {"name": self._orion.project} if self._orion.project and not kwargs else kwargs
        wanted = project or Project(**named)
        if not wanted.uid:
            raise UsageError("the project has no name: call set_project(name=...)")
        if self.project is not None and not force:
            return _unchanged("project", self.project, wanted)
        get, new = self.protocol.get_project, self.protocol.new_project
        found = _found("project", wanted, get(wanted) if get_only else new(wanted))
        if self.project is not None and self.project.uid != found.uid:
            self.group = None
        self.project = found
        set_current_project(found)
        return found

    def set_group(
        self,
        group: TrialGroup | str | None = None,
        force: bool = False,
        get_only: bool = False,
        **kwargs: Any,
    ) -> TrialGroup:
        """Choose the group of the trials to come, and create it if it does not exist.

        Args:
            group: its definition or its name; without a project, it gets the client's.  Or else
            kwargs: the fields of one, such as ``name``.
            force: choose another one than before.
            get_only: do not create it.

        Raises:
            UsageError: another group was chosen before, and not `force`.
            ItemNotFound: it does not exist, and `get_only`.
        """
        if isinstance(group, str):
            group, kwargs = None, {"name": group, **kwargs}
        wanted = group or TrialGroup(**kwargs)
        if wanted.project_id is None:
            own = None if wanted._uid == wanted.compute_uid() else wanted._uid
            wanted = replace(wanted, project_id=self._in_project().uid, _uid=own)
        if self.group is not None and not force:
            return _unchanged("group", self.group, wanted)
        get, new = self.protocol.get_trial_group, self.protocol.new_trial_group
        found = _found("group", wanted, (None if get_only else new(wanted)) or get(wanted))
        self.group = found
        return found

    def new_trial(
        self,
        named: bool | str | None = None,
        /,
        arguments: Arguments = None,
        resume: bool | None = None,
        *,
        force: bool = False,
        **kwargs: Any,
    ) -> TrialLogger:
        """Begin a new trial.

        With arguments (or ``parameters``) it is created at once.  Without, when `log_arguments` brings them,
        or else when it starts or logs for the first time; and at the latest, if anything was said about it,
        at `save` and `close`, at the next new trial and at the end of the program.  If one of the same name,
        version and parameters exists, the new one is its next revision.  When ``TRACK_TRIAL`` in the
        environment holds the uid or the id of a trial, the first call resumes that one instead, and adds the
        arguments to its parameters.  Under Oríon (``ORION_TRIAL_ID``) the first one is the trial that Oríon
        means, made or resumed.

        Args:
            named: its name, or else what `force` says, as in the documents.
            arguments: its parameters: a parser (which then parses the command line), what one
                returned, a mapping, a data class or a model.
            resume: continue the newest trial of the same name, version and parameters, in this project
                and group, that stopped before it completed, if there is one.  By default what
                ``TRACK_RESUME`` (1 or 0) in the environment says, else not.
            force: though there is a trial that has not finished.
            kwargs: fields of the trial, such as ``name``, ``description`` or ``parameters``.

        Raises:
            UsageError: there is a trial that has not finished, and not `force`.
            TrialDoesNotExist: ``TRACK_TRIAL`` names one that is not in the store.
        """
        if isinstance(named, str):
            kwargs = {"name": named, **kwargs}
        else:
            force = force or bool(named)
        if self.logger is not None and not self.logger.has_finished and not force:
            raise UsageError("this client has a trial already: finish it, then call new_trial(force=True)")
        self._leave_trial()
        parameters = kwargs.pop("parameters", None)
        continued, self._continued = self._continued, None
        if continued:
            resumed = self.set_trial(uid=continued, force=True).trial
            if self._captures and not self._rank:
                log_run(self.protocol, resumed)
            self.logger = TrialLogger(
                resumed, self.protocol, rank=self._rank, starts=True, labels=self._labels
            )
        else:
            create = self._resume if (self._resumes if resume is None else resume) else self._create
            is_new = create == self._create and self._orion_trial is None
            if self._orion_trial is not None:
                create = partial(
                    joined_or_created, self.protocol, self._orion_trial, self._in_project, create
                )
                self._orion_trial = None
            if self._captures:
                create = partial(captured, self.protocol, create, os.getpid())
            defined = replace(Trial(**plain_fields(kwargs)), id=None)  # an id is what a fork makes it share
            self.logger = TrialLogger(
                defined, self.protocol, create=create, labels=self._labels, shared=is_new
            )
            if kwargs:
                self.logger.expect_creation()
        if arguments is not None or parameters is not None:
            self.log_arguments({**as_mapping(parameters), **as_mapping(arguments)})
        return self._current()

    def _leave_trial(self) -> None:
        if self.logger is not None:
            self.logger.leave()

    def set_trial(
        self,
        trial: Trial | str | None = None,
        force: bool = False,
        uid: str | None = None,
        hash: str | None = None,
        revision: int = 0,
        **kwargs: Any,
    ) -> TrialLogger:
        """Continue a stored trial.

        Args:
            trial: its definition or its uid, or else
            uid: its uid or the beginning of it, as `track ls` shows it, its internal id as 32 hexadecimal
                digits, or its name if no other trial has it, or else
            hash: its hash, and
            revision: its revision, or else
            kwargs: fields that it has, such as ``name`` and ``parameters``; of several trials, the newest.
            force: though there is a trial already.

        Raises:
            UsageError: there is a trial already, and not `force`; or no argument names one, or several have
                that name.
            TrialDoesNotExist: it is not in the store.
        """
        if self.logger is not None and not self.logger.has_finished and not force:
            raise UsageError("this client has a trial already: call set_trial(..., force=True)")
        if isinstance(trial, str):
            trial, uid = None, trial
        found = self._with_fields(kwargs) if kwargs else self._stored(trial, uid, hash, revision)
        self._leave_trial()
        # One that waits for whoever runs it starts with its first point; any other is only added to.
        starts = found.status is Status.CreatedGroup
        self.logger = TrialLogger(found, self.protocol, rank=self._rank, starts=starts, labels=self._labels)
        set_current_trial(found)
        return self.logger

    def _stored(self, trial: Trial | None, uid: str | None, hash: str | None, revision: int) -> Trial:
        if trial is None and uid is not None:
            return self._called(uid)
        wanted = trial if trial is not None else definition(None, hash, revision)
        found = self.protocol.current_trial(wanted)
        if found is None:
            named = f"uid {wanted.uid!r}" if wanted.id is None else f"id {wanted.id.hex()}"
            raise TrialDoesNotExist(
                f"no trial has the {named} in {type(self.protocol).__name__}: correct it, or make a new trial"
            )
        return found

    def _called(self, name: str) -> Trial:
        """The trial of a uid or an id, or else of the beginning of a uid or of a name."""
        with suppress(UsageError):
            found = self.protocol.current_trial(definition(name, None, 0))
            if found is not None:
                return found
        try:
            return find_trial(self.protocol, name)
        except ItemNotFound as error:
            raise TrialDoesNotExist(f"{error}; {CONTINUED} may have named it") from None

    def _with_fields(self, fields: Mapping[str, Any]) -> Trial:
        wanted = dict(fields)
        if "parameters" in wanted:
            wanted["parameters"] = storable(as_mapping(wanted["parameters"]), "parameters")
        query = {name: {"$eq": value} for name, value in wanted.items()}
        if self.project is not None:
            query["project_id"] = {"$eq": self.project.uid}
        found = self.protocol.fetch_trials(query, order=["-created", "-revision"], limit=1)
        if not found:
            raise TrialDoesNotExist(f"no trial has {wanted!r:.200}: correct it, or make a new trial")
        return found[0]

    def set_version(
        self, version: str | None = None, version_fun: Callable[[], str | None] | None = None
    ) -> Self:
        """Say which version of the code runs; by default, a hash of the executed file.

        Args:
            version: the version, or else
            version_fun: called for it when a trial is created.

        Returns:
            the client.
        """
        self._version = version_fun or (default_version_hash if version is None else partial(str, version))
        return self

    def _in_project(self) -> Project:
        return self.project or self.set_project(name=self._orion.project or _ORPHAN)

    def _resume(self, trial: Trial) -> Trial:
        self._define(trial)
        found = claimed(self.protocol, trial)
        if found is None:
            # From the start, so that another job that resumes does not take it from this one.
            trial.status = Status.Running
            made = self._create(trial)
            self.protocol.log_trial_start(made)
            return made
        return joined(self.protocol, found, trial)

    def _define(self, trial: Trial) -> Project:
        project = self._in_project()
        if self.group is None and self._orion.experiment is not None:
            self.set_group(name=self._orion.experiment)
        trial.version = trial.version or self._version()
        trial.project_id = project.uid
        trial.group_id = None if self.group is None else self.group.uid
        # The hash is that of the given parameters, before values that cannot be stored become text.
        trial._hash = _hash_of(trial)
        return project

    def _create(self, trial: Trial) -> Trial:
        project = self._define(trial)
        if trial.name is None:
            # Behind the hash: it is for people, and no part of the identity.
            trial.name = made_name()
        if self._rank is not None:
            trial.metadata["ranks"] = [self._rank]
        for field in ("parameters", "metadata", "tags"):
            setattr(trial, field, storable(getattr(trial, field), field))
        stored = None if trial.id is None else self._shared(trial)
        if stored is None:
            stored = self.protocol.new_trial(trial, auto_increment=True)
        if stored is None:
            raise UsageError(f"{type(self.protocol).__name__} has the trial {trial.uid} already")
        self.protocol.add_project_trial(project, stored)
        if self.group is not None:
            self.protocol.add_group_trial(self.group, stored)
        set_current_trial(stored)
        return stored

    def _shared(self, trial: Trial) -> Trial | None:
        """The trial of the definition's id, created now if no process that shares it has done that.

        None if its parameters have other values: those are another trial's.
        """
        stored = self.protocol.adopt_trial(trial)
        if stored is None or stored.id != trial.id:
            return stored
        known = stored.parameters
        if all(is_same(known[name], trial.parameters[name]) for name in known.keys() & trial.parameters):
            return stored
        return None

    def _current(self) -> TrialLogger:
        return self.logger or self._begun()

    def _begun(self) -> TrialLogger:
        with self._beginning:
            return self.logger or self.new_trial()

    # -- what ------------------------------------------------------------------------------------

    def log_arguments(
        self, /, args: Arguments = None, show: Any = False, **kwargs: Any
    ) -> argparse.Namespace:
        """Store the parameters of the trial, which is created by that; see `TrialLogger.log_arguments`.

        Args:
            args: a parser (which then parses the command line), what one returned, a mapping, a data class or
                a model; or the name of one parameter, whose value follows.
            show: print them, too.
            kwargs: more of them.

        Returns:
            all of them.
        """
        if isinstance(args, str):
            args, show = {args: show}, False
        try:
            values = as_mapping(args)
        except BadArguments:
            self._current().log_arguments(args, **kwargs)
            return argparse.Namespace(**kwargs)
        parameters = {**values, **kwargs}
        if show:
            sys.stdout.write(json.dumps(to_json(storable(parameters, "parameters")), indent=2) + "\n")
        others = {name: value for name, value in values.items() if name not in kwargs}
        self._current().log_arguments(others, **kwargs)
        namespace = argparse.Namespace()
        vars(namespace).update(parameters)
        return namespace

    def get_arguments(
        self, /, args: Arguments = None, show: Any = False, **kwargs: Any
    ) -> argparse.Namespace:
        """The same as `log_arguments`, under the name that suits ``args = client.get_arguments(parser)``."""
        return self.log_arguments(args, show, **kwargs)

    def log_metrics(
        self, /, *given: Any, step: Any = None, aggregator: Any = None, context: Any = None, **kwargs: Any
    ) -> None:
        """See `TrialLogger.log_metrics`."""
        self._current().log_metrics(*given, step=step, aggregator=aggregator, context=context, **kwargs)

    def log(
        self, /, *given: Any, step: Any = None, aggregator: Any = None, context: Any = None, **kwargs: Any
    ) -> None:
        """See `TrialLogger.log`."""
        self._current().log(*given, step=step, aggregator=aggregator, context=context, **kwargs)

    def log_metadata(self, /, *given: Any, aggregator: Any = LATEST, **kwargs: Any) -> None:
        """See `TrialLogger.log_metadata`."""
        self._current().log_metadata(*given, aggregator=aggregator, **kwargs)

    def add_tags(self, /, *given: Any, **kwargs: Any) -> None:
        """See `TrialLogger.add_tags`."""
        self._current().add_tags(*given, **kwargs)

    def chrono(
        self,
        name: str,
        aggregator: MakeAggregator | None = TIMINGS,
        start_callback: Callable[[], Any] | None = None,
        end_callback: Callable[[], Any] | None = None,
    ) -> LoggerChronoContext:
        """See `TrialLogger.chrono`."""
        return self._current().chrono(name, aggregator, start_callback, end_callback)

    def log_system_metrics(self, interval: float = 15.0) -> None:
        """See `TrialLogger.log_system_metrics`."""
        self._current().log_system_metrics(interval)

    def rewind(self, step: float) -> None:
        """See `TrialLogger.rewind`."""
        self._current().rewind(step)

    def start(self) -> None:
        """See `TrialLogger.start`."""
        self._current().start()

    def finish(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """See `TrialLogger.finish`."""
        self._current().finish(exc_type, exc_val, exc_tb)

    # -- and then --------------------------------------------------------------------------------

    def report(self, short: bool = True) -> Self:
        """Print the current trial as it is stored, as JSON; as it is known here if the store is unreachable.

        Args:
            short: leave out the fields that only programs need.

        Returns:
            the client.

        Raises:
            UsageError: there is no trial.
        """
        if self.logger is None:
            raise UsageError("there is no trial to report on: call new_trial or set_trial first")
        self.logger.report(short)
        return self

    def save(self, file_name_override: str | None = None) -> None:
        """Wait until everything logged is durable.

        Args:
            file_name_override: also write everything in the store to this JSON file.

        Raises:
            TrackError: the storage cannot be opened or written.
        """
        if self.logger is not None:
            self.logger.ensure()
        options = {} if file_name_override is None else {"file_name_override": file_name_override}
        self.protocol.commit(**options)

    def close(self) -> None:
        """Flush and release the connection or the file.

        A trial that its first point has started is complete; one that `start` or a block has started runs on.

        Raises:
            TrackError: the reason why the flush failed.
        """
        self._leave_trial()
        self.protocol.close()

    def __enter__(self) -> TrackClient:
        """Start the trial that there is; without one, nothing happens yet."""
        if self.logger is not None and not self.logger.has_finished:
            self.logger.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Finish the trial that runs, save everything and close."""
        logger = self.logger
        if logger is not None and logger.has_started and not logger.has_finished:
            logger.__exit__(exc_type, exc_val, exc_tb)
        try:
            self.close()
        except TrackError as error:
            if exc_type is None:
                raise
            # It must not hide why the training failed.
            _log.error("not everything is saved yet: %s", error)

    @staticmethod
    def get_device() -> Any:
        """The ``torch.device`` to train on: the GPU if there is one.

        Raises:
            MissingExtra: torch is not installed.
        """
        try:
            torch = import_module("torch")
        except ImportError as error:
            raise MissingExtra(f"get_device asks PyTorch, which is not installed: {error}") from error
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _none() -> str:
    _log.warning(
        "TrackClient() has no store, so nothing is tracked: "
        "give it one, as in TrackClient('sqlite:runs.db'), or set TRACK_URI"
    )
    return _NONE


def _hash_of(trial: Trial) -> str:
    """The hash; that of the texts where code of the parameters themselves fails."""
    try:
        return trial.hash
    except Exception:  # noqa: BLE001  # such as the __repr__ of somebody's class
        plain = storable(trial.parameters, "parameters", warn=lambda message: None)
        return replace(trial, parameters=plain).compute_hash()


def _found(what: str, wanted: _T, found: _T | None) -> _T:
    if found is None:
        raise ItemNotFound(
            f"no {what} is called {wanted.name!r}: call set_{what} without get_only to create it"
        )
    return found


def _unchanged(what: str, current: _T, wanted: _T) -> _T:
    if current != wanted:
        raise UsageError(f"this client has another {what} already: call set_{what}(..., force=True)")
    return current
