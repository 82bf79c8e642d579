"""Steps: the allowed values."""

from __future__ import annotations

from typing import Any

from track_protocol.errors import BadValue

__all__ = ["as_step"]


def as_step(plain: Any) -> Any:
    """The step of a plain value; it is hashable, so that a reader of a series may use it as a key.

    Args:
        plain: a result of `normalise`; lists in it become tuples.

    Raises:
        BadValue: it is, or contains, a value that cannot be a key.
    """
    if isinstance(plain, (list, tuple)):
        return tuple([as_step(part) for part in plain])
    if plain is None or isinstance(plain, (bool, int, float, str)):
        return plain
    raise BadValue(
        f"step: a {type(plain).__name__} cannot be a step: use a number, a str or a tuple of these"
    )
