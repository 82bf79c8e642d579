"""What a run records about itself: who runs what, where, and at which commit.

It is stored as ``trial.metadata["run"]`` when a trial is created, and is no part of the trial's identity:

| name | value |
| --- | --- |
| ``user``, ``host``, ``pid`` | of this process |
| ``command``, ``directory`` | the command line, without secrets, and the folder in which it was started |
| ``python``, ``packages`` | versions of Python, and of the installed packages that are imported by then |
| ``git`` | ``commit``, ``dirty`` and ``diff``: see `track.recording.git` |
| ``rank``, ``world_size`` | as torchrun, Slurm or MPI say |
| ``slurm``, ``torchrun`` | the job: its id and its other numbers |

What is not known is left out.  All of it is collected once a process, without starting another one, except
for the changes since the commit.  A thread asks git for these, and adds them to the trials that were created
meanwhile.
"""

from __future__ import annotations

import logging
import os
import pwd
import shlex
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from track.configuration import switched_on
from track.persistence.calls import key_of
from track.persistence.protocol import Protocol
from track.process.lifecycle import LifecycleHook, register
from track.recording.git import changes_in, commit_of, repository_of
from track_protocol.model.entities import Trial
from track_protocol.security.redaction import redacted_arguments

__all__ = ["RUN", "Provenance", "await_git", "captured", "captures_in", "log_run", "provenance"]

_log: Final = logging.getLogger("track")

RUN: Final = "run"
"""The name under which a trial's metadata has it."""

_MAX_COMMAND: Final = 8_192
"""Letters of a command line that are stored."""

_GIT_WAIT_S: Final = 1.0
"""How long the end of a trial waits for git."""

_USER: Final = ("LOGNAME", "USER", "USERNAME")
_RANK: Final = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
_WORLD_SIZE: Final = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_SLURM: Final = {
    "job": "SLURM_JOB_ID",
    "name": "SLURM_JOB_NAME",
    "array_job": "SLURM_ARRAY_JOB_ID",
    "array_task": "SLURM_ARRAY_TASK_ID",
    "step": "SLURM_STEP_ID",
    "node": "SLURMD_NODENAME",
    "nodes": "SLURM_JOB_NODELIST",
    "partition": "SLURM_JOB_PARTITION",
    "restarts": "SLURM_RESTART_COUNT",
}
_TORCHRUN: Final = {
    "job": "TORCHELASTIC_RUN_ID",
    "local_rank": "LOCAL_RANK",
    "restarts": "TORCHELASTIC_RESTART_COUNT",
}

Write = Callable[[dict[str, Any]], None]


def captures_in(environment: Mapping[str, str]) -> bool:
    """Whether new trials store what is known of their run.

    Raises:
        UsageError: the variable is neither 1 nor 0.
    """
    return switched_on(environment, "TRACK_CAPTURE", default=True)


class Provenance(LifecycleHook):
    """What is known of this process, and the trials that still wait for what git says.

    Args:
        known: what is known without git's help.
        root: of the repository whose changes are asked for; None for none.
    """

    def __init__(self, known: dict[str, Any], root: Path | None) -> None:
        self.pid = os.getpid()
        self._known = known
        self._root = root
        self._lock = threading.Lock()
        self._waiting: dict[bytes | str, Write] = {}
        self._is_complete = threading.Event()
        self._is_begun = False
        self._is_ending = False
        if root is None:
            self._is_complete.set()
        register(self)

    @property
    def known(self) -> dict[str, Any]:
        """What is known by now."""
        return dict(self._known)

    def complete(self, trial: bytes | str, seen: Mapping[str, Any], write: Write) -> None:
        """Call `write` with all that is known once git has answered, if that is more than what was seen.

        Args:
            trial: which trial it is for: its id, or else its uid.
            seen: what was known when it was created.
            write: stores the rest.
        """
        with self._lock:
            if self._is_complete.is_set():
                if seen != self._known:
                    write(self.known)
                return
            if self._is_ending:
                return
            self._waiting[trial] = write
            is_first, self._is_begun = not self._is_begun, True
        if is_first:
            try:
                threading.Thread(target=self._ask_git, name="track-git", daemon=True).start()
            except RuntimeError:
                self.end()  # the interpreter ends, and starts no threads any more

    def await_git(self, trial: bytes | str) -> None:
        """See the function `await_git`."""
        if trial in self._waiting and self.pid == os.getpid():
            self._is_complete.wait(_GIT_WAIT_S)
            with self._lock:
                self._waiting.pop(trial, None)

    def before_exit(self) -> None:
        """The process ends: the same for all trials that were not finished."""
        if self._waiting and self.pid == os.getpid():
            self._is_complete.wait(_GIT_WAIT_S)
        self.end()

    def end(self) -> None:
        """Write nothing from now on: stores are about to be closed."""
        if self.pid == os.getpid():
            with self._lock:
                self._is_ending = True
                self._waiting.clear()

    def _ask_git(self) -> None:
        assert self._root is not None
        changes = changes_in(self._root)
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            if changes is not None:
                found = {"dirty": changes.dirty} | ({} if changes.diff is None else {"diff": changes.diff})
                self._known = {**self._known, "git": {**self._known.get("git", {}), **found}}
                for write in waiting.values():
                    _written(write, self.known)
            self._is_complete.set()


