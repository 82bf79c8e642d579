"""URIs of stores, under their documented path."""

from __future__ import annotations

from track_protocol.uri import parse_options, parse_uri

__all__ = ["parse_options", "parse_uri"]
