"""Arguments of the contract's methods as the plain arguments that travel, made from the declaration of each.

`Protocol` has the signature of a method, `track_protocol.wire.methods` declares what travels.  The two agree
in the names, and the type of a parameter says how its argument is made.
"""

from __future__ import annotations

import inspect
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import TracebackType
from typing import Any, Final, NamedTuple, cast

from track.persistence.protocol import Protocol
from track_protocol.errors import BadArguments, BadValue, UsageError
from track_protocol.model.aggregators import is_aggregator, spec_of
from track_protocol.model.documents import status_to_document
from track_protocol.model.entities import PRUNED, CustomStatus, Project, Status, Trial, TrialGroup, status
from track_protocol.model.values import (
    INT_MAX,
    INT_MIN,
    MAX_TEXT_BYTES,
    check_name,
    describe_odd,
    normalise,
    storable,
)
from track_protocol.query.parse import normalise_query
from track_protocol.security.tokens import redact_tokens
from track_protocol.wire.methods import METHODS, Access, Method
from track_protocol.wire.schema import Parameter

__all__ = [
    "Complain",
    "as_status",
    "end_of",
    "given_to",
    "key_of",
    "plain_map",
    "reads",
    "update_named",
    "wire_arguments",
]

_EXITS_BY_SIGNAL: Final = frozenset(128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
"""Exit codes with which a program says that a signal ended it, as shells do."""

_READ_BY_OTHERS: Final = frozenset({"fetch_media"})
"""Methods that read by means of others: media are points of a series, and their values refer to blobs."""


class Complain(NamedTuple):
    """What is done about values of a log call that are not plain.

    Attributes:
        drop: called for one that is left out.
        warn: called with a warning about those that became text.
    """

    drop: Callable[[BadValue], None]
    warn: Callable[[str], None]


def as_status(given: Status | CustomStatus | str | int) -> Status | CustomStatus:
    """The status that is meant; a name or a number of a known one will do.

    Raises:
        UsageError: it is no known one, or none at all.
    """
    kind = type(given)  # and not isinstance, which a dead weak reference does not answer
    if issubclass(kind, str):
        return status(name=str(given))
    if issubclass(kind, int) and INT_MIN <= (value := cast(int, given)) <= INT_MAX:
        return status(value=value)
    if not issubclass(kind, (Status, CustomStatus)):
        raise UsageError(f"{kind.__name__} is no status: give a Status, a CustomStatus, or a known name")
    return cast(Status | CustomStatus, given)


def plain_map(values: Mapping[str, Any], what: str, complain: Complain | None = None) -> dict[str, Any]:
    """Named values in plain form.

    Args:
        values: as the user gave them.
        what: for messages.
        complain: gets each name that cannot be stored and is left out, and what became text because it has no
            plain form; without it, the first of both raises.

    Raises:
        BadValue: a value cannot be stored.
    """
    plain, odd = {}, []
    for name, value in values.items():
        try:
            checked = check_name(name, what)
        except BadValue as error:
            if complain is None:
                raise
            complain.drop(error)
            continue
        if complain is None:
            plain[checked] = normalise(value, f"{what} {name}")
        else:
            plain[checked], texts = storable(value, f"{what} {name}")
            odd += texts
    if odd and complain is not None:
        complain.warn(describe_odd(odd))
    return plain


def end_of(
    exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
) -> tuple[Status | CustomStatus, str | None]:
    """The status in which a trial ends, and the text of what ended it (None at a normal end)."""
    if exc_type is None or issubclass(exc_type, GeneratorExit):
        # A caller that iterates over a training may stop early.
        return Status.Completed, None
    if _is_pruning(exc_type):
        return PRUNED, None
    text = "".join(traceback.format_exception(exc_type, exc_val, exc_tb))
    if issubclass(exc_type, SystemExit):
        code = _exit_code(getattr(exc_val, "code", None))
        if code == 0:
            return Status.Completed, None
        status = Status.Interrupted if code in _EXITS_BY_SIGNAL else Status.Exception
        return status, f"{text}exited with code {code}\n"
    return (Status.Interrupted if _is_interruption(exc_type) else Status.Exception), text


def _is_pruning(exc_type: type[BaseException]) -> bool:
    """Whether Optuna gives up a trial that is not promising: that is no failure."""
    optuna = sys.modules.get("optuna.exceptions")
    pruned = getattr(optuna, "TrialPruned", None)
    return isinstance(pruned, type) and issubclass(exc_type, pruned)


def _is_interruption(exc_type: type[BaseException]) -> bool:
    # A program that has not imported asyncio cancels no task.
    asyncio = sys.modules.get("asyncio.exceptions")
    return issubclass(exc_type, (KeyboardInterrupt, *([asyncio.CancelledError] if asyncio else [])))


def _exit_code(given: object) -> int:
    """The exit code of a process that leaves by ``sys.exit(given)``."""
    if given is None:
        return 0
    return int(given) if isinstance(given, int) else 1


def key_of(trial: Trial) -> bytes | str:
    """How calls name a trial: by its id, or else by its uid."""
    return trial.uid if trial.id is None else trial.id


def reads(method: str) -> bool:
    """Whether a method of the contract changes nothing."""
    declared = METHODS.get(method)
    return method in _READ_BY_OTHERS or (declared is not None and declared.access is Access.READ)


def update_named(name: str, kind: str) -> Method:
    """The method by which fetch-and-update may change an item.

    Args:
        name: of the method.
        kind: of the item: "trial" or "group".

    Raises:
        BadArguments: no such method changes one.
    """
    known = {each.name: each for each in METHODS.values() if each.updates == kind}
    if name not in known:
        raise BadArguments(f"{name!r} does not update a {kind}; these do: {', '.join(sorted(known))}")
    return known[name]


def given_to(method: Method, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a method was given, by the names of its parameters.

    Args:
        method: the method.
        args: as `Protocol` takes them.
        kwargs: as `Protocol` takes them.

    Raises:
        BadArguments: it takes others.
    """
    try:
        bound = _signature(method.name).bind(*args, **kwargs)
    except TypeError as error:
        raise BadArguments(f"{method.name}: {error}") from None
    bound.apply_defaults()
    given = bound.arguments
    if method.name == "log_trial_metadata" and not is_aggregator(given["aggregator"]):
        # Anything that makes no aggregator is a value of that name, as with `context`.
        given["kwargs"] = {**given["kwargs"], "aggregator": given.pop("aggregator")}
    for parameter in method.parameters:
        if parameter.type == "values":
            given[parameter.name] = given.pop("kwargs")
        elif parameter.type == "update":
            given[parameter.name] = (given.pop("attr"), given.pop("args"), given.pop("kwargs"))
        elif parameter.type == "time":
            given[parameter.name] = time.time()
    if method.name == "log_trial_finish":
        given["status"], text = end_of(given["exc_type"], given["exc_val"], given["exc_tb"])
        rank = given["rank"]
        given["error"] = text if text is None or rank is None else f"rank {rank}: {text}"
    return given


@cache
def _signature(method: str) -> inspect.Signature:
    _self, *parameters = inspect.signature(getattr(Protocol, method)).parameters.values()
    return inspect.Signature(parameters)


def wire_arguments(
    method: Method, args: tuple[Any, ...], kwargs: Mapping[str, Any], complain: Complain | None = None
) -> dict[str, Any]:
    """The arguments of a call as they travel.

    Args:
        method: the method.
        args: as `Protocol` takes them.
        kwargs: as `Protocol` takes them.
        complain: see `plain_map`.

    Raises:
        BadArguments: it takes others.
    """
    given = given_to(method, args, kwargs)
    return {
        each.name: _plain(method, each, given[each.name], complain)
        for each in method.parameters
        if each.name in given
    }


def _plain(method: Method, parameter: Parameter, value: Any, complain: Complain | None) -> Any:
    if parameter.type == "values":
        return plain_map(value, parameter.name, complain)
    if parameter.type == "update":
        name, args, kwargs = value
        update = update_named(name, method.answers)
        given = given_to(update, (None, *args), kwargs)
        arguments = {
            each.name: _plain(update, each, given[each.name], None) for each in update.parameters[1:]
        }
        return {"method": name, "arguments": arguments}
    if parameter.type == "number":
        return _number(method, parameter, value)
    make = _PLAIN.get(parameter.type.rstrip("?"))
    if make is None or (value is None and parameter.type != "query"):
        return value
    return make(value)


def _number(method: Method, parameter: Parameter, value: Any) -> int | float:
    plain: int | float = normalise(value, parameter.name)
    if type(plain) not in (int, float) or plain != plain:
        raise BadArguments(f"{method.name}: {parameter.name} must be a number, not {value!r:.80}")
    return plain


def _definition(item: Project | TrialGroup | Trial) -> dict[str, Any]:
    if isinstance(item, Trial) and item.id is not None:
        return {"id": item.id}
    if isinstance(item, Trial) and item.revision == 0:
        return {"hash": item.hash}
    return {"uid": item.uid}


def _series(given: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Series by the id of the trial, their kind, their name and what else is given of each."""
    return [[each[0].id if isinstance(each[0], Trial) else each[0], *each[1:]] for each in given]


def _error(error: object) -> str:
    """An error's text, whatever it holds; the end of a traceback says most."""
    # Before it is cut, so that no part of a token stays.
    return redact_tokens(str(error)).encode("utf-8", "replace")[-MAX_TEXT_BYTES:].decode("utf-8", "ignore")


def _id(trial: Trial | bytes) -> bytes:
    if isinstance(trial, Trial) and trial.id is None:
        raise BadArguments(f"trial {trial.uid} has no id: fetch it first")
    return trial.id or b"" if isinstance(trial, Trial) else trial


_PLAIN: Final[Mapping[str, Callable[[Any], Any]]] = {
    "aggregator": spec_of,
    "definition": _definition,
    "error": _error,
    "group": lambda group: group.uid,
    "ids": lambda trials: list(map(_id, trials)),
    "project": lambda project: project.uid,
    "query": normalise_query,
    "series": _series,
    "status": lambda given: status_to_document(as_status(given)),
    "tails": _series,
    "texts": list,
    "trial": key_of,
}
"""By the type of a parameter: what makes the argument that travels of the one that was given."""
