"""Trials by what people call them: a uid or its first digits, an id, a name."""

from __future__ import annotations

from typing import Final

from track.persistence.protocol import Protocol
from track_protocol.errors import ItemNotFound, UsageError
from track_protocol.model.entities import Trial
from track_protocol.query.store_names import uid_conditions

__all__ = ["find_trial"]

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
