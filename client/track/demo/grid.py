"""The search space of the demo: a grid of hyper-parameters."""

from __future__ import annotations

import itertools
from typing import Any

__all__ = ["grid"]


def grid(count: int) -> list[dict[str, Any]]:
    """The first `count` points of the search, each different; seeds go up when the grid is used up."""
    points = (
        {"learning_rate": rate, "hidden": hidden, "alpha": alpha, "seed": seed}
        for seed in itertools.count()
        for rate in (0.0003, 0.001, 0.003, 0.01)
        for hidden in (16, 32, 64, 128)
        for alpha in (1e-4, 1e-1)
    )
    return list(itertools.islice(points, count))
