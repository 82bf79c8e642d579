"""``track demo``: see eight training processes share one encrypted server."""

from __future__ import annotations

import argparse
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from track_protocol.command import Command
from track_protocol.errors import MissingExtra

__all__ = ["COMMAND"]

_NEEDED: Final = {
    "numpy": "numpy",
    "sklearn": "scikit-learn",
    "rich": "rich",
    "uvloop": "uvloop",
    "apsw": "apsw",
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "orjson": "orjson",
}
"""Packages of the extra `demo`: the name they are imported by, and the one they are installed by."""


_COUNTS: Final = (
    ("--workers", 8, "training processes"),
    ("--trials", 32, "trials of the search"),
    ("--epochs", 6, "epochs of each trial"),
)


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--dir", type=Path, metavar="DIR", help="folder for all files (default: ./track-demo-TIME)")
    for name, default, help_text in _COUNTS:
        add(name, type=_positive, default=default, metavar="N", help=f"{help_text} (default: {default})")
    add("--board", action="store_true", help="show the board meanwhile, and until Ctrl-C")


def _run(args: argparse.Namespace) -> int:
    _require_extra()
    from rich.console import Console

    from track.demo.coordinator import Plan, run_demo
    from track.demo.folder import new_folder

    folder = new_folder(args.dir, datetime.now().astimezone())
    plan = Plan(workers=args.workers, trials=args.trials, epochs=args.epochs, board=args.board)
    return run_demo(plan, folder, Console())


def _require_extra() -> None:
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise MissingExtra(f"'track demo' needs {', '.join(missing)}: pip install 'trackwire[demo]'")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


COMMAND: Final = Command("watch eight training processes share one encrypted server", _configure, _run)
