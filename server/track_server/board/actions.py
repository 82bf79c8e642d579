"""What a browser may call: every read, and the writes of people who look after runs, each by its role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from track_protocol.errors import ItemNotFound, PermissionDenied, UnknownMethod
from track_protocol.model.entities import Project, TrialGroup
from track_protocol.wire.methods import METHODS, Access, Method
from track_server.board.arguments import read_arguments
from track_server.board.calls import Calls
from track_server.http.sessions import Login

__all__ = ["ACTIONS", "act"]

ACTIONS: Final = frozenset(
    {
        "add_group_trial",
        "add_trial_tags",
        "delete_trial",
        "log_trial_metadata",
        "new_project",
        "new_trial_group",
        "remove_trial_tags",
        "rename_trial",
        "set_group_metadata",
        "set_project_metadata",
        "set_trial_status",
    }
)
"""The writes that a browser may call."""

_MADE: Final[Mapping[str, tuple[str, Callable[..., Project | TrialGroup]]]] = {
    "new_project": ("project", Project),
    "new_trial_group": ("group", TrialGroup),
}
"""By the call that makes an item, its parameter and the class that knows its uid."""

_UPDATES: Final = {"trial": "fetch_and_update_trial", "group": "fetch_and_update_group"}
"""By what a log call updates, the call with an answer that applies it."""

_ITEMS: Final = {"project": "fetch_projects", "group": "fetch_groups", "trial": "fetch_trials"}
"""By the type of a parameter, the call that finds its item."""


async def act(calls: Calls, login: Login, name: str, given: Mapping[str, Any]) -> Any:
    """Make a call for somebody.

    Args:
        calls: the store.
        login: on whose behalf.
        name: of the method.
        given: the arguments by name, as JSON has them.

    Raises:
        UnknownMethod: there is no such call for browsers.
        PermissionDenied: the role does not allow it.
        BadArguments: the arguments do not fit.
        TrackError: what the store raises.
    """
    method = METHODS.get(name)
    if method is None or not (method.access is Access.READ or name in ACTIONS):
        raise UnknownMethod(f"no call of the board is named {name[:80]!r}")
    if login.role < method.role:
        raise PermissionDenied(
            f"{login.user} is a {login.role} and may not call {name}: log in as a {method.role} "
            "('track user add NAME --role writer' on the server)"
        )
    arguments = method.check(read_arguments(method, _identified(name, given)))
    if method.access is not Access.LOG:
        return await calls.call(login.user, name, arguments)
    return await _log(calls, login.user, method, arguments)


def _identified(name: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A project or group to be made, with its uid, which follows from its name."""
    parameter, make = _MADE.get(name, ("", None))
    document = given.get(parameter)
    if make is None or not isinstance(document, dict) or "uid" in document:
        return given
    named = {key: document.get(key) for key in ("name", "project_id") if key in document}
    if not all(isinstance(value, str | None) for value in named.values()):
        return given
    return {**given, parameter: {**document, "uid": make(**named).uid}}


async def _log(calls: Calls, user: str, method: Method, arguments: dict[str, Any]) -> Any:
    """Make a log call such that its caller hears of what is wrong with it.

    The store quarantines a log call that it cannot take, since its sender is gone by then.  A person waits
    for an answer: a call that updates one item is made as a call with an answer, and before any other the
    items that it names are looked for.
    """
    if method.updates is None:
        for parameter in method.parameters:
            if parameter.type in _ITEMS:
                await _require(calls, user, parameter.type, arguments[parameter.name])
        await calls.log(user, method.name, arguments)
        return None
    update = _UPDATES[method.updates]
    item, *others = (parameter.name for parameter in method.parameters)
    key = arguments[item]
    change = {"method": method.name, "arguments": {name: arguments[name] for name in others}}
    answer = await calls.call(user, update, {"query": _named(key), "update": change})
    if answer is None:
        raise _missing(method.updates, key)
    return answer


async def _require(calls: Calls, user: str, kind: str, key: bytes | str) -> None:
    found = METHODS[_ITEMS[kind]].check({"query": _named(key), "limit": 1, "fields": ["uid"]})
    if not await calls.call(user, _ITEMS[kind], found):
        raise _missing(kind, key)


def _named(key: bytes | str) -> dict[str, bytes | str]:
    return {"id" if isinstance(key, bytes) else "uid": key}


def _missing(kind: str, key: bytes | str) -> ItemNotFound:
    shown = key.hex() if isinstance(key, bytes) else key
    return ItemNotFound(f"there is no {kind} {shown[:80]!r}: it may have been deleted meanwhile")
