"""Spools as a process leaves them when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from running_server import environment
from track.outbox.records import CALL, Record, Shape, batch_of
from track.spool.folder import Checkpoint, SpoolFolder, SpoolMetadata
from track.spool.options import SpoolOptions, SpoolSync
from track.spool.reader import batch_in
from track.spool.segments import scan
from track.spool.writer import Location, Spool
from track_protocol.wire.batch import METRIC, Batch, batch_to_wire
from track_protocol.wire.codec import encode

__all__ = ["SESSION", "TRIAL", "left_spool", "records_in", "running_script"]

SESSION = bytes(range(16))
TRIAL = b"t" * 16

_HEAD = """
import os, sys, time
from track import TrackClient

def say(text):
    print(text, flush=True)

client = TrackClient(os.environ["TRACK_URI"])
"""


def left_spool(
    root: Path,
    batches: int = 3,
    width: int = 10,
    *,
    first: int = 1,
    session: bytes = SESSION,
    trial: bytes = TRIAL,
    server: str = "socket://ann@localhost:8123",
    host: str | None = None,
    checkpoint: Checkpoint | None = None,
    options: SpoolOptions | None = None,
    calls: int = 0,
) -> Path:
    """Write a spool of `batches` batches of `width` points ``loss``, whose values and steps count up.

    A batch of `calls` other log calls follows, if there are any.
    """
    metadata = SpoolMetadata(session.hex(), server, "train.py", host or os.uname().nodename, 4711, 1.7e9)
    folder = SpoolFolder.create(root, metadata)
    spool = Spool(folder, options or SpoolOptions(root, SpoolSync.NONE), 1 if first == 1 else 2)
    shape = Shape(trial, METRIC, ("loss",), None)
    for start in range(first, first + batches * width, width):
        records = [(shape, seq, 1.7e9 + seq, {"loss": float(seq)}) for seq in range(start, start + width)]
        batch = batch_of(start, list(records))
        spool.append(batch.first, batch.last, encode(batch_to_wire(batch)))
    if calls:
        tags: list[Record] = [(CALL, "add_trial_tags", 1.7e9, {"trial": trial, "tags": {}}, 64)] * calls
        batch = batch_of(first + batches * width, tags)
        spool.append(batch.first, batch.last, encode(batch_to_wire(batch)))
    if checkpoint is not None:
        folder.write_checkpoint(checkpoint)
    spool.close()
    folder.close()
    return folder.path


def records_in(folder: Path) -> list[tuple[Location, Batch]]:
    """Return the complete records of a spool, by sequence number, each number once."""
    found: dict[int, tuple[Location, Batch]] = {}
    for path in sorted(folder.glob("*.segment")):
        data = path.read_bytes()
        for seq, start, length in scan(data, bytes.fromhex(folder.name)).records:
            batch = batch_in(data[start : start + length])
            found.setdefault(seq, (Location(int(path.stem), start, length), batch))
    return [found[seq] for seq in sorted(found)]


@contextmanager
def running_script(folder: Path, source: str, uri: str, **changes: str) -> Iterator[subprocess.Popen[str]]:
    """Start a training script with a `client`, wait for its first line of output, and kill it at the end."""
    path = folder / "train.py"
    path.write_text(_HEAD + textwrap.dedent(source))
    env = environment(PYTHONPATH=os.pathsep.join(sys.path), TRACK_URI=uri, **changes)
    with subprocess.Popen(
        [sys.executable, str(path)],
        cwd=folder,
        env=env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), process.communicate()
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
