"""What happens to outboxes when the process forks or ends.

A forked child shares nothing with its parent's outboxes: same loggers, but a session, a thread and a
connection of its own.  At the end of a process everything is flushed: by `atexit`, and by a finalizer
in children of `multiprocessing`, which leave without it.  What is logged still later, by exit functions
that run after ours or by destructors, has nobody who flushes it at the end any more: `has_exited`.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from types import TracebackType
from typing import Final, Protocol
from weakref import WeakSet

__all__ = ["EXIT_SECONDS", "ForkSafeRLock", "LifecycleHook", "has_exited", "prepare_for_exit", "register"]

EXIT_SECONDS: Final = 30.0
"""How long the end of a process waits for the store."""


class LifecycleHook(Protocol):
    """What lives as long as the process does."""

    def before_fork(self) -> None:
        """The calling thread is about to fork."""

    def after_fork_in_parent(self) -> None:
        """It has."""

    def after_fork_in_child(self) -> None:
        """This is the new process, with this one thread."""

    def on_exit(self, timeout: float) -> None:
        """The process ends: save what there is within `timeout` seconds."""


class _Registry:
    """All residents of this process."""

    def __init__(self) -> None:
        self.hooks: WeakSet[LifecycleHook] = WeakSet()
        self.held: list[LifecycleHook] = []
        # Two threads may fork at once, and what one of them holds is not the other's to release.
        self.turn = threading.RLock()
        self.prepared_pid = 0
        self.hooked = False
        self.left = False

    def before_fork(self) -> None:
        self.turn.acquire()
        self.held = list(self.hooks)
        for hook in self.held:
            hook.before_fork()

    def after_fork_in_parent(self) -> None:
        for hook in reversed(self.held):
            hook.after_fork_in_parent()
        self.held = []
        self.turn.release()

    def after_fork_in_child(self) -> None:
        for hook in self.held:
            hook.after_fork_in_child()
        self.held = []
        self.turn = threading.RLock()

    def on_exit(self) -> None:
        deadline = time.monotonic() + EXIT_SECONDS
        for hook in list(self.hooks):
            try:
                hook.on_exit(max(0.0, deadline - time.monotonic()))
            except KeyboardInterrupt:
                deadline = 0.0  # somebody does not want to wait any more, for none of them
        self.left = True


_registry: Final = _Registry()


def register(hook: LifecycleHook) -> None:
    """Tell `hook` about forks and the end of the process, as long as it exists."""
    if not _registry.hooked:
        _registry.hooked = True
        os.register_at_fork(
            before=_registry.before_fork,
            after_in_parent=_registry.after_fork_in_parent,
            after_in_child=_registry.after_fork_in_child,
        )
        atexit.register(_registry.on_exit)
    _registry.hooks.add(hook)


def has_exited() -> bool:
    """Whether the end of this process has flushed everything, so that nobody does it once more."""
    return _registry.left


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


def _finalize(registry: _Registry) -> None:
    from multiprocessing import util

    util.Finalize(None, registry.on_exit, exitpriority=10)


class ForkSafeRLock:
    """A reentrant lock that a forked child finds free, whatever the parent's other threads were doing.

    As a context manager it says whether this is the thread's outermost turn: a signal handler or a destructor
    may come in the middle of one.
    """

    def __init__(self) -> None:
        self._begin()
        register(self)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0

    def __enter__(self) -> bool:
        self._lock.acquire()
        self._depth += 1
        return self._depth == 1

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._depth -= 1
        self._lock.release()

    def before_fork(self) -> None:
        """Nothing: to wait for whoever has it could be to wait for each other."""

    def after_fork_in_parent(self) -> None:
        """Nothing changes here."""

    def after_fork_in_child(self) -> None:
        """Whoever had it is not here."""
        self._begin()

    def on_exit(self, timeout: float) -> None:
        """There is nothing to save."""
