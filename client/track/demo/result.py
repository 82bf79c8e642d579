"""The output of the demo: a line for each component, and the result at the end."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from track.demo.folder import Folder
from track.demo.observation import Observation
from track.demo.table import trial_table
from track.demo.verification import Verification

__all__ = ["show", "show_result", "show_way_to_the_board"]

_BEST: Final = 5
_MAX_FAULTS: Final = 20


def show(console: Console, name: str, what: str, style: str = "") -> None:
    """One line; long paths are not shortened, so that they can be copied."""
    console.print(Text.assemble((f"{name:<10} ", "bold"), (what, style)), soft_wrap=True)


def show_result(
    console: Console, folder: Folder, last: Observation, proof: Verification, seconds: float
) -> None:
    """The best trials, the outcome of the verification, and the paths."""
    console.print()
    best = last.best(_BEST)
    show(console, "best", f"{len(best)} of {len(last.rows)} trials, by accuracy on held-out digits")
    console.print(trial_table(best))
    console.print()
    _tell_proof(console, proof)
    console.print()
    show(console, "store", _short(folder.store))
    show(console, "server log", _short(folder.server_log))
    show(console, "read it", f"TrackClient('sqlite:{_short(folder.store)}').protocol.fetch_trials({{}})")
    show(console, "took", f"{seconds:.0f} s")


def show_way_to_the_board(console: Console, folder: Folder) -> None:
    """The command that shows the stored trials on the board."""
    command = shlex.join([_program(), "board", f"sqlite:{_short(folder.store)}"])
    show(console, "look at it", command)


def _tell_proof(console: Console, proof: Verification) -> None:
    good = not proof.faults
    style = "green" if good else "bold red"
    show(
        console,
        "verified" if good else "WRONG",
        "read back by a second client with the role reader:",
        style,
    )
    if good:
        show(console, "", f"{proof.trials} trials, each claimed by exactly one worker")
    show(console, "", f"{proof.logged:,} points logged, {proof.stored:,} stored")
    show(console, "", f"{proof.lost:,} lost, {proof.doubled:,} doubled")
    for fault in proof.faults[:_MAX_FAULTS]:
        show(console, "", fault, "red")
    if len(proof.faults) > _MAX_FAULTS:
        show(console, "", f"… and {len(proof.faults) - _MAX_FAULTS} more", "red")


def _program() -> str:
    """How this program is called here."""
    called = Path(sys.argv[0])
    if called.name != "track":
        return "track"
    found = shutil.which("track")
    return "track" if found is not None and called.samefile(found) else _short(called.absolute())


def _short(path: Path) -> str:
    """Relative to the current folder if it is below, and then ready to be pasted here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
