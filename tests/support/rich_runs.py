"""Runs that have something of everything that the board shows."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from track import TrackClient
from track.logger import TrialLogger
from track.tracker.media import GRAPH_NAME, graph_media
from track_protocol.model.media import GRAPH

__all__ = ["HOSTILE", "RUNS", "log_hostile_runs", "log_rich_runs"]

RUNS: Final = ("resnet 0", "resnet 1", "resnet 2", "resnet 3")

HOSTILE: Final = "<img src=x onerror=alert(1)><script>alert(2)</script>"
"""A text that would run as a script wherever a page took it for markup."""

_STEPS: Final = 60

_NOTE: Final = """# What was tried

A *smaller* learning rate, **warm-up**, and `cosine` decay:

- the loss falls more slowly
- it ends [lower](https://example.org/)

```
lr = 0.1 * (1 + cos(pi * step / steps)) / 2
```
"""

_FAILURE: Final = "CUDA out of memory. Tried to allocate 2.00 GiB"


@contextmanager
def _trial(client: TrackClient, failure: tuple[Any, ...], **given: Any) -> Iterator[TrialLogger]:
    """A new trial, which ends with this failure, or well if there is none."""
    trial = client.new_trial(force=True, **given)
    trial.start()
    yield trial
    trial.finish(*failure)


def log_rich_runs(client: TrackClient, folder: Path, project: str = "vision") -> str:
    """Log four runs into a project, and return its uid: parameters, curves, media, notes and a failure."""
    drawn = random.Random(1)
    uid = client.set_project(name=project, description="Digits by residual networks", force=True).uid
    (folder / "checkpoint.txt").write_text("weights\n" * 100)
    for number, name in enumerate(RUNS):
        lr = 10.0 ** -(1 + number % 3)
        arguments = {
            "lr": lr,
            "batch": 32 << number % 2,
            "optimizer": "sgd" if number % 2 else "adam",
            "model": {"depth": 18 + 16 * (number // 2), "width": 64},
            "augment": ["flip", "crop"],
        }
        failure: tuple[Any, ...] = (RuntimeError, RuntimeError(_FAILURE)) if number == 3 else ()
        with _trial(client, failure, name=name, arguments=arguments, description=_NOTE) as trial:
            trial.add_tags(seed=number, team="red" if number % 2 else "blue")
            for step in range(_STEPS):
                loss = 2.3 * math.exp(-step * (0.02 + lr)) + 0.05 * drawn.random()
                odd = math.nan if number == 1 and step % 20 == 19 else loss
                trial.log_metrics(step=step, **{"train/loss": odd, "train/accuracy": 1 - loss / 2.4})
                trial.log_metrics(step=step, loss=loss, context={"split": "val"})
                if step % 10 == 9:
                    _log_media(trial, number, step, drawn)
            client.protocol.log_trial_media(trial.trial, GRAPH, GRAPH_NAME, graph_media(_graph(number)), None)
            trial.log_file(str(folder / "checkpoint.txt"))
            trial.log_metadata(out="epoch 1\nepoch 2\nepoch 3\n", err="a warning\n")
    client.protocol.flush()
    return uid


def _log_media(trial: TrialLogger, number: int, step: int, drawn: random.Random) -> None:
    shade = [
        [[(x * 8 + step) % 256, (y * 8 * (number + 1)) % 256, 128] for x in range(32)] for y in range(32)
    ]
    trial.log_image("samples", shade, step=step)
    trial.log_histogram("weights", [drawn.gauss(step / 30, 1.0) for _ in range(200)], step=step)
    trial.log_text("answers", f"What is {number} + {step}?\nIt is {number + step}.\n", step=step)


def _graph(number: int) -> dict[str, Any]:
    """Layers, each from the one before."""
    labels = ["input", *(f"conv {layer}" for layer in range(4 + number)), "pool", "loss"]
    tensor = {"type": "tensor", "shape": [32, 64], "comp_grad": True, "is_leaf": False}
    nodes = [{"id": str(at), "label": label, **tensor} for at, label in enumerate(labels)]
    return {
        "nodes": nodes,
        "edges": [{"source": str(at), "target": str(at + 1)} for at in range(len(nodes) - 1)],
    }


def log_hostile_runs(client: TrackClient, folder: Path) -> str:
    """Log two runs of which every text would run as a script; return their project's uid."""
    uid = client.set_project(name=HOSTILE, description=HOSTILE, force=True).uid
    client.set_group(name=HOSTILE)
    for number in range(2):
        name = f"{HOSTILE} {number}"
        arguments = {HOSTILE: f"{HOSTILE} {number}", "lr": float(number)}
        failure = (RuntimeError, RuntimeError(HOSTILE))
        with _trial(client, failure, name=name, arguments=arguments, description=HOSTILE) as trial:
            trial.add_tags({HOSTILE: f"{HOSTILE} {number}"})
            trial.log_metadata({HOSTILE: f"{HOSTILE} {number}", "out": HOSTILE, "err": HOSTILE})
            for step in range(5):
                trial.log({HOSTILE: float(step), "loss": float(step)}, step=step)
            trial.log_text(HOSTILE, f"{HOSTILE} {number}", step=1)
            trial.log_histogram(HOSTILE, [1.0, 2.0], step=1)
            trial.log_image(HOSTILE, [[0, 255], [255, 0]], step=1)
            path = folder / "<img src=x onerror=alert(1)>.html"
            path.write_text(HOSTILE)
            trial.log_file(str(path))
    client.protocol.flush()
    return uid
