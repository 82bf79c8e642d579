"""The modules of the demo that import scikit-learn: only a process that runs their tests has to load it."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def training() -> Any:
    """`track.demo.training`."""
    from track.demo import training

    return training


@pytest.fixture(scope="session")
def worker() -> Any:
    """`track.demo.worker`."""
    from track.demo import worker

    return worker
