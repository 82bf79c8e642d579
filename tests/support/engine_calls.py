"""Calls an engine and waits for the outcome."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from track_protocol.errors import TrackError
from track_protocol.wire.batch import METRIC, Batch, CallOp, Op, PointsOp
from track_protocol.wire.codec import decode
from track_protocol.wire.columns import Column, pack, unpack
from track_server.engine.engine import Engine
from track_server.engine.jobs import Writer

_TIMEOUT = 30.0


class Caller:
    """One session of an engine, with its sequence numbers."""

    def __init__(self, engine: Engine, user: str = "ann", sid: bytes | None = None) -> None:
        self.engine = engine
        self.writer = Writer(sid or uuid.uuid4().bytes, user)
        self.seq = 0

    def attach(self) -> Any:
        """Attach to the session; return `Attached`, or raise the error."""
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.engine.submit_attach(self.writer.sid, self.writer.user, answers.put)
        outcome = answers.get(timeout=_TIMEOUT)
        if isinstance(outcome, TrackError):
            raise outcome
        self.writer, self.seq = outcome.writer, outcome.last_seq
        return outcome

    def batch(self, batch: Batch) -> Any:
        """Submit a batch; return its outcome."""
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.engine.submit_batch(self.writer, batch, answers.put)
        return answers.get(timeout=_TIMEOUT)

    def log(self, *ops: Op, count: int | None = None) -> Any:
        """Submit the next operations of this session; return their outcome."""
        count = count if count is not None else sum(1 if isinstance(op, CallOp) else len(op) for op in ops)
        outcome = self.batch(Batch(self.seq + 1, count, list(ops)))
        self.seq += count
        return outcome

    def call(self, method: str, *, seq: int | None = None, **arguments: Any) -> Any:
        """Make a write with an answer; return its value, or raise its error."""
        if seq is None:
            self.seq += 1
            seq = self.seq
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.engine.submit_call(self.writer, seq, method, arguments, answers.put)
        return value_of(answers.get(timeout=_TIMEOUT))

    def read(self, method: str, **arguments: Any) -> Any:
        """Make a read; return its value, or raise its error."""
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.engine.submit_read(method, arguments, answers.put)
        page = outcome_of(answers)
        value = decode(page.data)
        while page.rest is not None:
            self.engine.submit_rest(page.rest, answers.put)
            page = outcome_of(answers)
            value += decode(page.data)
        return value

    def new_trial(self, hash: str = "h", **fields: Any) -> Any:
        """Create the next revision of a trial with that hash."""
        trial = {"id": uuid.uuid4().bytes, "hash": hash, "revision": 0, **fields}
        return self.call("new_trial", trial=trial, auto_increment=True)

    def trial(self, id: bytes) -> Any:
        """Return the trial as stored."""
        (found,) = self.read("get_trial", trial={"id": id})
        return found

    def logged(self, method: str, **arguments: Any) -> None:
        """Log a call that has to be accepted."""
        assert self.log(CallOp(0, method, arguments)).rejected == []

    def rejection(self, method: str, **arguments: Any) -> Any:
        """Log a call; return why it was rejected."""
        (rejected,) = self.log(CallOp(0, method, arguments)).rejected
        return rejected

    def values(self, trial: bytes, name: str = "loss", **options: Any) -> list[Any]:
        """The values on a page of a metric."""
        page = self.read("fetch_metrics", trial=trial, name=name, **options)
        return list(unpack(Column(*page["values"])))


def outcome_of(answers: queue.SimpleQueue[Any]) -> Any:
    """The next outcome; raises it when it is an error."""
    outcome = answers.get(timeout=_TIMEOUT)
    if isinstance(outcome, TrackError):
        raise outcome
    return outcome


def value_of(outcome: Any) -> Any:
    """The decoded value of an outcome; raises it when it is an error."""
    if isinstance(outcome, TrackError):
        raise outcome
    return decode(outcome)


def points(trial: bytes, offset: int = 0, steps: list[Any] | None = None, **values: list[Any]) -> PointsOp:
    """Rows of metrics, logged by the records from `offset` on."""
    rows = len(next(iter(values.values())))
    times = pack([float(i) for i in range(rows)])
    columns = [pack(column) for column in values.values()]
    return PointsOp(
        trial, METRIC, list(values), None, offset, pack(steps or list(range(rows))), times, columns
    )


@contextmanager
def writer_held(engine: Engine) -> Iterator[Callable[[], None]]:
    """Hold the writer thread, so that everything submitted meanwhile becomes one transaction.

    The thread resumes at the end, or when the yielded function is called.
    """
    held, resume = threading.Event(), threading.Event()

    def hold(outcome: object) -> None:
        held.set()
        resume.wait(30)

    engine.submit_batch(Caller(engine).writer, Batch(1, 1, []), hold)
    assert held.wait(30)
    try:
        yield resume.set
    finally:
        resume.set()
