"""A training process that records its log calls as durable, except while a warning says that they are not.

Run as ``python torture_durability.py URI NAME RECORD``: it logs 0, 1, 2 … into a trial of that name until
it is killed or gets SIGTERM; on SIGTERM it flushes all.  Under ``spool_sync=always`` a number counts when its
log call has returned, else when `persist` has returned.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from itertools import count
from pathlib import Path
from types import FrameType

from track.outbox import durability
from track.persistence.socketed import SocketClient
from track_protocol.errors import TrackError
from track_protocol.model.entities import Trial
from written_series import SERIES

_ROUND = 25


class DurabilityWarnings(logging.Handler):
    """Follows the warnings about durability in the log.

    Attributes:
        active: a warning said that records are in memory only, and no later message withdrew it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.active = False

    def emit(self, record: logging.LogRecord) -> None:
        """Handle a message."""
        message = record.getMessage()
        if message.startswith("log calls are queued in"):
            self.active = not message.endswith(" again")


class Training:
    """Logs, and records which log calls are durable."""

    def __init__(self, uri: str, name: str, record: Path) -> None:
        self._warnings = DurabilityWarnings()
        logging.getLogger("track").addHandler(self._warnings)
        logging.getLogger("track").setLevel(logging.INFO)
        self._at_once = "spool_sync=always" in uri
        self._protocol = SocketClient(uri)
        trial = self._protocol.new_trial(Trial(name=name), auto_increment=True)
        assert trial is not None
        self._write = self._protocol.metric_writer(trial)
        self._record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._counted = 0
        self.stopping = False

    def stop(self, signum: int, frame: FrameType | None) -> None:
        """Stop logging."""
        self.stopping = True

    def run(self) -> None:
        """Log until stopped, then flush all."""
        logged = 0
        for logged in count(1):
            self._write(logged - 1, {SERIES: logged - 1})
            if self._at_once or logged % _ROUND == 0:
                self._count(logged)
            if self.stopping:
                break
        self._protocol.flush(60.0)
        self._write_down(logged)
        self._protocol.close()

    def _count(self, logged: int) -> None:
        if not self._at_once:
            try:
                self._protocol.persist()
            except TrackError:
                return  # it is in memory only
        if not self._warnings.active:
            self._write_down(logged)

    def _write_down(self, logged: int) -> None:
        os.write(self._record, b"".join(b"%d\n" % number for number in range(self._counted, logged)))
        self._counted = logged


def main(uri: str, name: str, record: Path) -> None:
    """Log until killed or stopped."""
    if "spool_sync=always" in uri:
        # A stopped process must not mistake its own pause for a stalled disk.
        durability._SYNC_TIMEOUT_S = 60.0  # type: ignore[misc]  # constant elsewhere
    else:
        durability._SYNC_TIMEOUT_S = 0.01  # type: ignore[misc]  # constant elsewhere
    training = Training(uri, name, record)
    signal.signal(signal.SIGTERM, training.stop)
    training.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
