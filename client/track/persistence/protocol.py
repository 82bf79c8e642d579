"""The storage contract, under its documented path."""

from __future__ import annotations

from track_protocol.protocol import Protocol

__all__ = ["Protocol"]
