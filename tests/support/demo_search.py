"""A small search of the demo in a store of this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from track import TrackClient
from track.demo.grid import grid
from track.demo.reports import TrialReport, WorkerReport
from track.demo.verification import Verification, verify
from track_protocol.model.aggregators import TimeSeriesAggregator
from track_protocol.model.entities import Trial

STEPS = 5


@dataclass
class Search:
    """Trials in a group, and the reports of their workers."""

    client: TrackClient
    group: str
    created: list[str]
    reports: list[WorkerReport]

    def trials(self) -> list[Trial]:
        """Return the trials as stored."""
        return self.client.protocol.fetch_trials({"group_id": self.group})

    def verify(self, unreported: Collection[str] = ()) -> Verification:
        """Verify the search as the demo does."""
        return verify(self.client.protocol, self.group, self.created, self.reports, unreported)


@contextmanager
def search(count: int) -> Iterator[Search]:
    """Create trials that no worker has claimed yet."""
    with TrackClient("ephemeral:") as client:
        client.set_project(name="digits")
        group = client.set_group(name="search")
        created = [
            client.new_trial(force=True, name="mlp", arguments=point).ensure().uid for point in grid(count)
        ]
        yield Search(client, group.uid, created, [])


def claim_and_log(found: Search, uid: str, worker: str, steps: int = STEPS) -> None:
    """Claim and log a trial as a worker does, and return its report."""
    trial = found.client.set_trial(uid=uid, force=True)
    trial.log_metadata(aggregator=TimeSeriesAggregator.lazy(), claimed_by=worker)
    with trial:
        with trial.chrono("epoch"):
            for step in range(steps):
                trial.log_metrics(step, loss=1.0 / (step + 1))
        trial.log_metrics(0, validation_accuracy=0.5)
    metrics = Counter(loss=steps, validation_accuracy=1)
    report = TrialReport(uid, metrics, Counter(epoch=1, runtime=1))
    found.reports.append(WorkerReport(worker, [report]))
