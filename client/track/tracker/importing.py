"""Copying what an older system's database holds into a store, again and again if need be.

What a run is decides the id of its trial, and the points of a series are stored in order: so how many
there are says how far an earlier import came, and only what is missing is sent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from track.persistence.protocol import Protocol
from track.recording.parameters import storable
from track.tracker.experiment import COUNTER, CREATED_AT
from track.tracker.legacy import LegacyDatabase, LegacyRun, Point
from track.tracker.run_ids import RUN_ID, number_of, reserve, uncounted
from track.tracker.source import missing_media, storable_name, time_of
from track.tracker.statuses import COMPLETED, FAILED, status_of_trial
from track_protocol.errors import BadValue, TrackError
from track_protocol.model.entities import Project, Status, Trial, TrialGroup
from track_protocol.model.values import normalise

__all__ = ["IMPORTED", "ImportFailed", "Imported", "import_database"]

IMPORTED: Final = "imported"
"""Metadata of a trial that was imported: database, run_id, status, and what had to be called otherwise."""

_RUNS_AT_ONCE: Final = 256
_POINTS_AT_ONCE: Final = 4_096
_FLUSH_EVERY: Final = 50_000
_BYTES_OF_A_POINT: Final = 256
"""What a point takes while it waits, about."""


class ImportFailed(TrackError):
    """Something of a database could not be stored."""

    code = "import-failed"


@dataclass(slots=True)
class Imported:
    """What an import has done.

    Attributes:
        runs: how many the database has.
        new_runs: how many of them the store did not have.
        points: how many were sent, because the store did not have them.
        media: how many histograms, images, texts and graphs were sent for the same reason.
        orphans: records of runs that the database does not have any more; they are left out.
    """

    runs: int = 0
    new_runs: int = 0
    points: int = 0
    media: int = 0
    orphans: int = 0


def import_database(
    database: LegacyDatabase,
    protocol: Protocol,
    project: str,
    show: Callable[[int], None] = lambda remaining: None,
) -> Imported:
    """Copy every run that a store does not have, and of the others what is missing.

    At one time, a database is to be imported by one process only.

    Args:
        database: where from.
        protocol: the store.
        project: name of the project that the runs become trials of.
        show: called with the number of records that remain.

    Raises:
        ImportFailed: something could not be stored.
        TrackError: the database or the store cannot be used.
    """
    return _Import(database, protocol, project, show).run()


class _Import:
    """One import under way."""

    def __init__(
        self, database: LegacyDatabase, protocol: Protocol, project: str, show: Callable[[int], None]
    ) -> None:
        self._database = database
        self._protocol = protocol
        self._project = Project(name=project)
        self._counter = TrialGroup(name=COUNTER, project_id=self._project.uid)
        self._show = show
        self._done = Imported()
        self._unflushed = 0
        self._remaining = 0

    def run(self) -> Imported:
        runs, counts = self._database.runs(), self._database.counts()
        known = {run.run_id for run in runs}
        self._done.runs = len(runs)
        self._done.orphans = sum(sum(each.values()) for run, each in counts.items() if run not in known)
        self._remaining = sum(sum(each.values()) for each in counts.values()) - self._done.orphans
        self._dropped_count = self._protocol.dropped_count
        self._protocol.new_project(self._project)
        self._protocol.new_trial_group(self._counter)
        reserved = False
        for start in range(0, len(runs), _RUNS_AT_ONCE):
            some = runs[start : start + _RUNS_AT_ONCE]
            stored, taken = self._look_up(some)
            if not reserved and len(stored) < len(some):
                reserve(self._protocol, self._counter, max(known))
                reserved = True
            for run in some:
                self._copy(run, stored.get(self._id_of(run)), taken, counts.get(run.run_id, {}))
            self._flush()
        return self._done

    def _look_up(self, runs: Sequence[LegacyRun]) -> tuple[dict[bytes, Trial], set[int]]:
        """Of some runs: trials that are stored, by id, and numbers that other trials of the project have."""
        ids = {self._id_of(run) for run in runs}
        numbers = [run.run_id for run in runs]
        found = self._protocol.fetch_trials(
            {
                "$or": [
                    {"id": {"$in": list(ids)}},
                    {"project_id": self._project.uid, f"metadata.{RUN_ID}": {"$in": numbers}},
                ]
            }
        )
        stored = {trial.id: trial for trial in found if trial.id in ids}
        return stored, {number_of(trial) for trial in found if trial.id not in ids}

    def _copy(self, run: LegacyRun, stored: Trial | None, taken: set[int], counts: Mapping[str, int]) -> None:
        if stored is None:
            trial = self._new_trial(run, run.run_id in taken, counts)
            self._protocol.put_trial(trial)
            self._done.new_runs += 1
        else:
            trial = stored
        self._copy_points(run, trial, counts)
        for name, kind, media, step, at in missing_media(self._database, run, trial):
            self._protocol.log_trial_media(trial, kind, storable_name(name), media, step, at=at)
            self._done.media += 1
            self._count(0, 1 + media.document.get("size", 0) // _BYTES_OF_A_POINT)
        wanted = _status(run.status)
        if wanted is not trial.status and trial.status is Status.Suspended:
            # Only now, so that a run whose import was interrupted does not look complete.
            self._protocol.set_trial_status(trial, wanted)

    def _new_trial(self, run: LegacyRun, number_taken: bool, counts: Mapping[str, int]) -> Trial:
        trial_id = self._id_of(run)
        imported: dict[str, Any] = {
            "database": str(self._database.path),
            "run_id": run.run_id,
            "status": run.status,
        }
        renamed = {storable_name(name): name for name in counts if storable_name(name) != name}
        if renamed:
            imported["metrics"] = storable(renamed, "metrics")
        parameters = storable(run.config, "config")
        if not _is_same(run.config):
            imported["config"] = storable({"text": run.config_text}, "config")["text"]
        return Trial(
            name=run.name,
            parameters=parameters,
            metadata={
                RUN_ID: uncounted(trial_id) if number_taken else run.run_id,
                CREATED_AT: run.created_at,
                IMPORTED: imported,
            },
            project_id=self._project.uid,
            status=Status.Suspended,
            id=trial_id,
        )

    def _copy_points(self, run: LegacyRun, trial: Trial, counts: Mapping[str, int]) -> None:
        there = _stored_counts(trial)
        skip = {name: there.get(storable_name(name), 0) for name in counts}
        if all(skip[name] >= count for name, count in counts.items()):
            self._remaining -= sum(counts.values())
            self._show(self._remaining)
            return
        for name, points in _by_series(self._database.points(run.run_id)):
            known = min(skip.get(name, 0), len(points))
            skip[name] = skip.get(name, 0) - known
            new = points[known:]
            times = (time_of(at, run) for _, at, _ in new)
            timed = ((step, at, value) for (step, _, value), at in zip(new, times, strict=True))
            self._protocol.log_trial_points(trial, storable_name(name), timed)
            self._done.points += len(new)
            self._count(len(points), len(new))

    def _count(self, seen: int, sent: int) -> None:
        self._remaining -= seen
        self._unflushed += sent
        self._show(max(0, self._remaining))
        if self._unflushed >= _FLUSH_EVERY:
            self._flush()

    def _flush(self) -> None:
        """Wait until it is stored, since what does not fit into the outbox would be dropped."""
        self._unflushed = 0
        self._protocol.flush()
        if self._protocol.dropped_count != self._dropped_count:
            raise ImportFailed(
                f"{self._database.path} could not be stored completely; the log has the reasons: "
                "remove the cause and import again, which sends only what is missing"
            )

    def _id_of(self, run: LegacyRun) -> bytes:
        """The id of a run's trial, wherever a copy of its database is: what never changes makes it."""
        parts = [self._project.uid, run.run_id, run.name, repr(run.created_at), run.config_text]
        return hashlib.sha256(json.dumps(["track import", *parts]).encode()).digest()[:16]


def _status(status: str) -> Status:
    """What was running when it was imported runs no longer."""
    return status_of_trial(status) if status in (COMPLETED, FAILED) else Status.Suspended


def _stored_counts(trial: Trial) -> dict[str, int]:
    summary = getattr(trial.metrics, "summary", None)
    return {name: summary(name)["count"] if summary else len(trial.metrics[name]) for name in trial.metrics}


def _by_series(points: Iterator[tuple[str, Point]]) -> Iterator[tuple[str, list[Point]]]:
    """Points by name, of each in order, a few thousand at a time."""
    found: dict[str, list[Point]] = {}
    for name, point in points:
        some = found.setdefault(name, [])
        some.append(point)
        if len(some) >= _POINTS_AT_ONCE:
            yield name, found.pop(name)
    yield from found.items()


def _is_same(config: Mapping[str, Any]) -> bool:
    """Whether a configuration can be stored as it is."""
    try:
        normalise(dict(config), "config")
    except BadValue:
        return False
    return True
