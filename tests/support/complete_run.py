"""A complete run as a user writes one: several trials that log every kind of data.

Run as ``python complete_run.py URI NUMBER``.
"""

from __future__ import annotations

import math
import sys

from track import TrackClient
from track.aggregators.aggregator import RingAggregator, StatAggregator
from track_protocol.model.entities import CustomStatus

__all__ = ["TRIALS"]

TRIALS = 6
"""How many trials a run makes."""


class Diverged(Exception):
    """The error of a failed training."""


def train(client: TrackClient, number: int) -> None:
    """Run one trial that logs every kind of data."""
    trial = client.new_trial(force=True, name="train", description="all there is")
    trial.add_tags(run=number, team="vision")
    trial.log_arguments(run=number, lr=0.1, layers=[1, 2, {"width": 3}], name=None, big=2**62)
    with trial:
        for step in range(200):
            with trial.chrono("step"):
                trial.log_metrics(
                    step=step, loss=1.0 / (1 + step), accuracy=math.nan if step % 7 else math.inf
                )
        trial.log_metrics(step=0.5, by_float=1)
        trial.log_metrics(step="epoch", by_text=-math.inf)
        trial.log_metrics(step=(1, 2), by_tuple=True)
        trial.log_metrics(unstepped="text", mixed=None)
        trial.log_metrics(unstepped=["a", {"list": 1}], mixed=2)
        trial.log_metrics(aggregator=StatAggregator.lazy(1), norm=3.0)
        trial.log_metrics(aggregator=RingAggregator.lazy(2), last=4.0)
        trial.log_metadata(gpu="V100", sizes=[1, 2, 3])
        trial.log_metadata(gpu="A100")
        trial.rewind(150)
        trial.log_metrics(step=151, loss=0.25)
    trial.add_tags(team="language", best=True)
    trial.log_arguments(found_later=number)


def fail(client: TrackClient, number: int) -> None:
    """Run a trial that ends with an exception."""
    try:
        with client.new_trial(force=True, name="fail", arguments={"run": number}) as trial:
            trial.log_metrics(loss=math.nan)
            raise Diverged(f"the loss of run {number} is no number")
    except Diverged:
        pass


def queue(client: TrackClient, number: int) -> None:
    """Create a trial that never starts, in a custom status."""
    trial = client.new_trial(force=True, name="queue", arguments={"run": number})
    trial.set_status(CustomStatus("queued", 1), error="no machine is free")


def repeat(client: TrackClient, number: int) -> None:
    """Run two trials with the same parameters."""
    for again in range(2):
        with client.new_trial(force=True, name="repeat", arguments={"run": number}) as trial:
            trial.log_metrics(again=again)


def stray(client: TrackClient, number: int) -> None:
    """Run a trial of another project, in no group."""
    client.set_project(name=f"own-{number}", force=True)
    client.new_trial(force=True, name="stray", arguments={"run": number}).log_metrics(step=1, loss=1)


def main(uri: str, number: int) -> None:
    """Run all trials."""
    client = TrackClient(uri)
    client.set_version("1")
    client.set_project(name="paper", description="ours", metadata={"year": 2026})
    for part in ("idea", "ablation"):
        client.set_group(name=part, description=f"the {part}", force=True)
        if part == "idea":
            train(client, number)
        else:
            fail(client, number)
            queue(client, number)
            repeat(client, number)
    stray(client, number)
    client.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
