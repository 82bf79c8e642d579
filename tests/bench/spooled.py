"""Spools: what `track sync` takes for points that lie on disk one by one, as after ``spool_sync=always``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daemon import Daemon, serving
from tables import Table
from track import TrackClient
from track.outbox.records import Shape, batch_of
from track.spool.folder import SpoolFolder
from track.spool.options import SpoolOptions, SpoolSync
from track.spool.reader import recover
from track_protocol.wire.batch import METRIC, PointsOp, batch_from_wire, batch_to_wire
from track_protocol.wire.codec import decode, encode

__all__ = ["measure"]

_POINTS: Final = (1_000_000, 100_000)
"""In full, and quick."""

_IN_ONE: Final = (1_000, 1)
"""Points in a record: as a run leaves them that does not wait for the disk, and as one that does."""

_POLL_INTERVAL_S: Final = 0.01
"""Seconds between two looks at a command's memory."""

_RUN = """
from track import TrackClient
client = TrackClient()
trial = client.new_trial(name="left")
trial.log_metrics(step=-1, loss=0.0)
"""


@dataclass(frozen=True)
class _Ran:
    """A command that has ended.

    Attributes:
        seconds: how long it took.
        megabytes: the most memory that it had resident, in units of 10^6 bytes.
        out: what it printed.
    """

    seconds: float
    megabytes: float
    out: str


def _run(words: Iterable[str], environment: dict[str, str]) -> _Ran:
    """Run Python with these arguments.

    Raises:
        RuntimeError: it failed.
    """
    pause, most, began = threading.Event(), 0.0, time.monotonic()
    with subprocess.Popen(
        [sys.executable, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None:
            most = max(most, _peak(process.pid))
            pause.wait(_POLL_INTERVAL_S)
        seconds = time.monotonic() - began
        out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{words} ended with {process.returncode}: {out}{err}")
    return _Ran(seconds, most, out)


def _peak(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return max(
        (int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), default=0.0
    )


def _leave(root: Path, points: int, in_one: int, environment: dict[str, str]) -> Path:
    """A spool with a trial that no server knows, and with that many points of it."""
    _run(["-c", _RUN], environment)
    (path,) = root.iterdir()
    first, trial = _end_of(path)
    folder = SpoolFolder.open(path)
    spool, _ = recover(folder, SpoolOptions(root, SpoolSync.NONE))
    shape = Shape(trial, METRIC, ("loss",), None)
    for start in range(0, points, in_one):
        rows = [(shape, step, 1.7e9 + step, {"loss": step * 0.1}) for step in range(start, start + in_one)]
        batch = batch_of(first + start, rows)
        spool.append(batch.first, batch.last, encode(batch_to_wire(batch)))
    spool.close()
    folder.close()
    return path


def _end_of(path: Path) -> tuple[int, bytes]:
    """The number of a spool's next log call, and the trial of its last points."""
    folder = SpoolFolder.open(path)
    spool, found = recover(folder, SpoolOptions(path.parent, SpoolSync.NONE))
    last = found.intact[-1]
    records = spool.read_extent(last.location)
    spool.close()
    folder.close()
    ops = [op for _, _, payload in records for op in batch_from_wire(decode(payload)).ops]
    (trial,) = {op.trial for op in ops if isinstance(op, PointsOp)}
    return last.last + 1, trial


def _check(daemon: Daemon, points: int) -> None:
    client = TrackClient(daemon.uri)
    (trial,) = client.protocol.fetch_trials({"name": "left"})
    stored = client.protocol.fetch_metrics(trial, "loss")
    client.close()
    if list(stored.steps) != list(range(-1, points)):
        raise RuntimeError(f"{points:,} points were left, and what is stored is not that")


def _sent(folder: Path, points: int, in_one: int) -> tuple[float, _Ran, _Ran]:
    """The megabytes of a spool, what looking at it took, and what sending it took."""
    root = folder / "spools"
    with serving(folder) as daemon:
        home = os.environ | {"TRACK_URI": daemon.uri, "TRACK_SPOOL": str(root)}
        path = _leave(root, points, in_one, home | {"TRACK_URI": f"{daemon.uri}&offline=require"})
        size = sum(file.stat().st_size for file in path.glob("*.segment")) / 1e6
        listed = _run(["-m", "track.cli", "sync", "--dry-run", "--json"], home)
        (listed_spool,) = json.loads(listed.out)["spools"]
        if listed_spool["points"] != points + 1:
            raise RuntimeError(f"{points + 1:,} points wait, and {listed_spool['points']:,} are listed")
        sent = _run(["-m", "track.cli", "sync"], home)
        _check(daemon, points)
    return size, listed, sent


def measure(folder: Path, quick: bool) -> None:
    """Print what the same points take, in few records and each in its own.

    Args:
        folder: for the spools and stores.
        quick: a tenth of the work.
    """
    points = _POINTS[quick]
    empty = folder / "empty"
    empty.mkdir()
    bare = _run(["-m", "track.cli", "sync", "--dry-run", str(empty)], dict(os.environ))
    table = Table("records", "spool MB", "track sync", "seconds", "÷ few", "+MB", "÷ few", "÷ spool")
    few: list[_Ran] = []
    for in_one in _IN_ONE:
        size, *ran = _sent(folder / str(in_one), points, in_one)
        few = few or ran
        for name, one, least in zip(("--dry-run", ""), ran, few, strict=True):
            grown = one.megabytes - bare.megabytes
            table.add(
                f"{points // in_one:,}",
                f"{size:.0f}",
                name,
                f"{one.seconds:.1f}",
                f"{one.seconds / least.seconds:.1f}",
                f"{grown:.0f}",
                f"{grown / (least.megabytes - bare.megabytes):.1f}",
                f"{grown / size:.2f}",
            )
    table.print(f"spooled: {points:,} points of a killed run; an empty folder takes {bare.megabytes:.0f} MB")
