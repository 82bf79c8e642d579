"""The command ``track`` whose writer thread crashes in transaction NUMBER.

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
            raise SystemExit("injected fault")
        return commit(self, jobs)

    Lane._commit = commit_or_die  # type: ignore[method-assign] # injected fault
    return main()


if __name__ == "__main__":
    sys.exit(_run(int(sys.argv.pop(1))))
