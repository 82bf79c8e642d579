"""What the values of a container may be, under its documented path."""

from __future__ import annotations

from track_protocol.model.ring import DTYPES, typecode

__all__ = ["DTYPES", "typecode"]
