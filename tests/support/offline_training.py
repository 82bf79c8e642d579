"""A training that may start before its server does: ``python offline_training.py URI GO``.

It trains, says so, and trains on when the file GO exists; at the end it prints its trial's id and uid.
"""

from __future__ import annotations

import sys
from pathlib import Path

from track import TrackClient
from waiting import wait_until

__all__ = ["main"]


def main(uri: str, go: Path) -> None:
    """Train."""
    client = TrackClient(uri)
    client.set_version("1")
    client.set_project(name="paper", description="ours")
    client.set_group(name="idea")
    trial = client.new_trial(name="t", description="d")
    trial.add_tags(team="vision")
    trial.log_arguments(lr=0.1, layers=[1, 2])
    with trial:
        for step in range(2_000):
            if step == 1_000:
                print("halfway", flush=True)  # noqa: T201 # who started it reads this
                wait_until(go.exists, "the sign to go on", 60.0)
            with trial.chrono("step"):
                trial.log_metrics(step=step, loss=1.0 / (1 + step), accuracy=float("nan"))
        trial.log_metadata(gpu="V100")
        trial.log_metrics(final=0.5)
    client.save()
    assert trial.trial.id is not None
    print(trial.trial.id.hex(), trial.trial.uid, flush=True)  # noqa: T201 # who started it reads this


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
