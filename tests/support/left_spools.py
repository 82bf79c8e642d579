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
from track.outbox.records import Shape, batch_of
from track.spool.disk import Spool
from track.spool.folder import Origin, Progressed, SpoolFolder
from track.spool.options import SpoolOptions, SpoolSync
from track_protocol.batch import METRIC, batch_to_wire
from track_protocol.codec import encode

__all__ = ["SESSION", "TRIAL", "left_spool", "running_script"]

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
    progressed: Progressed | None = None,
    options: SpoolOptions | None = None,
) -> Path:
    """A spool with so many batches of so many points ``loss``, valued and stepped by their numbers."""
    origin = Origin(session.hex(), server, "train.py", host or os.uname().nodename, 4711, 1.7e9)
    folder = SpoolFolder.create(root, origin)
    spool = Spool(folder, options or SpoolOptions(root, SpoolSync.NONE), 1 if first == 1 else 2)
    shape = Shape(trial, METRIC, ("loss",), None)
    for start in range(first, first + batches * width, width):
        rows = [(shape, seq, 1.7e9 + seq, {"loss": float(seq)}) for seq in range(start, start + width)]
        batch = batch_of(start, list(rows))
        spool.append(batch.first, batch.last, encode(batch_to_wire(batch)))
    if progressed is not None:
        folder.note(progressed)
    spool.close()
    folder.close()
    return folder.path


@contextmanager
def running_script(folder: Path, source: str, uri: str, **changes: str) -> Iterator[subprocess.Popen[str]]:
    """A training script with a `client`, up to the line in which it says something; killed at the end."""
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
