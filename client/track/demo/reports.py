"""Reports of the workers, to compare with the stored points."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from track_protocol.errors import StoreCorrupt

__all__ = ["TrialReport", "WorkerReport"]


@dataclass(slots=True)
class TrialReport:
    """One claim and the values logged under it.

    Attributes:
        uid: the trial.
        metrics: how many points were logged, by series.
        chronos: how many timings were taken, by timer.
    """

    uid: str
    metrics: Counter[str] = field(default_factory=Counter)
    chronos: Counter[str] = field(default_factory=Counter)

    @property
    def points(self) -> int:
        """All of them together."""
        return self.metrics.total() + self.chronos.total()


@dataclass(slots=True)
class WorkerReport:
    """Everything one worker did.

    Attributes:
        worker: its name.
        trials: its claims in order; a trial that it got twice is there twice.
    """

    worker: str
    trials: list[TrialReport] = field(default_factory=list)

    @property
    def points(self) -> int:
        """How many points it logged."""
        return sum(trial.points for trial in self.trials)

    def to_json(self) -> str:
        """One line of JSON."""
        trials = [
            {"uid": trial.uid, "metrics": trial.metrics, "chronos": trial.chronos} for trial in self.trials
        ]
        return json.dumps({"worker": self.worker, "trials": trials})

    @staticmethod
    def read(path: Path) -> WorkerReport:
        """The report in a file.

        Raises:
            StoreCorrupt: there is none, or it is incomplete.
        """
        try:
            fields = json.loads(path.read_bytes())
            trials = [
                TrialReport(trial["uid"], Counter(trial["metrics"]), Counter(trial["chronos"]))
                for trial in fields["trials"]
            ]
            return WorkerReport(fields["worker"], trials)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreCorrupt(f"{path}: no report of a worker ({error}); its log is beside it") from None
