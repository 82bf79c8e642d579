"""Calls that are made later, and their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from track_protocol.errors import UsageError

__all__ = ["DelayedCall", "Future", "FutureIsNotReady", "delay_call", "is_delayed_call"]


class FutureIsNotReady(UsageError):
    """The result of a delayed call was asked for before the call was made."""


class DelayedCall:
    """A call that is made once, when this is called or an attribute of its result is needed.

    Args:
        fun: to be called.
        kwargs: its keyword arguments.
    """

    def __init__(self, fun: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
        self.fun = fun
        self.kwargs = dict(kwargs)
        self._future = Future(self)
        self._outcome: Callable[[], Any] | None = None

    def add_arguments(self, **kwargs: Any) -> None:
        """Give more keyword arguments, or others in the place of those given before."""
        self.kwargs.update(kwargs)

    def get_future(self) -> Future:
        """What will hold the result, the same one each time."""
        return self._future

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make the call, with these arguments beside those given before; what it raises is raised.

        Called again, it returns or raises the same without making the call again.
        """
        if self._outcome is not None:
            return self._outcome()
        try:
            result = self.fun(*args, **{**self.kwargs, **kwargs})
        except BaseException as error:
            raised = error

            def fail() -> Any:
                raise raised

            self._outcome = fail
            raise
        self._outcome = lambda: result
        return result

    def __getattr__(self, name: str) -> Any:
        # Not for copies and pickles, which ask for many a special method of an object that is not made yet.
        if name.startswith("__") or "_outcome" not in vars(self):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self(), name)


class Future:
    """The outcome of a delayed call, once it was made.

    Args:
        promise: the call.
    """

    def __init__(self, promise: DelayedCall) -> None:
        self.promise = promise

    def is_ready(self) -> bool:
        """Whether the call was made."""
        return self.promise._outcome is not None

    def get(self) -> Any:
        """The call's result; what the call raised is raised again.

        Raises:
            FutureIsNotReady: the call was not made yet.
        """
        outcome = self.promise._outcome
        if outcome is None:
            name = getattr(self.promise.fun, "__qualname__", repr(self.promise.fun))
            raise FutureIsNotReady(
                f"the delayed call of {name} has no result yet: call it, or check is_ready()"
            )
        return outcome()


def delay_call(fun: Callable[..., Any], **kwargs: Any) -> DelayedCall:
    """A `DelayedCall` of a function with keyword arguments."""
    return DelayedCall(fun, kwargs)


def is_delayed_call(obj: Any) -> bool:
    """Whether it is a `DelayedCall`."""
    return isinstance(obj, DelayedCall)
