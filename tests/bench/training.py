"""What the workers log: four scalars a step that look like those of a training run.

Two are noise to the last bit (nothing compresses them), one is a fraction of 64, one is a schedule.
"""

from __future__ import annotations

import math
import random
from typing import Final

__all__ = ["NAMES", "metrics_of"]

NAMES: Final = ("loss", "accuracy", "gradient", "rate")


def metrics_of(worker: int, steps: int) -> list[dict[str, float]]:
    """The metrics of each step; the same for the same worker and number of steps."""
    noise = random.Random(f"{worker}/{steps}")
    rows = []
    for step in range(steps):
        progress = step / steps
        rows.append(
            {
                "loss": math.exp(-3 * progress) * (1 + 0.1 * noise.gauss(0, 1)),
                "accuracy": min(64, int(64 * progress + noise.uniform(0, 8))) / 64,
                "gradient": noise.lognormvariate(0, 0.5),
                "rate": 1e-3 * (1 + math.cos(math.pi * progress)) / 2,
            }
        )
    return rows
