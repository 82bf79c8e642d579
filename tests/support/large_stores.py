"""Stores with more than a test could log: many trials, and very long series."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from track_protocol.wire.batch import METRIC
from track_protocol.wire.columns import pack
from track_server.storage.contract import Points
from track_server.storage.sqlite.store import open_store
from track_server.storage.unit_of_work import begin

__all__ = ["fill_with_trials", "long_series"]

_TOGETHER: Final = 500
"""Trials in one commit."""

_BATCH: Final = 10_000
"""Points in one commit."""


def fill_with_trials(path: Path, trials: int, metrics: int, points: int = 3) -> None:
    """Fill an SQLite store with trials; their metrics are called ``loss``, ``m1``, ``m2`` and so on."""
    drawn = random.Random(1)
    store = open_store(path, exclusive=True)
    for first in range(0, trials, _TOGETHER):
        tx = begin(store)
        for number in range(first, min(trials, first + _TOGETHER)):
            trial = _trial(number, drawn)
            tx.add_trial(trial)
            for metric in range(metrics):
                name = f"m{metric}" if metric else "loss"
                values = [drawn.random() for _ in range(points)]
                times = [1.7e9 + at for at in range(points)]
                tx.append_points(
                    trial["id"], METRIC, name, None, Points(pack(range(points)), pack(times), pack(values))
                )
        tx.commit()
    store.close()


def long_series(path: Path, points: int, value_of: Callable[[int], float]) -> None:
    """Fill an SQLite store with one trial, whose metric ``loss`` has so many points, merged into chunks."""
    store = open_store(path, exclusive=True)
    trial = _trial(1, random.Random(1))
    tx = begin(store)
    tx.add_trial(trial)
    tx.commit()
    for first in range(0, points, _BATCH):
        steps = range(first, min(points, first + _BATCH))
        times = [1.7e9 + step / 100 for step in steps]
        tx = begin(store)
        values = [value_of(step) for step in steps]
        tx.append_points(trial["id"], METRIC, "loss", None, Points(pack(steps), pack(times), pack(values)))
        tx.commit()
    while store.maintain(1.0):
        pass
    store.close()


def _trial(number: int, drawn: random.Random) -> dict[str, Any]:
    """A trial with eight parameters and what a run notes of itself; every other one is completed."""
    status = {"value": 302, "name": "Completed"} if number % 2 else {"value": 101, "name": "Running"}
    return {
        "id": number.to_bytes(16, "big"),
        "uid": f"{number:040x}_0",
        "hash": f"{number:040x}",
        "revision": 0,
        "name": f"trial {number}",
        "description": None,
        "version": None,
        "tags": {"seed": number % 10, "team": drawn.choice(["vision", "text"])},
        "parameters": {
            "lr": 10 ** drawn.uniform(-5, -1),
            "batch": drawn.choice([16, 32, 64]),
            "opt": {"name": drawn.choice(["adam", "sgd", "lion"]), "decay": drawn.random()},
            "layers": drawn.randint(1, 12),
            "width": drawn.choice([64, 128, 256]),
            "dropout": drawn.random(),
            "act": drawn.choice(["relu", "gelu"]),
        },
        "metadata": {
            "run": {"user": "ann", "host": f"node{number % 20}", "pid": number, "git": {"commit": "0" * 40}},
            "heartbeat": 1.7e9 + number,
        },
        "errors": [],
        "project_id": None,
        "group_id": None,
        "status": status,
        "created": 1.7e9 + number,
        "started": 1.7e9 + number,
        "ended": 1.7e9 + number + 60 * drawn.random() if number % 2 else None,
    }
