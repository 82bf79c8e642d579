"""The suite that every storage protocol passes, under its documented path."""

from __future__ import annotations

from track.testing import BackendContract

__all__ = ["BackendContract"]
