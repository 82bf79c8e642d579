"""A trial's metadata without the entries that the store writes itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from track.serialization import SerializerTrial

__all__ = ["given"]


def given(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that users and calls wrote."""
    return {name: value for name, value in metadata.items() if name not in SerializerTrial.ignore_meta}
