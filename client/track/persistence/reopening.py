"""Stores that came to this process by pickle: the same one each time.

Each task of a pool brings its trial along.  A store of its own for each would mean a connection, a thread and
a spool for each; so a process reuses what it has opened, and a forked one what it inherits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final
from weakref import WeakValueDictionary

from track.process.lifecycle import ForkSafeRLock
from track_protocol.model.entities import new_id

__all__ = ["note", "opened_again"]

_MAX_OPEN: Final = 16
"""Stores of other processes that stay open, though nothing here uses them at the moment."""

_own: Final[WeakValueDictionary[bytes, Any]] = WeakValueDictionary()
_others: Final[dict[Hashable, Any]] = {}
_lock: Final = ForkSafeRLock()


def note(store: Any) -> bytes:
    """A store is made in this process; returns what a pickle says of it, so that it is found here again."""
    origin = new_id()
    _own[origin] = store
    return origin


def opened_again(origin: bytes, key: Hashable, make: Callable[[], Any]) -> Any:
    """The store of a pickle.

    Args:
        origin: see `note`; this process, or one that was forked from it, has the very store.
        key: equal for the stores that are one here.
        make: opens it.
    """
    with _lock:
        known = _own.get(origin)
        if known is not None:
            return known
        found = _others.pop(key, None)
        _others[key] = found = make() if found is None else found
        while len(_others) > _MAX_OPEN:
            del _others[next(iter(_others))]
        return found
