"""Rejected records: they can never be stored as logged, so the store quarantines their content."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Rejected", "rejected_from_document", "rejected_to_document"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Records of one session that were rejected together, because they arrived in one operation.

    Attributes:
        session: the 16-byte id of the session that logged them.
        user: whose session that is.
        runs: their sequence numbers, as pairs of the first and the last of consecutive ones.
        method: the called method, ``points`` for points.
        trial: id of the trial they are about; None when it is not known.
        names: of the series, for points.
        points: how many values were dropped; a call counts as one.
        code: of the error's class.
        reason: the error's message.
        time: when they were rejected, in seconds since the epoch by the store's clock.
        content: their operation as it travelled, encoded; only its head when it is long.
        size: bytes of the complete content.
    """

    session: bytes
    user: str
    runs: tuple[tuple[int, int], ...]
    method: str
    trial: bytes | None
    names: tuple[str, ...]
    points: int
    code: str
    reason: str
    time: float
    content: bytes
    size: int

    @property
    def first(self) -> int:
        """Their lowest sequence number."""
        return self.runs[0][0]

    @property
    def last(self) -> int:
        """Their highest sequence number."""
        return self.runs[-1][1]

    @property
    def records(self) -> int:
        """How many they are."""
        return sum(last - first + 1 for first, last in self.runs)

    @property
    def complete(self) -> bool:
        """Whether all of the content was stored."""
        return len(self.content) == self.size

    def within(self, first: int, last: int) -> list[int]:
        """Their sequence numbers from `first` to `last`."""
        return [
            seq for start, end in self.runs for seq in range(max(start, first), min(end, last) + 1)
        ]  # fmt: skip


def rejected_to_document(record: Rejected) -> dict[str, Any]:
    """The record as a plain document."""
    runs = [list(run) for run in record.runs]
    return {**asdict(record), "runs": runs, "names": list(record.names)}


def rejected_from_document(document: dict[str, Any]) -> Rejected:
    """The record of a document.

    Raises:
        KeyError, TypeError, ValueError: it is not a rejected record.
    """
    fields = dict(document)
    fields["runs"] = tuple((int(first), int(last)) for first, last in fields["runs"])
    fields["names"] = tuple(fields["names"])
    if not fields["runs"]:
        raise ValueError("a rejected record has a sequence number")
    return Rejected(**fields)
