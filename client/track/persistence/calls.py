"""Python arguments of log calls as the plain arguments that travel.

One function for each log method that updates an item, without the item itself: the same ones serve
the direct call and fetch-and-update.
"""

from __future__ import annotations

import functools
import inspect
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, TypeVar, cast

from track.persistence.protocol import MakeAggregator
from track_protocol.errors import BadArguments, BadValue
from track_protocol.model.aggregators import spec_of
from track_protocol.model.documents import status_to_document
from track_protocol.model.entities import CustomStatus, Status, status
from track_protocol.model.values import MAX_TEXT_BYTES, check_name, normalise
from track_protocol.wire.methods import METHODS

__all__ = ["as_status", "end_of", "item_may_be_named", "plain_map", "wire_arguments"]

_EXITS_BY_SIGNAL: Final = frozenset(128 + number for number in (signal.SIGINT, signal.SIGTERM))
"""Exit codes with which a program says that a signal ended it, as shells do."""

Complain = Callable[[BadValue], None]
_F = TypeVar("_F", bound=Callable[..., Any])


def item_may_be_named(name: str) -> Callable[[_F], _F]:
    """Let a method's first argument, which is positional so that a value may have its name, be named too.

    Args:
        name: of the item, as documented: ``add_trial_tags(trial=trial, a=1)``.
    """

    def decorate(method: _F) -> _F:
        @functools.wraps(method)
        def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            if not args and name in kwargs:
                args = (kwargs.pop(name),)
            return method(self, *args, **kwargs)

        return cast(_F, call)

    return decorate


def as_status(given: Status | CustomStatus | str | int) -> Status | CustomStatus:
    """The status that is meant; a name or a number of a known one will do.

    Raises:
        UsageError: it is no known one.
    """
    if isinstance(given, str):
        return status(name=given)
    return status(value=given) if isinstance(given, int) else given


def plain_map(values: Mapping[str, Any], what: str, complain: Complain | None = None) -> dict[str, Any]:
    """Named values in plain form.

    Args:
        values: as the user gave them.
        what: for messages.
        complain: told of each value that cannot be kept and is left out; without it, the first raises.

    Raises:
        BadValue: a value cannot be kept.
    """
    plain = {}
    for name, value in values.items():
        try:
            plain[check_name(name, what)] = normalise(value, f"{what} {name}")
        except BadValue as error:
            if complain is None:
                raise
            complain(error)
    return plain


def end_of(
    exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
) -> tuple[Status, str | None]:
    """The status in which a trial ends, and the text of what ended it (None at a normal end)."""
    if exc_type is None or issubclass(exc_type, GeneratorExit):
        # Whoever iterates over a training may stop where he likes.
        return Status.Completed, None
    text = "".join(traceback.format_exception(exc_type, exc_val, exc_tb))
    if issubclass(exc_type, SystemExit):
        code = _exit_code(getattr(exc_val, "code", None))
        if code == 0:
            return Status.Completed, None
        status = Status.Interrupted if code in _EXITS_BY_SIGNAL else Status.Exception
        return status, f"{text}exited with code {code}\n"
    return (Status.Interrupted if _is_interruption(exc_type) else Status.Exception), text


def _is_interruption(exc_type: type[BaseException]) -> bool:
    # A program that has not imported asyncio cancels no task.
    asyncio = sys.modules.get("asyncio.exceptions")
    return issubclass(exc_type, (KeyboardInterrupt, *([asyncio.CancelledError] if asyncio else [])))


def _exit_code(given: object) -> int:
    """The exit code of a process that leaves by ``sys.exit(given)``."""
    if given is None:
        return 0
    return int(given) if isinstance(given, int) else 1


def _text(error: object) -> str | None:
    """An error's text, whatever it holds; the end of a traceback says most."""
    if error is None:
        return None
    encoded = str(error).encode("utf-8", "replace")[-MAX_TEXT_BYTES:]
    return encoded.decode("utf-8", "ignore")


def _set_trial_status(status: Status | CustomStatus, error: str | None = None) -> dict[str, Any]:
    return {"status": status_to_document(as_status(status)), "error": _text(error)}


def _log_trial_start(rank: int | None = None) -> dict[str, Any]:
    return {"time": time.time(), "rank": rank}


def _log_trial_finish(
    exc_type: type[BaseException] | None = None,
    exc_val: BaseException | None = None,
    exc_tb: TracebackType | None = None,
    rank: int | None = None,
) -> dict[str, Any]:
    ending, error = end_of(exc_type, exc_val, exc_tb)
    if error is not None and rank is not None:
        error = f"rank {rank}: {error}"
    return {"time": time.time(), "status": status_to_document(ending), "error": _text(error), "rank": rank}


def _log_trial_arguments(**kwargs: Any) -> dict[str, Any]:
    return {"arguments": kwargs}


def _log_trial_metadata(aggregator: MakeAggregator | None = None, **kwargs: Any) -> dict[str, Any]:
    return {"metadata": kwargs, "aggregator": spec_of(aggregator)}


def _add_trial_tags(**kwargs: Any) -> dict[str, Any]:
    return {"tags": kwargs}


def _set_group_metadata(**kwargs: Any) -> dict[str, Any]:
    return {"metadata": kwargs}


def _rewind_trial(step: float) -> dict[str, Any]:
    plain = normalise(step, "step")
    if type(plain) not in (int, float) or plain != plain:
        raise BadArguments(f"rewind_trial goes back to a step that is a number, not to {step!r:.80}")
    return {"step": plain, "time": time.time()}


_MAKERS: Final[Mapping[str, Callable[..., dict[str, Any]]]] = {
    "add_trial_tags": _add_trial_tags,
    "log_trial_arguments": _log_trial_arguments,
    "log_trial_finish": _log_trial_finish,
    "log_trial_metadata": _log_trial_metadata,
    "log_trial_start": _log_trial_start,
    "rewind_trial": _rewind_trial,
    "set_group_metadata": _set_group_metadata,
    "set_trial_status": _set_trial_status,
}


def wire_arguments(
    kind: str,
    method: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    complain: Complain | None = None,
) -> dict[str, Any]:
    """The arguments of a log call, without its item, as they travel.

    Args:
        kind: "trial" or "group".
        method: a log method that updates one.
        args: positional arguments behind the item.
        kwargs: arguments by name.
        complain: see `plain_map`.

    Raises:
        BadArguments: no such method, or it takes other arguments.
    """
    known = sorted(name for name, each in METHODS.items() if each.updates == kind)
    if method not in known:
        raise BadArguments(f"{method!r} does not update a {kind}; these do: {', '.join(known)}")
    maker = _MAKERS[method]
    try:
        inspect.signature(maker).bind(*args, **kwargs)
    except TypeError as error:
        raise BadArguments(f"{method}: {error}") from None
    made = maker(*args, **kwargs)
    return {
        name: plain_map(value, name, complain) if isinstance(value, dict) and name != "status" else value
        for name, value in made.items()
    }
