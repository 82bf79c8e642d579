"""The parameters of a trial, from whatever a script has them in."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final

from track_protocol.errors import BadArguments
from track_protocol.model import values as plain_values

__all__ = ["Arguments", "as_mapping", "fields_of", "is_same", "storable"]

_log: Final = logging.getLogger("track")

Arguments = Any
"""What a script may have them in: a parser, what one returned, a mapping, a data class, a model, or None."""


def as_mapping(args: object) -> dict[str, Any]:
    """Parameters by name; a parser parses the command line for them.

    Raises:
        BadArguments: it is nothing that gives any.
    """
    if isinstance(args, argparse.ArgumentParser):
        args = args.parse_args()
    if args is None:
        return {}
    fields = fields_of(args)
    if fields is None:
        kind = type(args).__name__
        raise BadArguments(
            f"a {kind} contains no arguments: pass a parser, its parsed result, or keyword arguments"
        )
    return fields


def fields_of(given: object) -> dict[str, Any] | None:
    """The values by name of a mapping, a namespace, a data class or a model; None of anything else.

    A key that is no text becomes one, as in JSON: files of configuration have numbers as keys.
    """
    try:
        named = _named(given)
        if named is None:
            return None
        fields: dict[str, Any] = {}
        for key, value in named.items():
            name = key if isinstance(key, str) else plain_values.text_of(key)
            while name in fields:
                name += "_"
            fields[name] = value
    except Exception:  # noqa: BLE001  # foreign code may raise anything: it gives no values then
        return None
    return fields


def _named(given: Any) -> Mapping[Any, Any] | None:
    if isinstance(given, Mapping):
        return given
    if isinstance(given, type):
        return None
    if isinstance(given, (argparse.Namespace, SimpleNamespace)):
        return vars(given)
    if dataclasses.is_dataclass(given):
        return {field.name: getattr(given, field.name, None) for field in dataclasses.fields(given)}
    # Models of pydantic, without importing it.
    declared = getattr(type(given), "model_fields", None)
    if isinstance(declared, Mapping):
        return {name: getattr(given, name) for name in declared}
    return None


def is_same(known: Any, given: Any) -> bool:
    """Whether a parameter has this value; foreign objects compare in all sorts of ways."""
    try:
        return bool(_plain(known) == _plain(given))
    except Exception:  # noqa: BLE001  # foreign code may raise anything: it is another value then
        return False


def _plain(value: Any) -> Any:
    return storable({"": value}, "", warn=lambda _: None)


def storable(
    values: Mapping[str, Any], what: str, warn: Callable[[str], None] = _log.warning
) -> dict[str, Any]:
    """The values in plain form; a part that has none becomes text, with one warning that names it.

    Args:
        values: by name.
        what: they are, for the warning.
        warn: called with it.
    """
    plain: dict[str, Any]
    plain, odd = plain_values.storable(dict(values), what)
    if odd:
        warn(plain_values.describe_odd(odd))
    return plain
