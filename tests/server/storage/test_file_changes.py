"""What was recorded, made once more: the same store, however its points came."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from track_protocol.errors import StoreCorrupt, TrackError
from track_protocol.wire.codec import encode
from track_protocol.wire.columns import pack
from track_server.storage.contract import Points, SessionState
from track_server.storage.file_changes import RecordingTransaction, replay
from track_server.storage.journal import Frame
from track_server.storage.memory import MemoryStore
from track_server.storage.memory_document import DocumentHeader, document_lines

A, B = b"a" * 16, b"b" * 16
PATH = Path("runs.json")


def trial(id: bytes) -> dict[str, Any]:
    return {
        "id": id,
        "uid": f"{id.hex()}_0",
        "hash": id.hex(),
        "revision": 0,
        "name": "t",
        "metadata": {},
        "project_id": None,
        "status": {"value": 302, "name": "Completed"},
    }


def points(steps: Sequence[Any], values: Sequence[Any]) -> Points:
    return Points(pack(steps), pack([100.0 + at for at in range(len(values))]), pack(values))


class Recorded:
    """A store in memory, and what a journal keeps of it."""

    def __init__(self) -> None:
        self.store = MemoryStore("ephemeral:")
        self.frames: list[Frame] = []

    def begin(self) -> RecordingTransaction:
        """A transaction that is recorded."""
        return self.store.begin_as(lambda tables, ended: RecordingTransaction(tables, ended, self._write))

    def log(self, id: bytes, name: str, steps: Sequence[Any], values: Sequence[Any]) -> None:
        """Append to a series, in a transaction of its own."""
        tx = self.begin()
        tx.append_points(id, "metric", name, None, points(steps, values))
        tx.put_session(SessionState(b"s" * 16, "ann", 1, len(self.frames), None))
        tx.commit()

    def add(self, *ids: bytes) -> None:
        """Add trials."""
        tx = self.begin()
        for id in ids:
            tx.add_trial(trial(id))
        tx.commit()

    def _write(self, payload: bytes) -> None:
        self.frames.append(Frame(len(self.frames) + 1, payload, 0))


@pytest.fixture
def recorded() -> Recorded:
    made = Recorded()
    made.add(A, B)
    return made


def replayed(frames: Iterable[Frame], number: int = 0) -> MemoryStore:
    store = MemoryStore("ephemeral:")
    tx = store.begin()
    replay(frames, tx, number, PATH)
    tx.commit()
    return store


def document(store: MemoryStore) -> str:
    """Everything that a store holds, as text."""
    with store.snapshot() as view:
        return "".join(document_lines(view, DocumentHeader("g", 0)))


def chunks(store: MemoryStore, id: bytes, name: str) -> int:
    series = store.begin()._tables.series.get((id, "metric", name), 10**9)
    assert series is not None
    return series.chunks.count


def test_short_pieces_of_a_series_come_back_as_one(recorded: Recorded) -> None:
    # Fails when `_Replay` appends each piece by itself.
    for step in range(500):
        recorded.log(A, "loss", [step], [step / 2])
        recorded.log(B, "loss", [step], [step])
    found = replayed(recorded.frames)
    assert document(found) == document(recorded.store)
    assert chunks(found, A, "loss") == 1


def test_points_of_other_kinds_stay_what_they_were_and_in_order(recorded: Recorded) -> None:
    logged: list[tuple[Any, Any]] = [
        (1, 0.5),
        (2, 1),
        (3, True),
        (None, None),
        ("epoch", float("inf")),
        (5, 2**60),
        (6, 0.25),
        ((1, "a"), 0.125),
    ]
    for step, value in logged * 3:
        recorded.log(A, "mixed", [step], [value])
    found = replayed(recorded.frames)
    assert document(found) == document(recorded.store)


def test_series_are_in_the_order_in_which_they_began(recorded: Recorded) -> None:
    # Fails when a series that changes its kind is appended before those that were there earlier.
    recorded.log(A, "first", [1], [1.0])
    recorded.log(A, "second", [1], [1])
    recorded.log(A, "second", [2], [0.5])
    found = replayed(recorded.frames)
    with found.snapshot() as view:
        assert list(view.series_names(A, "metric")) == ["first", "second"]


def test_a_rewind_takes_what_was_logged_before_it_and_not_what_came_behind(recorded: Recorded) -> None:
    # Fails when a rewind is not in `_SEE_POINTS`.
    for step in range(10):
        recorded.log(A, "loss", [step], [float(step)])
    tx = recorded.begin()
    tx.rewind(A, 4.0)
    tx.commit()
    for step in range(5, 8):
        recorded.log(A, "loss", [step], [-float(step)])
    assert document(replayed(recorded.frames)) == document(recorded.store)


def test_a_deleted_trial_takes_its_points_along(recorded: Recorded) -> None:
    # Fails when a deletion is not in `_SEE_POINTS`.
    recorded.log(A, "loss", [1], [1.0])
    tx = recorded.begin()
    tx.delete_trial(A)
    tx.commit()
    recorded.add(A)
    assert document(replayed(recorded.frames)) == document(recorded.store)


def test_what_is_there_already_is_left_out(recorded: Recorded) -> None:
    store = replayed(recorded.frames)
    had = len(recorded.frames)
    recorded.log(A, "loss", [1], [1.0])
    tx = store.begin()
    assert replay(recorded.frames, tx, had, PATH) == had + 1
    tx.commit()
    assert document(store) == document(recorded.store)


def test_many_pieces_of_many_series_make_the_same_store(recorded: Recorded) -> None:
    chance = random.Random(5)
    for step in range(2_000):
        some = chance.choice([1.5, 1.5, 1.5, 2, None])
        count = chance.choice([1, 3, 700])
        recorded.log(chance.choice([A, B]), chance.choice("xyz"), [step] * count, [some] * count)
    assert document(replayed(recorded.frames)) == document(recorded.store)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (Frame(7, encode([]), 0), "transaction 1 comes before it"),
        (Frame(2, encode([["no such change"]]), 0), "no such change"),
        (Frame(2, b"\xc1", 0), "not a value"),
    ],
)
def test_a_transaction_that_does_not_fit_is_named(recorded: Recorded, frame: Frame, why: str) -> None:
    with pytest.raises(StoreCorrupt, match=f"at transaction {frame.number} .*{why}.*restore both"):
        replayed([recorded.frames[0], frame])


def test_points_of_a_trial_that_is_missing_are_told_as_damage(recorded: Recorded) -> None:
    recorded.log(A, "loss", [1], [1.0])
    (_, behind) = recorded.frames
    with pytest.raises(StoreCorrupt, match="at transaction 1 ") as caught:
        replayed([Frame(1, behind.payload, 0)])
    assert isinstance(caught.value.__cause__, TrackError)
