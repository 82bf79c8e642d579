"""Trials and points to put into a store."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import Any

from track_protocol.wire.batch import METRIC
from track_protocol.wire.columns import pack, unpack
from track_server.storage.contract import Points, Store, View
from track_server.storage.unit_of_work import UnitOfWork, begin


def trial_id(number: int = 1) -> bytes:
    """The id of a trial."""
    return number.to_bytes(16, "big")


def trial_document(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A trial as a store takes it."""
    return {
        "id": trial_id(number),
        "uid": f"hash{number}_0",
        "hash": f"hash{number}",
        "revision": 0,
        "name": None,
        "description": None,
        "version": None,
        "tags": {},
        "parameters": {},
        "metadata": {},
        "errors": [],
        "project_id": None,
        "group_id": None,
        "status": {"value": 0, "name": "CreatedGroup"},
        **fields,
    }


def points_of(values: Sequence[Any], steps: Sequence[Any] | None = None, first: int = 0) -> Points:
    """Points that follow each other by a second."""
    if steps is None:
        steps = range(first, first + len(values))
    return Points(pack(steps), pack([1.7e9 + first + i for i in range(len(values))]), pack(values))


def add_trials(store: Store, *numbers: int) -> None:
    """Commit some trials."""
    tx = begin(store)
    for number in numbers:
        tx.add_trial(trial_document(number))
    tx.commit()


def log_points(store: Store, points: Points, name: str = "loss", number: int = 1) -> None:
    """Commit points of a metric."""
    tx = begin(store)
    tx.append_points(trial_id(number), METRIC, name, None, points)
    tx.commit()


def values_in(view: View | UnitOfWork, name: str = "loss", number: int = 1) -> list[Any]:
    """All values of a metric."""
    points = view.points(trial_id(number), METRIC, name, 0, 10**9)
    assert points is not None
    return list(unpack(points.values))


def committed_values(store: Store, name: str = "loss", number: int = 1) -> list[Any]:
    """All values of a metric that are committed."""
    with store.snapshot() as view:
        return values_in(view, name, number)


def compact_all(store: Store) -> None:
    """Let the store do all its background work."""
    while store.maintain(1.0):
        pass


def save(store: Store) -> None:
    """Save a store and wait; raise the error if it fails."""
    outcomes: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
    store.save(outcomes.put)
    error = outcomes.get(timeout=60)
    if error is not None:
        raise error
