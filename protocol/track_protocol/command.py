"""What the client and the server each bring as subcommands of ``track``, by entry points."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Command"]


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand; what it raises as `TrackError` becomes one line and the error's exit code.

    Attributes:
        help: one line for the list of commands.
        configure: adds the arguments to the subcommand's parser.
        run: does it and returns the exit code.
    """

    help: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
