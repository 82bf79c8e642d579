"""URIs of stores as dictionaries, as scripts written against this path use them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from track_protocol import uri as uris

__all__ = ["parse_options", "parse_uri"]


def parse_uri(uri: str) -> dict[str, Any]:
    """The parts of a URI as a dictionary.

    Returns:
        scheme, address and hostname (the same), port (int or None), path, username, password, query
        (dict of str), fragment; of several hosts, only the first.

    Raises:
        UriError: it cannot be parsed; the message gives the position, without the password.
    """
    parsed = uris.Uri.parse(uri)
    parts = {**dataclasses.asdict(parsed), "address": parsed.hostname}
    del parts["more_hosts"]
    return parts


def parse_options(options: str | Mapping[str, Any]) -> dict[str, str]:
    """The options of a query, decoded.

    Args:
        options: ``a=1&b=2``, with or without a leading ``?``; or a mapping, whose None values are left
            out and whose other values become text (True is ``true``).

    Raises:
        UriError: an option has no name, or is given twice.
    """
    if isinstance(options, Mapping):
        return {str(name): _text(value) for name, value in options.items() if value is not None}
    return uris.parse_options(options)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
