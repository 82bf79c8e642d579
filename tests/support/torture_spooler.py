"""A training process that is killed while it logs, and records each log call that returned.

Run as ``python torture_spooler.py URI NAME RECORD``: it logs 0, 1, 2 … into a trial of that name for ever,
and appends each number to RECORD when the log call has returned.
"""

from __future__ import annotations

import logging
import os
import sys
from itertools import count
from pathlib import Path

from track.outbox import durability
from track.persistence import get_protocol
from track_protocol.model.entities import Trial
from written_series import SERIES


def main(uri: str, name: str, record: Path) -> None:
    """Log until killed."""
    logging.getLogger("track").setLevel(logging.ERROR)  # the server is stopped on purpose
    # A stopped process must not mistake its own pause for a stalled disk.
    durability._SYNC_TIMEOUT_S = 60.0  # type: ignore[misc]  # constant elsewhere
    protocol = get_protocol(uri)
    trial = protocol.new_trial(Trial(name=name), auto_increment=True)
    assert trial is not None
    write = protocol.metric_writer(trial)
    descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in count():
        write(number, {SERIES: number})
        os.write(descriptor, b"%d\n" % number)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
