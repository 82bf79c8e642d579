"""Trials by what people call them: a uid or its first digits, an id, a name."""

from __future__ import annotations

import re
from typing import Any, Final

from track.persistence.protocol import Protocol
from track_protocol.errors import ItemNotFound, UsageError
from track_protocol.model.entities import Trial

__all__ = ["find_trial", "uid_conditions"]

_ID: Final = re.compile("[0-9a-fA-F]{32}")
_PREFIX: Final = re.compile(r"[0-9a-f]{4,64}")
_WITH_REVISION: Final = re.compile(r"([0-9a-f]{4,63})_([0-9]{1,9})")
_SHOWN: Final = 5


def find_trial(protocol: Protocol, name: str) -> Trial:
    """The one trial of a uid, of its first digits, of an id of 32 digits, or of a name.

    The digits of a hash may be cut short in front of the revision too, as `track ls` shows them.

    Raises:
        ItemNotFound: there is none.
        UsageError: there are several.
    """
    found = protocol.fetch_trials({"$or": [{"name": name}, *uid_conditions(name)]}) if name else []
    exact = [trial for trial in found if trial.uid == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not found:
        raise ItemNotFound(
            f"no trial is called {name!r}: give a uid, at least 4 of its first digits, an id or a name "
            "('track ls' shows them)"
        )
    some = ", ".join(f"{trial.uid[:12]}…_{trial.revision}" for trial in found[:_SHOWN])
    raise UsageError(f"{name!r} matches {len(found)} trials ({some}): give more digits of one's uid")


def uid_conditions(text: str) -> list[dict[str, Any]]:
    """Queries for the trials with that uid or id, and for those whose uid begins so."""
    ways: list[dict[str, Any]] = [{"uid": text}]
    if _ID.fullmatch(text):
        ways.append({"id": bytes.fromhex(text)})
    if _PREFIX.fullmatch(text):
        ways.append({"uid": _beginning(text)})
    if found := _WITH_REVISION.fullmatch(text):
        ways.append({"hash": _beginning(found[1]), "revision": int(found[2])})
    return ways


def _beginning(text: str) -> dict[str, str]:
    """The condition on hexadecimal digits that they begin so; `g` comes behind all of them."""
    return {"$gte": text, "$lt": f"{text}g"}
