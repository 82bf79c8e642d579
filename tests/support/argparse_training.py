"""A script with a command line, as many are started at once; ``TRACK_URI`` names the store.

``python argparse_training.py [--lr LR] [--epochs EPOCHS]``
"""

from __future__ import annotations

import argparse
import random

from track import TrackClient

__all__ = ["error_of", "main"]

_BATCHES = 20


def error_of(seed: int, step: int) -> float:
    """The value that a run logs: unique to it, so that a point in the wrong trial is found."""
    return random.Random(f"{seed}/{step}").random()


def main() -> None:
    """Parse the command line, draw a seed, and train."""
    parser = argparse.ArgumentParser(description="a run of a search")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, default=10)
    client = TrackClient()
    client.set_project(name="search")
    trial = client.new_trial(name="run")
    args = client.get_arguments(parser, show=True)
    seed = random.SystemRandom().randrange(2**32)
    with trial:
        trial.log_metadata(seed=seed)
        for epoch in range(args.epochs):
            with trial.chrono("epoch"):
                for batch in range(_BATCHES):
                    step = epoch * _BATCHES + batch
                    trial.log_metrics(step=step, error_rate=error_of(seed, step))
        trial.log_metrics(steps=args.epochs * _BATCHES)


if __name__ == "__main__":
    main()
