"""Nested values as a row of columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["flat"]


def flat(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Nested mappings as one, whose names have dots.

    Of several values of one name, as in ``{"a.b": 1, "a": {"b": 2}}``, that of the longest key has it, as in
    queries; in the names of the others each key is in quotes: ``"a"."b"``.
    """
    found: dict[str, dict[tuple[str, ...], Any]] = {}
    for keys, value in _walked(values, ()):
        found.setdefault(".".join(keys), {})[keys] = value
    plain: dict[str, Any] = {}
    for name, of_keys in found.items():
        first = max(of_keys, key=lambda keys: [len(key) for key in keys])
        for keys, value in of_keys.items():
            plain[name if keys == first else ".".join(json.dumps(key) for key in keys)] = value
    return plain


def _walked(values: Mapping[Any, Any], before: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        keys = (*before, str(key))
        if isinstance(value, Mapping) and value:
            yield from _walked(value, keys)
        else:
            yield keys, value
