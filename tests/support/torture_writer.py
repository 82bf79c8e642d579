"""A training process of the torture tests: logs numbers and writes down which ones are durable.

Run as ``python torture_writer.py URI NAME RECORD STOP``: it logs 0, 1, 2 … into a trial of that name, once at
least and until the file STOP exists, and after each flush appends to RECORD how many were acknowledged.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from track.persistence import get_protocol
from track_protocol.errors import CallTimeout
from track_protocol.model import Trial
from track_protocol.protocol import Protocol
from written_series import SERIES

_ROUND = 25


def main(uri: str, name: str, record: Path, stop: Path) -> None:
    """Log until told to stop."""
    logging.getLogger("track").setLevel(logging.ERROR)  # connections are lost on purpose
    protocol = get_protocol(uri)
    trial = protocol.new_trial(Trial(name=name))
    assert trial is not None
    write, logged = protocol.metric_writer(trial), 0
    with record.open("ab", buffering=0) as file:
        while True:
            for number in range(logged, logged + _ROUND):
                write(number, {SERIES: number})
            logged += _ROUND
            _save(protocol)
            os.write(file.fileno(), b"%d\n" % logged)
            if stop.exists():
                break
    protocol.close()


def _save(protocol: Protocol) -> None:
    """Wait until everything is durable, however long the server is away."""
    while True:
        try:
            protocol.flush()
        except CallTimeout:
            continue  # it goes on being sent
        return


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
