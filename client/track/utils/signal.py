"""The handler of termination signals, under its documented path."""

from __future__ import annotations

from track.process.signals import SignalHandler

__all__ = ["SignalHandler"]
