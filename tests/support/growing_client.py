"""A client that logs images and points as fast as it can, and prints its peak memory.

``python growing_client.py URI IMAGES POINTS``; prints megabytes (10^6 bytes), beyond those of a client that
has logged one of each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from track import TrackClient

__all__ = ["main", "resident"]


def resident(field: str, pid: int | str = "self") -> float:
    """``VmRSS`` or ``VmHWM`` of a process, in megabytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{field}:")]
    return int(line.split()[1]) * 1024 / 1e6


def main(uri: str, images: int, points: int) -> None:
    """Log them."""
    client = TrackClient(uri)
    random = np.random.default_rng(7)
    with client.new_trial(name="growing") as trial:
        trial.log_image("sample", random.integers(0, 256, (64, 64, 3), dtype=np.uint8), step=-1)
        trial.log_metrics(step=-1, loss=0.0)
        client.save()
        before = resident("VmRSS")
        # First all points, so that they are logged much faster than the server stores them.
        for step in range(points):
            trial.log_metrics(step=step, loss=step * 0.1)
        for step in range(images):
            trial.log_image("sample", random.integers(0, 256, (64, 64, 3), dtype=np.uint8), step=step)
        client.save()
        sys.stdout.write(f"{resident('VmHWM') - before}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
