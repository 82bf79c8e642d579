"""Steps: the allowed values, and their distinct forms as keys of JSON objects (1, 1.0, True and '1')."""

from __future__ import annotations

import json
from typing import Any, Final

from track_protocol.errors import BadValue

__all__ = ["as_step", "step_from_key", "step_to_key"]

_MAX_KEY: Final = 4096
_WORDS: Final = frozenset(("true", "false", "null", "NaN", "Infinity"))


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


def step_to_key(step: Any) -> str:
    """The JSON key of a step, different for different steps.

    A number is its JSON text, a tuple a JSON array, and a text itself, in JSON quotes only where it
    would otherwise read as something else: ``1`` is ``1`` and ``'1'`` is ``"1"``.

    Args:
        step: an int, float, bool, str, None or a tuple of these.
    """
    if isinstance(step, str):
        return step if step_from_key(step) == step else json.dumps(step)
    return json.dumps(step, separators=(",", ":"))


def step_from_key(key: str) -> Any:
    """The step of a JSON key; a key that `step_to_key` would not write is itself the step."""
    if len(key) > _MAX_KEY or (key[:1].isalpha() and key not in _WORDS):
        return key
    try:
        step = _hashable(json.loads(key))
    except (ValueError, TypeError, RecursionError):
        return key
    if isinstance(step, str):
        # Quotes are only written round a text that needs them.
        return step if step_from_key(step) != step and json.dumps(step) == key else key
    return step if step_to_key(step) == key else key


def _hashable(step: Any) -> Any:
    if isinstance(step, list):
        return tuple(_hashable(part) for part in step)
    hash(step)
    return step
