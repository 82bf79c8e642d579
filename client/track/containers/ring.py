"""The ring buffer, under its documented path."""

from __future__ import annotations

from track_protocol.ring import RingBuffer

__all__ = ["RingBuffer"]
