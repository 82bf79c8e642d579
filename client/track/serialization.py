"""JSON of trials, groups and projects, under its documented path."""

from __future__ import annotations

from track_protocol.serialization import (
    SerializerAspect,
    SerializerChronoContext,
    SerializerDatetime,
    SerializerProject,
    SerializerStatStream,
    SerializerStatus,
    SerializerTrial,
    SerializerTrialGroup,
    SerializerUUID,
    from_json,
    to_json,
)

__all__ = [
    "SerializerAspect",
    "SerializerChronoContext",
    "SerializerDatetime",
    "SerializerProject",
    "SerializerStatStream",
    "SerializerStatus",
    "SerializerTrial",
    "SerializerTrialGroup",
    "SerializerUUID",
    "from_json",
    "to_json",
]
