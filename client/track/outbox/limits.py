"""How much may wait in a process for its store, and from how many log calls on one has something to do."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Gate", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, and where.

    Attributes:
        rows: log calls that were not packed yet.
        row_bytes: their memory, about.
        ready_bytes: the same while the sender takes rows: a loop that logs faster waits for it, so that its
            process grows by less than 50 MB.  While the sender is held up, by a slow disk say, it does not.
        backlog_bytes: packed and not yet stored.
        batches_in_flight: sent and not yet acknowledged.
        bytes_in_flight: the same in bytes.
        linger: a batch that is not full leaves at most so often, in seconds, unless somebody waits for it.
    """

    rows: int = 1_000_000
    row_bytes: int = 24 * 1024 * 1024
    ready_bytes: int = 3 * 1024 * 1024
    backlog_bytes: int = 128 * 1024 * 1024
    batches_in_flight: int = 64
    bytes_in_flight: int = 4 * 1024 * 1024
    linger: float = 0.05


class Gate:
    """What a log call compares the number of waiting rows with.

    Attributes:
        mark: from so many rows on, the log call has something to do: wake the sender, or wait.
        hurry: whether there is no room for more rows, so that those there must leave now.
    """

    __slots__ = ("hurry", "mark")

    def __init__(self) -> None:
        self.hurry = False
        self.mark = 0
