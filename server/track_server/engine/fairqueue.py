"""Whose turn it is at the store: sessions take turns, however much each of them has handed in."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from track_server.engine.jobs import Job

__all__ = ["FairQueue"]


class FairQueue:
    """Jobs that wait; those of a session keep their order, and the server's own are ahead of all."""

    def __init__(self) -> None:
        self._own: deque[Job] = deque()
        self._waiting: OrderedDict[bytes, deque[Job]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._own or self._waiting)

    def __len__(self) -> int:
        return len(self._own) + sum(map(len, self._waiting.values()))

    def put(self, job: Job) -> None:
        """Add a job behind those of its session."""
        self._line_of(job).append(job)

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Put jobs that were taken in front of those of their sessions again."""
        for job in reversed(jobs):
            self._line_of(job).appendleft(job)

    def take(self, most: int) -> list[Job]:
        """The next jobs: one of each session, then the next one of each, and so on.

        Args:
            most: how many.
        """
        taken: list[Job] = []
        while self._own and len(taken) < most:
            taken.append(self._own.popleft())
        while self._waiting and len(taken) < most:
            sid, line = self._waiting.popitem(last=False)
            taken.append(line.popleft())
            if line:
                self._waiting[sid] = line  # to the end
        return taken

    def _line_of(self, job: Job) -> deque[Job]:
        return self._own if job.writer is None else self._waiting.setdefault(job.writer.sid, deque())
