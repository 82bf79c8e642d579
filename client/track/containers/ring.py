"""The ring buffer, under its documented path."""

from __future__ import annotations

from track_protocol.model.ring import RingBuffer

__all__ = ["RingBuffer"]
