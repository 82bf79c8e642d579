"""The command ``track`` whose server's writer thread dies in the transaction with that number.

Run as ``python crashing_server.py NUMBER server …``.
"""

from __future__ import annotations

import sys
from itertools import count

from track.cli import main
from track_server.engine.jobs import Job, Outcome
from track_server.engine.lane import Lane


def _run(number: int) -> int:
    commit, numbers = Lane._commit, count(1)

    def commit_or_die(self: Lane, jobs: list[Job]) -> list[Outcome]:
        if next(numbers) == number:
            raise SystemExit("a fault put in")
        return commit(self, jobs)

    Lane._commit = commit_or_die  # type: ignore[method-assign] # a fault put in
    return main()


if __name__ == "__main__":
    sys.exit(_run(int(sys.argv.pop(1))))
