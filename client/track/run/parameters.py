"""The parameters of a trial, from whatever a script has them in."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from typing import Any, Final

from track_protocol.errors import BadArguments, BadValue
from track_protocol.model.values import normalise

__all__ = ["Arguments", "as_mapping", "storable"]

_log: Final = logging.getLogger("track")

Arguments = argparse.ArgumentParser | argparse.Namespace | Mapping[str, Any] | None
"""What a script may have them in: a parser, what one returned, or values by name."""


def as_mapping(args: object) -> dict[str, Any]:
    """Parameters by name; a parser parses the command line for them.

    Raises:
        BadArguments: it is nothing that gives any.
    """
    if isinstance(args, argparse.ArgumentParser):
        args = args.parse_args()
    if isinstance(args, argparse.Namespace):
        return vars(args)
    if args is None:
        return {}
    if not isinstance(args, Mapping) or not all(isinstance(name, str) for name in args):
        kind = type(args).__name__
        raise BadArguments(
            f"a {kind} contains no arguments: pass a parser, its parsed result, or keyword arguments"
        )
    return dict(args)


def storable(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The values in plain form; one that has none becomes text, so that no run fails for it."""
    plain = {}
    for name, value in values.items():
        try:
            plain[name] = normalise(value, f"{what} {name}")
        except BadValue as error:
            plain[name] = str(value)[:1024]
            _log.warning("%s; its text is stored instead", error)
    return plain
