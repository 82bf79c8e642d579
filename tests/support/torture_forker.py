"""A training process that forks while it logs; all log until they are killed.

Run as ``python torture_forker.py URI NAME RECORD HOW``, where HOW is ``fork`` or ``multiprocessing``.  Parent
and children log 0, 1, 2 … into trials ``NAME-0``, ``NAME-1`` … and append each number to ``RECORD-0`` … when
the log call has returned.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

from track.outbox import Write
from track.persistence import get_protocol
from track_protocol.model.entities import Trial
from written_series import SERIES

CHILDREN = 3
"""How many processes there are beside the parent."""

_BETWEEN = 20
"""Log calls of the parent between two forks."""


def steps(write: Write, record: Path) -> Iterator[None]:
    """One log call after the other, for ever."""
    descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in count():
        write(number, {SERIES: number})
        os.write(descriptor, b"%d\n" % number)
        yield


def log_for_ever(write: Write, record: Path) -> None:
    """What a child does."""
    for _ in steps(write, record):
        pass


def by_fork(work: Callable[[Write, Path], None], write: Write, record: Path) -> None:
    """Start a child as a library in C would."""
    if os.fork() == 0:
        work(write, record)


def by_multiprocessing(work: Callable[[Write, Path], None], write: Write, record: Path) -> None:
    """Start a child as a data loader does."""
    multiprocessing.get_context("fork").Process(target=work, args=(write, record), daemon=True).start()


HOW = {"fork": by_fork, "multiprocessing": by_multiprocessing}


def main(uri: str, name: str, record: Path, how: str) -> None:
    """Log and fork until killed."""
    logging.getLogger("track").setLevel(logging.ERROR)  # the server is stopped on purpose
    protocol = get_protocol(uri)
    writes: list[Write] = []
    for number in range(1 + CHILDREN):
        trial = protocol.new_trial(Trial(name=f"{name}-{number}"), auto_increment=True)
        assert trial is not None
        writes.append(protocol.metric_writer(trial))
    records = [record.with_name(f"{record.name}-{number}") for number in range(1 + CHILDREN)]
    own = steps(writes[0], records[0])
    for write, theirs in zip(writes[1:], records[1:], strict=True):
        list(islice(own, _BETWEEN))
        HOW[how](log_for_ever, write, theirs)
    list(own)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])
