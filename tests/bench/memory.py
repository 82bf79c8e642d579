"""Memory: how much a client and its server grow while images and points are logged as fast as it can."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from daemon import serving
from parallel import Wait, run_together
from tables import Table
from track import TrackClient

__all__ = ["measure"]

_IMAGES: Final = (10_000, 1_000)
_POINTS: Final = (1_000_000, 100_000)
"""In full, and quick."""

_SHAPES: Final = ((28, 28), (64, 64, 3))
"""Of the images: those of MNIST, and small ones in colour."""

_AIM: Final = 50.0
"""Megabytes that a client may grow."""


@dataclass(frozen=True)
class _Job:
    """What the client does.

    Attributes:
        uri: of the server.
        server: its process.
        images: how many.
        points: how many.
        shape: of an image.
    """

    uri: str
    server: int
    images: int
    points: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Grown:
    """The growth of memory, in units of 10^6 bytes.

    Attributes:
        client: most resident memory beyond that of a client which has logged one image and one point.
        server: the same of the server.
        logged: pixels, and values with their steps.
    """

    client: float
    server: float
    logged: float


def _resident(field: str, pid: int | str = "self") -> float:
    """``VmRSS`` or ``VmHWM`` of a process, in units of 10^6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"the kernel does not report {field} of process {pid}")


def _noise(images: int, shape: tuple[int, ...]) -> Iterator[Any]:
    """Images that no compression makes small."""
    import numpy as np

    random = np.random.default_rng(7)
    for _ in range(images):
        yield random.integers(0, 256, shape, dtype=np.uint8)


def _work(job: _Job, wait: Wait) -> _Grown:
    client = TrackClient(job.uri)
    client.set_project(name="memory")
    trial = client.new_trial(name=f"{job.shape}")
    with trial:
        trial.log_image("sample", next(_noise(1, job.shape)), step=-1)
        trial.log_metrics(step=-1, loss=0.0)
        client.save()
        wait()
        client_before, server_before = _resident("VmRSS"), _resident("VmRSS", job.server)
        share = job.points // job.images
        for number, image in enumerate(_noise(job.images, job.shape)):
            trial.log_image("sample", image, step=number)
            for step in range(number * share, (number + 1) * share):
                trial.log_metrics(step=step, loss=step * 0.1)
        client.save()
        grown = _resident("VmHWM") - client_before
        server_grown = _resident("VmHWM", job.server) - server_before
    stored = trial.trial
    _check(len(client.protocol.fetch_metrics(stored, "loss").values), job.points + 1)
    _check(len(client.protocol.fetch_media(stored, "image", "sample").values), job.images + 1)
    client.close()
    logged = job.images * math.prod(job.shape) + job.points * 16
    return _Grown(grown, server_grown, logged / 1e6)


def _check(stored: int, logged: int) -> None:
    if stored != logged:
        raise RuntimeError(f"{logged:,} were logged, and {stored:,} are stored")


def measure(folder: Path, quick: bool) -> None:
    """Print how much the memory of both ends grows, beside what was logged.

    Args:
        folder: for the stores.
        quick: a tenth of the work.
    """
    images, points = _IMAGES[quick], _POINTS[quick]
    table = Table("images", "logged MB", "client +MB", f"÷ {_AIM:g} MB", "÷ logged", "server +MB")
    for shape in _SHAPES:
        name = "x".join(map(str, shape))
        with serving(folder / name) as daemon:
            job = _Job(daemon.uri, daemon.pid, images, points, shape)
            (grown,) = run_together(_work, [job], at_start=lambda: None)
        table.add(
            name,
            f"{grown.logged:.0f}",
            f"{grown.client:.1f}",
            f"{grown.client / _AIM:.2f}",
            f"{grown.client / grown.logged:.2f}",
            f"{grown.server:.1f}",
        )
    table.print(f"memory: {images:,} images and {points:,} points, by one client")