def _written(write: Write, known: dict[str, Any]) -> None:
    try:
        write(known)
    except Exception:  # noqa: BLE001  # a backend of the user's own may raise anything; the others wait
        _log.exception("what git says of the run cannot be stored")


_of_process: Provenance | None = None


def provenance() -> Provenance:
    """What is known of this process; a forked child is another one."""
    global _of_process
    found = _of_process
    if found is None or found.pid != os.getpid():
        root = _repository()
        found = _of_process = Provenance(_collected(root), root)
    return found


def captured(protocol: Protocol, create: Callable[[Trial], Trial], pid: int, trial: Trial) -> Trial:
    """Create a trial, or resume one, with what is known of this process in its metadata.

    Args:
        protocol: the store.
        create: stores it.
        pid: of the process that has defined it: what is known of that one comes before what is known of a
            forked child, which may create it first.
        trial: its definition; what it has under `RUN` already stays.
    """
    if RUN in trial.metadata:
        return create(trial)
    seen = provenance().known
    trial.metadata = {**trial.metadata, RUN: seen}
    stored = create(trial)
    if pid == os.getpid() or _pid_of(stored) == os.getpid():
        _complete(protocol, stored, seen)
    return stored


def _pid_of(trial: Trial) -> Any:
    seen = trial.metadata.get(RUN)
    return seen.get("pid") if isinstance(seen, Mapping) else None


def log_run(protocol: Protocol, trial: Trial) -> None:
    """Store what is known of this process in a trial that it resumes."""
    seen = provenance().known
    protocol.log_trial_metadata(trial, run=seen)
    _complete(protocol, trial, seen)


def await_git(trial: Trial) -> None:
    """The trial ends: wait a moment for what git says of it, if that is still missing."""
    if _of_process is not None:
        _of_process.await_git(key_of(trial))


def _complete(protocol: Protocol, trial: Trial, seen: Mapping[str, Any]) -> None:
    def write(known: dict[str, Any]) -> None:
        protocol.log_trial_metadata(trial, run=known)

    provenance().complete(key_of(trial), seen, write)


def _collected(root: Path | None) -> dict[str, Any]:
    environment = os.environ
    commit = None if root is None else commit_of(root)
    found = {
        "user": _first(environment, _USER) or _own_name(),
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "command": shlex.join(redacted_arguments(sys.orig_argv))[:_MAX_COMMAND],
        "directory": _directory(),
        "python": "{}.{}.{}".format(*sys.version_info),
        "packages": _packages(),
        "git": None if commit is None else {"commit": commit},
        "rank": _number(_first(environment, _RANK)),
        "world_size": _number(_first(environment, _WORLD_SIZE)),
        "slurm": _named(environment, _SLURM),
        "torchrun": _named(environment, _TORCHRUN) if "TORCHELASTIC_RUN_ID" in environment else None,
    }
    return {name: _text(value) for name, value in found.items() if value is not None and value != {}}


def _text(value: Any) -> Any:
    """A value as UTF-8 can carry it: paths and arguments may be any bytes."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((environment[name] for name in names if environment.get(name)), None)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _named(environment: Mapping[str, str], names: Mapping[str, str]) -> dict[str, Any]:
    """The variables that are set; numbers as numbers, so that they have an order."""
    found = {name: environment.get(variable) for name, variable in names.items()}
    return {name: int(text) if text.isdecimal() else _text(text) for name, text in found.items() if text}


def _own_name() -> str:
    """The name of the user that this process runs as; in a container there may be none, only a number."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None  # it was deleted


def _packages() -> dict[str, str]:
    """Versions of the imported packages that say one, without importing or asking any of them."""
    found = {}
    for name, module in list(sys.modules.items()):
        if "." not in name and name not in sys.stdlib_module_names and not name.startswith("_"):
            version = vars(module).get("__version__") if hasattr(module, "__dict__") else None
            if isinstance(version, str):
                found[name] = version
    return dict(sorted(found.items()))


def _repository() -> Path | None:
    """That of the executed script, or else of the folder in which it runs."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    try:
        folders = [] if script is None else [Path(script).resolve().parent]
        return next(filter(None, map(repository_of, [*folders, Path.cwd()])), None)
    except (OSError, RuntimeError):  # deleted, closed, or links in a circle
        return None
