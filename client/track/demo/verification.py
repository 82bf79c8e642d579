"""Verification that the stored points are exactly those of the workers, through the store's public API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from track.demo.observation import summaries
from track.demo.reports import TrialReport, WorkerReport
from track.persistence.protocol import Protocol
from track_protocol.model.entities import Status, Trial
from track_protocol.wire.batch import CHRONO, METRIC

__all__ = ["Verification", "verify"]


@dataclass(slots=True)
class Verification:
    """The compared counts and the differences.

    Attributes:
        trials: how many were compared.
        logged: points that the workers say they logged.
        stored: points that were read back.
        lost: logged points that are not in the store.
        doubled: stored points that were never logged, or logged less often.
        faults: one sentence for each thing that is not as it should be.
    """

    trials: int = 0
    logged: int = 0
    stored: int = 0
    lost: int = 0
    doubled: int = 0
    faults: list[str] = field(default_factory=list)


def verify(
    protocol: Protocol,
    group: str,
    created: Iterable[str],
    reports: Iterable[WorkerReport],
    unreported: Collection[str] = (),
) -> Verification:
    """Compare the stored trials with the workers' reports.

    Args:
        protocol: a client's, of any role.
        group: uid of the group of all trials.
        created: uids of the trials that were created.
        reports: of all workers that could write one.
        unreported: uids of trials of the others, of which nobody knows how much was logged.
    """
    found = Verification()
    claims = _claims(reports)
    trials = {trial.uid: trial for trial in protocol.fetch_trials({"group_id": group})}
    expected = set(created)
    found.faults += [
        f"trial {uid} is missing in the store" for uid in sorted({*expected, *claims} - trials.keys())
    ]
    found.faults += [f"trial {uid} was not created by the demo" for uid in sorted(trials.keys() - expected)]
    compared = {uid: trial for uid, trial in trials.items() if uid not in unreported}
    found.trials = len(compared)
    for uid, trial in compared.items():
        claimed = claims.get(uid, [])
        found.faults += _faults_of_claim(trial, [worker for worker, _ in claimed])
        for _, report in claimed[:1]:
            _compare_points(protocol, trial, report, found)
    return found


def _claims(reports: Iterable[WorkerReport]) -> dict[str, list[tuple[str, TrialReport]]]:
    """The workers that report a claim of each trial."""
    claims: dict[str, list[tuple[str, TrialReport]]] = {}
    for report in reports:
        for trial in report.trials:
            claims.setdefault(trial.uid, []).append((report.worker, trial))
    return claims


def _faults_of_claim(trial: Trial, workers: list[str]) -> Iterator[str]:
    stored = trial.metadata.get("claimed_by", [])
    if len(workers) != 1:
        yield f"trial {trial.uid} was claimed {len(workers)} times: by {', '.join(workers) or 'no worker'}"
    if stored != workers:
        yield f"trial {trial.uid}: the store names {stored} as its worker, the reports name {workers}"
    if trial.status is not Status.Completed:
        yield f"trial {trial.uid} ended as {trial.status and trial.status.name}, not as Completed"


def _compare_points(protocol: Protocol, trial: Trial, report: TrialReport, found: Verification) -> None:
    for kind, logged, stored in (
        (METRIC, report.metrics, summaries(trial.metrics)),
        (CHRONO, report.chronos, summaries(trial.chronos)),
    ):
        for name in sorted({*logged, *stored}):
            steps = protocol.fetch_metrics(trial, name, kind).steps if name in stored else []
            _compare_series(f"trial {trial.uid}, {kind} {name}", logged[name], Counter(steps), found)


def _compare_series(what: str, logged: int, steps: Mapping[int | None, int], found: Verification) -> None:
    """A complete series has each step from 0 once; timings have no steps, and are only counted."""
    stored = sum(steps.values())
    expected: Counter[int | None] = Counter({None: logged}) if None in steps else Counter(range(logged))
    lost, doubled = (expected - Counter(steps)).total(), (Counter(steps) - expected).total()
    found.logged += logged
    found.stored += stored
    found.lost += lost
    found.doubled += doubled
    if lost or doubled:
        found.faults.append(f"{what}: {logged} logged, {stored} stored, {lost} lost, {doubled} doubled")
