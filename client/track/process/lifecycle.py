"""What happens to outboxes when the process forks or ends.

A forked child shares nothing with its parent's outboxes: same loggers, but a session, a thread and a
connection of its own.  At the end of a process everything is flushed: by `atexit`, and by a finalizer
in children of `multiprocessing`, which leave without it.  What is logged still later, by exit functions
that run after ours or by destructors, is not flushed at the end any more: `has_exited`.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Final
from weakref import WeakSet

from track.process.signals import SignalHandler, leave, seconds_left

__all__ = [
    "EXIT_SECONDS",
    "ForkSafeRLock",
    "LifecycleHook",
    "TurnLock",
    "has_exited",
    "prepare_for_exit",
    "register",
]

_log: Final = logging.getLogger("track")

EXIT_SECONDS: Final = 30.0
"""How long the end of a process waits for the store."""


class LifecycleHook:
    """What lives as long as the process does; what a class leaves out does nothing."""

    def before_fork(self) -> None:
        """The calling thread is about to fork."""

    def after_fork_in_parent(self) -> None:
        """It has."""

    def after_fork_in_child(self) -> None:
        """This is the new process, with this one thread."""

    def before_exit(self) -> None:
        """The process ends: log what has to be logged before everything is saved."""

    def on_exit(self, timeout: float) -> None:
        """The process ends: save what there is within `timeout` seconds."""


class _Registry:
    """All hooks of this process.

    Attributes:
        hooks: themselves, as long as they exist.
        lock: held while a thread forks: what one of two that fork at once holds, the other must not release.
        forks: of each fork under way, all hooks, and those among them that hold something.
        prepared_pid: the process whose end `multiprocessing` was asked to report.
        hooked: whether the interpreter was asked to report forks and the end.
        exited: whether the end has flushed everything.
    """

    def __init__(self) -> None:
        self.hooks: WeakSet[LifecycleHook] = WeakSet()
        self.lock = threading.RLock()
        self.forks: list[tuple[list[LifecycleHook], list[LifecycleHook]]] = []
        self.prepared_pid = 0
        self.hooked = False
        self.exited = False

    def before_fork(self) -> None:
        self.lock.acquire()
        hooks: list[LifecycleHook] = []
        held: list[LifecycleHook] = []
        self.forks.append((hooks, held))
        hooks += self.hooks
        held.extend(hook for hook in hooks if _runs(hook.before_fork))

    def after_fork_in_parent(self) -> None:
        _, held = self.forks.pop()
        try:
            for hook in reversed(held):
                _runs(hook.after_fork_in_parent)
        finally:
            self.lock.release()

    def after_fork_in_child(self) -> None:
        # What could not be held may be in any state: the child begins it anew with the rest.
        hooks, _ = self.forks.pop()
        self.lock = threading.RLock()
        for hook in hooks:
            _runs(hook.after_fork_in_child)

    def on_exit(self) -> None:
        interrupted = False
        for hook in list(self.hooks):
            try:
                _runs(hook.before_exit)
            except KeyboardInterrupt:
                interrupted = True  # of the wait; what was logged must still reach the disk
        deadline = 0.0 if interrupted else time.monotonic() + EXIT_SECONDS
        for hook in list(self.hooks):
            try:
                _runs(partial(hook.on_exit, max(0.0, deadline - time.monotonic())))
            except KeyboardInterrupt:
                deadline = 0.0  # the user has interrupted the wait: flush none of the rest
        self.exited = True


def _runs(call: Callable[[], None]) -> bool:
    """Whether a hook does what it should: one that fails must not keep the others from doing it."""
    try:
        call()
    except Exception:  # noqa: BLE001  # whatever is wrong with it, the others hold locks
        _log.exception("handling a fork or the end of the process failed")
        return False
    return True


_registry: Final = _Registry()


def register(hook: LifecycleHook) -> None:
    """Notify `hook` of forks and of the end of the process, as long as it exists."""
    if not _registry.hooked:
        _registry.hooked = True
        os.register_at_fork(
            before=_registry.before_fork,
            after_in_parent=_registry.after_fork_in_parent,
            after_in_child=_registry.after_fork_in_child,
        )
        atexit.register(_registry.on_exit)
    with _registry.lock:
        _registry.hooks.add(hook)


def has_exited() -> bool:
    """Whether the end of this process has flushed everything; no later flush comes."""
    return _registry.exited


def prepare_for_exit() -> None:
    """Make sure that the end of this very process flushes; to be called when there is something to send."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is None or process is None or _registry.prepared_pid == os.getpid():
        return
    _registry.prepared_pid = os.getpid()
    # A child empties its list of finalizers before it runs; this puts ours back afterwards.
    util.register_after_fork(_registry, _finalize)
    if process.parent_process() is not None:
        _finalize(_registry)
        _worker.install()


class _Worker(SignalHandler):
    """A process of `multiprocessing` that a signal ends, as `Pool.__exit__` does with its workers."""

    def sigint(self, signum: int, frame: FrameType | None) -> None:
        """Save what was logged here."""
        self.sigterm(signum, frame)

    def sigterm(self, signum: int, frame: FrameType | None) -> None:
        """Save what was logged here."""
        for hook in list(_registry.hooks):
            _runs(partial(hook.on_exit, seconds_left()))


_worker: Final = _Worker()


def _finalize(registry: _Registry) -> None:
    from multiprocessing import util

    # A forked worker runs no functions of `atexit`: what they would do comes before the flush here, too.
    util.Finalize(None, leave, exitpriority=11)
    util.Finalize(None, registry.on_exit, exitpriority=10)


class TurnLock:
    """A reentrant lock that says, as a context manager, whether this is the thread's outermost turn.

    A signal handler or a destructor may come in the middle of one.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0

    @property
    def is_taken(self) -> bool:
        """Whether some thread has its turn now."""
        return self._depth > 0

    def acquire(self) -> bool:
        """Begin a turn; whether it is the outermost."""
        self._lock.acquire()
        self._depth += 1
        return self._depth == 1

    def release(self) -> None:
        """End a turn."""
        self._depth -= 1
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()


class ForkSafeRLock(TurnLock, LifecycleHook):
    """One that a forked child finds free, whatever the parent's other threads were doing.

    A fork does not wait for the thread that has it: they could wait for each other.
    """

    def __init__(self) -> None:
        super().__init__()
        register(self)

    def after_fork_in_child(self) -> None:
        """Its holder does not exist in the child."""
        self._begin()

    def __reduce__(self) -> tuple[type[ForkSafeRLock], tuple[()]]:
        # A copy guards the copy of what this one guards.
        return ForkSafeRLock, ()
