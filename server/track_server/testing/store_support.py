"""What the parts of the store suite share: the store under test, documents, and comparison."""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from track_protocol.query.parse import Kind, parse_query
from track_protocol.wire.batch import METRIC
from track_protocol.wire.columns import Column, pack, unpack
from track_server.storage import unit_of_work

__all__ = ["StoreSuite", "begin", "group", "id_of", "project", "same", "trial"]


def begin(store: Any) -> Any:
    """A transaction on a store, as the engine's jobs see it."""
    return unit_of_work.begin(store)


_SECONDS: Final = 60.0


def project(uid: str = "p", **fields: Any) -> dict[str, Any]:
    """The document of a project, as the engine gives it to a store."""
    return {"uid": uid, "name": f"project {uid}", "description": None, "metadata": {}, **fields}


def group(uid: str = "g", **fields: Any) -> dict[str, Any]:
    """The document of a group."""
    return {
        "uid": uid,
        "name": f"group {uid}",
        "description": None,
        "metadata": {},
        "project_id": None,
        **fields,
    }


def id_of(number: int) -> bytes:
    """The internal id of the trial with that number."""
    return number.to_bytes(16, "big")


def trial(number: int = 0, **fields: Any) -> dict[str, Any]:
    """The document of a trial; those of different numbers have different hashes."""
    document = {
        "id": id_of(number),
        "hash": f"hash{number}",
        "revision": 0,
        "name": f"trial {number}",
        "description": None,
        "version": "1.0",
        "tags": {},
        "parameters": {},
        "metadata": {},
        "errors": [],
        "project_id": None,
        "group_id": None,
        "status": {"value": 0, "name": "CreatedGroup"},
        "created": 50.0,
        "started": None,
        "ended": None,
        **fields,
    }
    return {"uid": f"{document['hash']}_{document['revision']}", **document}


def same(left: Any, right: Any) -> bool:
    """Whether two plain values are equal and of the same types, where a NaN is equal to a NaN.

    An int and a float are the same when they are equal.
    """
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return (
            type(right) is dict and left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
        )
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


class StoreSuite:
    """What each part of the suite builds on; a backend's author fills in the first four.

    Attributes:
        points_type: makes points of ``steps``, ``times`` and ``values``, which are columns.
        session_type: makes a session's state of ``sid, user, epoch, last_seq, last_reply``.
        lease_type: makes a lease of ``trial, sid, rank, superseded``.
        persistent: whether a store that is closed and opened again holds what it held.
    """

    points_type: ClassVar[Callable[..., Any]]
    session_type: ClassVar[Callable[..., Any]]
    lease_type: ClassVar[Callable[..., Any]]
    persistent: ClassVar[bool] = True

    def open_store(self, path: Path) -> Any:
        """The store whose main file is `path`: a new one if there is none, else the one that was closed."""
        raise NotImplementedError("a suite needs open_store(path): return an open store")

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Where the store under test is."""
        return tmp_path / "store"

    @pytest.fixture
    def store(self, path: Path) -> Iterator[Any]:
        """A new store."""
        store = self.open_store(path)
        yield store
        store.close()

    def reopened(self, store: Any, path: Path) -> Any:
        """The store after it was closed and opened again; the caller closes it."""
        if not self.persistent:
            pytest.skip("this backend is not persistent")
        store.close()
        return self.open_store(path)

    def save(self, store: Any) -> None:
        """Save a store, and wait for it."""
        outcomes: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        store.save(outcomes.put)
        error = outcomes.get(timeout=_SECONDS)
        if error is not None:
            raise error

    # -- shorthands ------------------------------------------------------------------------------

    def put(self, store: Any, *changes: Callable[[Any], Any]) -> None:
        """Make changes in one transaction and commit them."""
        tx = begin(store)
        for change in changes:
            change(tx)
        tx.commit()

    def points(self, steps: Sequence[Any], values: Sequence[Any], first_time: float = 100.0) -> Any:
        """Points a second apart."""
        times = [first_time + i for i in range(len(values))]
        return self.points_of(pack(steps), pack(times), pack(values))

    def points_of(self, steps: Column, times: Column, values: Column) -> Any:
        """Points of three columns."""
        return type(self).points_type(steps, times, values)

    def log(
        self,
        store: Any,
        steps: Sequence[Any],
        values: Sequence[Any],
        *,
        number: int = 0,
        kind: str = METRIC,
        name: str = "loss",
        aggregator: list[Any] | None = None,
        first_time: float = 100.0,
    ) -> None:
        """Append points to a series in a transaction of their own; the trial is made if it is not there."""
        tx = begin(store)
        if not tx.has_trial(id_of(number)):
            tx.add_trial(trial(number))
        tx.append_points(id_of(number), kind, name, aggregator, self.points(steps, values, first_time))
        tx.commit()

    def read_trial(self, store: Any, number: int = 0) -> Any:
        """The committed document of a trial."""
        with store.snapshot() as view:
            return view.trial(id_of(number))

    def read_points(
        self,
        store: Any,
        start: int = 0,
        limit: int = 1_000_000,
        *,
        number: int = 0,
        kind: str = METRIC,
        name: str = "loss",
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Committed steps, times and values of a series."""
        with store.snapshot() as view:
            points = view.points(id_of(number), kind, name, start, limit)
        assert points is not None, f"there is no {kind} called {name}"
        steps, times, values = (
            list(unpack(column)) for column in (points.steps, points.times, points.values)
        )
        assert len(points) == len(steps) == len(times) == len(values)
        return steps, times, values

    def found(
        self, store: Any, query: dict[str, Any], limit: int | None = None, *, kind: Kind = "trial"
    ) -> list[Any]:
        """Uids of the committed objects that a query selects."""
        parsed = parse_query(query, kind)
        with store.snapshot() as view:
            return [document["uid"] for document in getattr(view, f"{kind}s")(parsed, limit)]
