"""The command ``track`` on a disk that fails again and again.

Run as ``python faulty_server.py CALL EVERY server …``: of the calls of that kind every so many-th fails.
"""

from __future__ import annotations

import sys

from faulty_disk import Fault, FaultyDisk
from track.cli import main


def _run(call: str, every: int) -> int:
    disk = FaultyDisk(lambda event: None)
    with disk.installed():
        disk.arm(Fault(call, at=every, every=every))
        return main()


if __name__ == "__main__":
    sys.exit(_run(sys.argv.pop(1), int(sys.argv.pop(1))))
