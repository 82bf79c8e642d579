"""One worker of the demo: claim a trial, train it, log it, until none is left.

Run as ``python -m track.demo.worker --name worker-1 --group UID --epochs 8``, with the join URI in
``TRACK_URI``; an argument could be read by everybody on the machine.  The report goes to standard
output, and only when everything in it is durable.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from track import TrackClient
from track.demo.reports import TrialReport, WorkerReport
from track.demo.training import Digits, Model
from track.logger import TrialLogger
from track_protocol.errors import ItemNotFound, TrackError, UsageError
from track_protocol.model.aggregators import TimeSeriesAggregator
from track_protocol.model.entities import Status

__all__ = ["Worker", "main"]


class Worker:
    """Runs trials of a group.

    Args:
        client: joined as a writer.
        name: of this worker, stored with each claim.
        group: uid of the group.
        epochs: how often each trial sees the digits.
    """

    def __init__(self, client: TrackClient, name: str, group: str, epochs: int) -> None:
        self._client = client
        self._name = name
        self._group = group
        self._epochs = epochs
        self._digits = Digits.load()
        self.report = WorkerReport(name)

    def run(self) -> WorkerReport:
        """Train until no trial is left.

        Raises:
            TrackError: the server is unreachable, or refuses.
        """
        while (trial := self._claim()) is not None:
            self._train(trial, self.report.trials[-1])
        self._client.save()
        return self.report

    def _claim(self) -> TrialLogger | None:
        """The oldest unclaimed trial, claimed by this worker; None when there is none."""
        try:
            claimed = self._client.protocol.fetch_and_update_trial(
                {"group_id": self._group, "status": Status.CreatedGroup},
                "set_trial_status",
                status=Status.Running,
            )
        except ItemNotFound:
            return None
        self.report.trials.append(TrialReport(claimed.uid))
        trial = self._client.set_trial(claimed, force=True)
        # Appended, not set: had two workers the same trial, the list would show both.
        trial.log_metadata(aggregator=TimeSeriesAggregator.lazy(), claimed_by=self._name)
        return trial

    def _train(self, trial: TrialLogger, report: TrialReport) -> None:
        model = Model(**trial.trial.parameters)
        step = 0
        with trial:
            for epoch in range(self._epochs):
                with trial.chrono("epoch"):
                    for images, labels in self._digits.batches(seed=epoch):
                        self._log(trial, report, step, model.learn(images, labels))
                        step += 1
                report.chronos["epoch"] += 1
                self._log(trial, report, epoch, model.validate(self._digits))
        report.chronos["runtime"] += 1

    def _log(self, trial: TrialLogger, report: TrialReport, step: int, metrics: dict[str, float]) -> None:
        trial.log_metrics(step, **metrics)
        report.metrics.update(metrics.keys())


def main(argv: Sequence[str] | None = None) -> int:
    """Work; 0 when all was done and is durable, else an error's exit code."""
    try:
        arguments = _parse(argv)
        client = TrackClient(os.environ["TRACK_URI"])
        report = Worker(client, arguments.name, arguments.group, arguments.epochs).run()
    except TrackError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    print(report.to_json())
    return 0


def _parse(argv: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(prog="track.demo.worker")
    parser.add_argument("--name", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    arguments = parser.parse_args(argv)
    if "TRACK_URI" not in os.environ:
        raise UsageError("TRACK_URI is not set: set it to the URI of the server")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
