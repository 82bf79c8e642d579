"""``python tests/bench/run.py [swarm|call|…|all] [--quick]``: measure, beside the limit of the machine."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

sys.path.append(str(Path(__file__).parents[1] / "support"))

import board
import call
import charts
import latency
import lines
import memory
import read
import spooled
import swarm
import trials

_FOLDER: Final = "/var/tmp"  # noqa: S108 - the benchmark makes a folder with a random name in it
"""On disk by convention, where /tmp is memory on many machines and would make every commit look free."""

_BENCHES: Final = {
    "swarm": swarm.measure,
    "call": call.measure,
    "latency": latency.measure,
    "read": read.measure,
    "trials": trials.measure,
    "board": board.measure,
    "charts": charts.measure,
    "memory": memory.measure,
    "spooled": spooled.measure,
    "lines": lines.measure,
}


def main() -> int:
    """Run what was asked for; returns the exit code."""
    os.environ["TRACK_QUIET"] = "1"
    parser = argparse.ArgumentParser(
        description="Measure Track on this machine. README.md beside this file explains."
    )
    parser.add_argument("what", nargs="?", default="all", choices=[*_BENCHES, "all"])
    parser.add_argument("--quick", action="store_true", help="a fraction of the work, for a first look")
    parser.add_argument(
        "--folder", type=Path, default=_FOLDER, help="on the disk to measure; default %(default)s"
    )
    args = parser.parse_args()
    _print_machine()
    for name in _BENCHES if args.what == "all" else [args.what]:
        with tempfile.TemporaryDirectory(prefix="track-bench-", dir=args.folder) as folder:
            began = time.monotonic()
            _BENCHES[name](Path(folder), args.quick)
            print(f"({name}: {time.monotonic() - began:.0f} s)\n", flush=True)
    return 0


def _print_machine() -> None:
    """What else the figures depend on; a load above zero before anything began is somebody else's."""
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f} before the start\n"
    )


if __name__ == "__main__":
    sys.exit(main())
