"""A worker of the torture tests: claims trials until none are left, and records each call with its times.

Run as ``python torture_claimer.py URI NAME RECORD STOP``; the file ``trials`` beside STOP lists the trials'
uids.  Between claims it reads a trial at random, and after each claim the claimed one.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from track.persistence import get_protocol
from track_protocol.errors import ItemNotFound
from track_protocol.model.entities import Status, Trial

_NOT_CLAIMED = {"status": Status.CreatedGroup}


class _Recorder:
    def __init__(self, uri: str, record: Path) -> None:
        self._protocol = get_protocol(uri)
        self._file = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def read(self, uid: str) -> None:
        """Look whether a trial is claimed."""
        hash, _, revision = uid.rpartition("_")

        def status() -> tuple[str, bool]:
            found = self._protocol.current_trial(Trial(_hash=hash, revision=int(revision)))
            assert found is not None
            return uid, found.status is not Status.CreatedGroup

        self._record("read", status)

    def claim(self) -> str | None:
        """Claim any trial; None when all are claimed."""

        def claimed() -> tuple[str | None, bool]:
            try:
                found = self._protocol.fetch_and_update_trial(
                    _NOT_CLAIMED, "set_trial_status", status=Status.Running
                )
            except ItemNotFound:
                return None, True
            return found.uid, True

        return self._record("claim", claimed)

    def close(self) -> None:
        """Say goodbye."""
        self._protocol.close()

    def _record(self, what: str, call: Callable[[], tuple[str | None, bool]]) -> str | None:
        begun = time.monotonic_ns()
        uid, taken = call()
        ended = time.monotonic_ns()
        os.write(self._file, json.dumps([what, uid, taken, begun, ended]).encode() + b"\n")
        return uid


def main(uri: str, name: str, record: Path, stop: Path) -> None:
    """Claim until nothing is left."""
    logging.getLogger("track").setLevel(logging.ERROR)  # the test breaks connections on purpose
    uids = stop.with_name("trials").read_text().split()
    dice, recorder = random.Random(name), _Recorder(uri, record)
    recorder.read(dice.choice(uids))
    while (claimed := recorder.claim()) is not None:
        recorder.read(claimed)
        recorder.read(dice.choice(uids))
    recorder.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
