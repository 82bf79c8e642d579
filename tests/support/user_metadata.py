"""A trial's metadata without what the store notes in it of its own accord."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from track.serialization import SerializerTrial

__all__ = ["given"]


def given(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What users and calls have put there."""
    return {name: value for name, value in metadata.items() if name not in SerializerTrial.ignore_meta}
