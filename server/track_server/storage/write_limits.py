"""What one record may make the writer do, and how much of it a trial may accumulate."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WriteLimits"]


@dataclass(frozen=True, slots=True)
class WriteLimits:
    """Limits of what is written.

    Attributes:
        record_seconds: of the writer's processor time for one record; one that takes longer is refused, since
            everybody else waits for it.  Time in which the machine does something else, or waits for its
            disk, does not count: whether a record is stored must not depend on how busy the machine is.
        series_per_trial: metrics, chronos and series of media of one trial; points of others are refused.
        errors_per_trial: in the list of a trial; of more, the first half and the newest half are stored.
        rewinds_per_trial: of one trial; further ones are refused.
    """

    record_seconds: float = 10.0
    series_per_trial: int = 50_000
    errors_per_trial: int = 100
    rewinds_per_trial: int = 10_000
