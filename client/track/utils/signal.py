"""What happens when a signal asks the process to end, under its documented path."""

from __future__ import annotations

from track.process.signals import SignalHandler

__all__ = ["SignalHandler"]
