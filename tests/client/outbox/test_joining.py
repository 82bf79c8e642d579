"""Many small batches become few, and say the same."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from memory_link import MemoryStore
from track.outbox.joining import Found, joined
from track.outbox.records import CALL, Row, Shape, batch_of
from track.spool.segments import RECORD_OVERHEAD
from track.spool.writer import STRETCH_RECORDS, Place
from track_protocol.wire.batch import CHRONO, METRIC, Batch

TRIAL = b"t" * 16
SESSION = b"s" * 16
LENGTH = 100


def point(step: Any, value: Any, name: str = "loss", kind: str = METRIC, trial: bytes = TRIAL) -> Row:
    return (Shape(trial, kind, [name], None), step, 1.5 * ord(name[0]), {name: value})


def call(number: int) -> Row:
    return (CALL, "add_trial_tags", 7.0, {"trial": TRIAL, "tags": {"a": number}}, 0)


def one_by_one(rows: Iterable[Row], first: int = 1) -> list[Found]:
    """Each log call in a record of its own, one behind the other."""
    return [
        Found(batch_of(first + n, [row]), Place(1, RECORD_OVERHEAD + n * (LENGTH + RECORD_OVERHEAD), LENGTH))
        for n, row in enumerate(rows)
    ]


def stored(batches: Iterable[Batch]) -> tuple[list[Any], list[Any]]:
    """What a store has of them: points in the order of each series, and calls."""
    store = MemoryStore()
    for batch in batches:
        store.apply(SESSION, batch)
    points = sorted(store.points, key=lambda each: (each.trial, each.kind, each.name, each.seq))
    return points, store.calls


def assert_same(found: Sequence[Found]) -> list[Found]:
    made = list(joined(found))
    assert stored(each.batch for each in made) == stored(each.batch for each in found)
    assert sum(each.records for each in made) == len(found)
    assert made[0].batch.first == found[0].batch.first
    assert made[-1].batch.last == found[-1].batch.last
    return made


def test_log_calls_one_by_one_become_one_batch_with_their_numbers_and_place() -> None:
    found = one_by_one(point(step, step / 2) for step in range(200))
    (made,) = assert_same(found)
    assert (made.batch.first, made.batch.count, made.records) == (1, 200, 200)
    assert made.place == Place(1, found[0].place.start, 200 * LENGTH + 199 * RECORD_OVERHEAD)
    assert len(made.batch.ops) == 1


def test_anything_that_can_be_logged_stays_what_and_where_it_was() -> None:
    chance = random.Random(3)
    steps: list[Any] = [1, 2.5, None, "epoch", (1, "a")]
    values: list[Any] = [0.5, 1, True, None, float("inf"), 2**60, {"a": [1]}]
    rows = [
        call(number)
        if chance.random() < 0.1
        else point(
            chance.choice(steps),
            chance.choice(values),
            chance.choice("xyz"),
            chance.choice([METRIC, CHRONO]),
            chance.choice([TRIAL, b"u" * 16]),
        )
        for number in range(1_000)
    ]
    assert len(assert_same(one_by_one(rows))) == 1


def test_a_batch_has_no_more_than_its_rows() -> None:
    made = assert_same(one_by_one(point(step, 1.0) for step in range(STRETCH_RECORDS + 5)))
    assert [each.records for each in made] == [STRETCH_RECORDS, 5]


def test_what_is_no_neighbour_stays_apart() -> None:
    found = one_by_one([point(1, 1.0), point(2, 2.0)])
    elsewhere = [found[0], Found(found[1].batch, Place(2, 50, LENGTH))]
    behind_a_gap = [found[0], Found(batch_of(3, [point(2, 2.0)]), found[1].place)]
    assert list(joined(elsewhere)) == elsewhere
    assert list(joined(behind_a_gap)) == behind_a_gap


def test_numbers_of_nothing_and_large_batches_are_sent_as_they_are() -> None:
    found = one_by_one([point(1, 1.0), point(2, 2.0), point(3, 3.0), point(4, 4.0)])
    found[1] = Found(Batch(2, 1, []), found[1].place)
    assert [each.records for each in joined(found)] == [1, 1, 2]
    (alone,) = joined([Found(found[0].batch, Place(1, 50, 10**6))])
    assert alone.batch is found[0].batch


def test_nothing_is_joined_of_nothing() -> None:
    assert list(joined([])) == []
