"""A training process of the torture tests: logs numbers and records which ones are durable.

Run as ``python torture_writer.py URI NAME RECORD STOP``: it logs 0, 1, 2 … into a trial of that name, once at
least and until the file STOP exists, and after each flush appends to RECORD how many were acknowledged.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from track.outbox import Outbox
from track.persistence.socketed import SocketClient
from track_protocol.model.entities import Trial
from written_series import SERIES

WITHOUT_SPOOL = "TORTURE_WITHOUT_SPOOL"
"""Environment variable: the process has no spool from which it could send again."""

WITH_ATTEMPTS = "TORTURE_WITH_ATTEMPTS"
"""Environment variable: the process notes its attempts to connect in RECORD.attempts, with their times."""

_ROUND = 25


def main(uri: str, name: str, record: Path, stop: Path) -> None:
    """Log until the file STOP exists."""
    logging.getLogger("track").setLevel(logging.ERROR)  # the test breaks connections on purpose
    if WITH_ATTEMPTS in os.environ:
        _note_attempts(record.with_name(f"{record.name}.attempts"))
    protocol = SocketClient(uri)
    if WITHOUT_SPOOL in os.environ:
        outbox = protocol.outbox
        protocol.outbox = Outbox(outbox._open_link, connect_timeout=outbox.connect_timeout)
    trial = protocol.new_trial(Trial(name=name), auto_increment=True)
    assert trial is not None
    write, logged = protocol.metric_writer(trial), 0
    with record.open("ab", buffering=0) as file:
        while True:
            for number in range(logged, logged + _ROUND):
                write(number, {SERIES: number})
            logged += _ROUND
            protocol.flush()
            os.write(file.fileno(), b"%d\n" % logged)
            if stop.exists():
                break
    protocol.close()


def _note_attempts(path: Path) -> None:
    noted = logging.FileHandler(path)
    noted.setFormatter(logging.Formatter("%(created)f %(message)s"))
    connection = logging.getLogger("track.connection")
    connection.setLevel(logging.DEBUG)
    connection.propagate = False
    connection.addHandler(noted)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
