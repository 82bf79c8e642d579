"""Rows and the batches made of them."""

from __future__ import annotations

import random
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from memory_link import MemoryStore
from track.outbox.records import (
    BATCH_BYTES,
    BATCH_RECORDS,
    CALL,
    FUTURE,
    Found,
    Record,
    Shape,
    batch_of,
    coalesced,
    drain,
    drop_invalid,
    estimate_size,
    plain_step,
)
from track.spool.segments import RECORD_OVERHEAD
from track.spool.writer import EXTENT_RECORDS, Location
from track_protocol.errors import BadValue
from track_protocol.wire.batch import CHRONO, METRIC, Batch, CallOp, PointsOp, batch_to_wire
from track_protocol.wire.codec import encode
from track_protocol.wire.columns import unpack
from track_protocol.wire.frames import FRAME_LIMIT

TRIAL = b"t" * 16
LOSS = Shape(TRIAL, METRIC, ["loss"], None)
BOTH = Shape(TRIAL, METRIC, ["loss", "accuracy"], None)
RATE = Shape(TRIAL, METRIC, ["rate"], None)


def loss(step: Any, value: Any) -> Record:
    return (LOSS, step, float(step), {"loss": value})


def test_rows_of_one_shape_become_one_operation() -> None:
    batch = batch_of(7, [loss(step, step / 2) for step in range(3)])
    (op,) = batch.ops
    assert isinstance(op, PointsOp)
    assert (batch.first, batch.count, op.offsets) == (7, 3, 0)
    assert list(unpack(op.steps)) == [0, 1, 2]
    assert list(unpack(op.values[0])) == [0.0, 0.5, 1.0]


def test_rows_of_alternating_shapes_know_their_offsets() -> None:
    other = (RATE, 1, 1.0, {"rate": 1.0})
    batch = batch_of(1, [loss(0, 0.0), other, loss(1, 1.0), other])
    assert [(op.names, op.offsets) for op in batch.ops if isinstance(op, PointsOp)] == [
        (["loss"], array("I", [0, 2])),
        (["rate"], array("I", [1, 3])),
    ]


def test_points_of_a_series_keep_their_order_whatever_else_is_logged_beside_them() -> None:
    both = (BOTH, 1, 1.0, {"loss": 1.0, "accuracy": 0.5})
    batch = batch_of(1, [loss(0, 0.0), loss(0, 0.5), both, loss(2, 2.0)])
    ops = [op for op in batch.ops if isinstance(op, PointsOp)]
    assert [value for op in ops for value in unpack(op.values[0])] == [0.0, 0.5, 1.0, 2.0]
    assert [op.offsets for op in ops] == [0, 2, 3]


def test_a_call_parts_the_points_before_it_from_those_behind() -> None:
    batch = batch_of(1, [loss(0, 0.0), (CALL, "add_trial_tags", 0.0, {}, 64), loss(1, 1.0)])
    assert [type(op) for op in batch.ops] == [PointsOp, CallOp, PointsOp]
    assert batch.ops[1] == CallOp(1, "add_trial_tags", {})


def test_names_count_towards_a_batch_as_often_as_they_are_sent() -> None:
    wide = Shape(TRIAL, METRIC, [f"{'n' * 200}{number}" for number in range(60)], None)
    record: Record = (wide, 0, 0.0, dict.fromkeys(wide.names, 0.5))
    overlapping: Record = (Shape(TRIAL, METRIC, wide.names[:1], None), 0, 0.0, {wide.names[0]: 1.0})
    call: Record = (CALL, "add_trial_tags", 0.0, {}, 64)
    for between in (overlapping, call):
        records: deque[Record] = deque([record, between] * 500)
        batch = batch_of(1, drain(records).records)
        assert len(encode(batch_to_wire(batch))) < FRAME_LIMIT


def test_a_future_ends_a_batch() -> None:
    records: deque[Record] = deque([loss(0, 0.0), (FUTURE, "mine"), loss(1, 1.0)])
    assert drain(records)[:2] == ([loss(0, 0.0)], "mine")
    assert len(records) == 1


def test_a_batch_takes_only_so_many_records_and_bytes() -> None:
    records = deque([loss(0, 0.0)] * (BATCH_RECORDS + 1))
    assert len(drain(records).records) == BATCH_RECORDS
    sized_bytes = (LOSS, 0, 0.0, {"loss": "x"}, 300_000)
    drained = drain(deque([sized_bytes] * 4))
    assert (len(drained.records), drained.sized_bytes) == (1, 300_000)


def test_a_batch_of_wide_rows_fits_a_frame_and_leaves_the_others_in_their_order() -> None:
    wide = Shape(TRIAL, METRIC, [f"{'n' * 200}{number}" for number in range(60)], None)
    rows: list[Record] = [(wide, step, 0.0, dict.fromkeys(wide.names, 0.5)) for step in range(5_000)]
    records = deque(rows)
    drained = drain(records)
    assert drained.nbytes <= BATCH_BYTES
    assert len(encode(batch_to_wire(batch_of(1, drained.records)))) < FRAME_LIMIT
    assert [*drained.records, *records] == rows


class _FullQueue(deque[Record]):
    """The log call that left the last record takes it back when there is nothing else in front of it."""

    def popleft(self) -> Record:
        if len(self) == 1:
            self.pop()
        return super().popleft()


def test_a_record_that_its_log_call_has_taken_back_is_in_no_batch() -> None:
    drained = drain(_FullQueue([loss(step, 0.5) for step in range(3)]))
    assert drained.records == [loss(0, 0.5), loss(1, 0.5)]
    assert drained.nbytes == LOSS.head_bytes + 2 * LOSS.record_bytes


def test_a_row_that_was_changed_after_it_was_logged_is_not_packed_as_another() -> None:
    longer, shorter = {"loss": 1.0, "accuracy": 0.5, "rate": 1.0}, {"loss": 1.0}
    with pytest.raises(ValueError, match="changed after it was logged"):
        batch_of(1, [(BOTH, 0, 0.0, longer), (BOTH, 1, 1.0, shorter)])


def test_what_cannot_be_stored_is_found_when_it_is_packed() -> None:
    records = [loss(0, 1), loss(1, 2**64), (BOTH, 2, 2.0, {"loss": 1, "accuracy": 2**64})]
    with pytest.raises(BadValue):
        batch_of(1, records)
    complaints: list[BadValue] = []
    valid = [drop_invalid(record, complaints.append) for record in records]
    assert valid[:2] == [records[0], None]
    assert valid[2] is not None
    assert (valid[2][0].names, valid[2][3], len(complaints)) == (["loss"], {"loss": 1}, 2)
    assert drop_invalid((LOSS, 2**64, 0.0, {"loss": 1}), complaints.append) is None


def test_a_record_that_loses_a_name_loses_its_aggregator_with_it() -> None:
    shape = Shape(TRIAL, METRIC, ["a", "b"], [["value"], ["series"]])
    valid = drop_invalid((shape, 0, 0.0, {"a": 2**64, "b": 1}), lambda error: None)
    assert valid is not None
    assert (valid[0].names, valid[0].aggregators) == (["b"], [["series"]])


@pytest.mark.parametrize(
    ("step", "plain"), [([1, 2], (1, 2)), ("a", "a"), (None, None), ((1, (2,)), (1, (2,)))]
)
def test_a_step_is_something_that_can_be_a_key(step: object, plain: object) -> None:
    assert plain_step(step) == plain


@pytest.mark.parametrize("step", [{"a": 1}, ([{}],), b"x", object()])
def test_what_cannot_be_a_key_is_no_step(step: object) -> None:
    with pytest.raises(BadValue, match="step"):
        plain_step(step)


@pytest.mark.parametrize(
    "value",
    [1, 2.5, None, "x" * 100, "ä€😀" * 10, b"x" * 70_000, [1.0] * 1000, {"a": ["b", (1, 2)]}, [[]] * 20],
)
def test_no_value_takes_more_bytes_than_its_estimated_size(value: object) -> None:
    assert len(encode(value)) <= estimate_size(value)


def test_a_batch_of_records_with_many_long_names_fits_a_frame() -> None:
    shapes = [
        Shape(TRIAL, METRIC, [f"{'m' * 240}{part}-{n}" for n in range(1_000)], None) for part in range(5)
    ]
    records: deque[Record] = deque((shape, 0, 0.0, dict.fromkeys(shape.names, 1.0)) for shape in shapes)
    drained = []
    while records:
        drained.append(drain(records).records)
        assert len(encode(batch_to_wire(batch_of(1, drained[-1])))) < FRAME_LIMIT
    assert [record[0] for part in drained for record in part] == shapes


def test_what_is_left_of_many_records_is_one_operation_again() -> None:
    records = [
        drop_invalid((BOTH, step, 0.0, {"loss": 2**70, "accuracy": 1.0}), lambda error: None)
        for step in (1, 2)
    ]
    assert len(batch_of(1, [record for record in records if record is not None]).ops) == 1


TRIAL = b"t" * 16
SESSION = b"s" * 16
LENGTH = 100


def point(step: Any, value: Any, name: str = "loss", kind: str = METRIC, trial: bytes = TRIAL) -> Record:
    return (Shape(trial, kind, [name], None), step, 1.5 * ord(name[0]), {name: value})


def call(number: int) -> Record:
    return (CALL, "add_trial_tags", 7.0, {"trial": TRIAL, "tags": {"a": number}}, 0)


def one_by_one(records: Iterable[Record], first: int = 1) -> list[Found]:
    """Each log call in a record of its own, one behind the other."""
    return [
        Found(
            batch_of(first + n, [record]),
            Location(1, RECORD_OVERHEAD + n * (LENGTH + RECORD_OVERHEAD), LENGTH),
        )
        for n, record in enumerate(records)
    ]


def stored(batches: Iterable[Batch]) -> tuple[list[Any], list[Any]]:
    """What a store has of them: points in the order of each series, and calls."""
    store = MemoryStore()
    for batch in batches:
        store.apply(SESSION, batch)
    points = sorted(store.points, key=lambda each: (each.trial, each.kind, each.name, each.seq))
    return points, store.calls


def assert_same(found: Sequence[Found]) -> list[Found]:
    made = list(coalesced(found))
    assert stored(each.batch for each in made) == stored(each.batch for each in found)
    assert sum(each.records for each in made) == len(found)
    assert made[0].batch.first == found[0].batch.first
    assert made[-1].batch.last == found[-1].batch.last
    return made


def test_log_calls_one_by_one_become_one_batch_with_their_numbers_and_place() -> None:
    found = one_by_one(point(step, step / 2) for step in range(200))
    (made,) = assert_same(found)
    assert (made.batch.first, made.batch.count, made.records) == (1, 200, 200)
    assert made.location == Location(1, found[0].location.start, 200 * LENGTH + 199 * RECORD_OVERHEAD)
    assert len(made.batch.ops) == 1


def test_anything_that_can_be_logged_stays_what_and_where_it_was() -> None:
    chance = random.Random(3)
    steps: list[Any] = [1, 2.5, None, "epoch", (1, "a")]
    values: list[Any] = [0.5, 1, True, None, float("inf"), 2**60, {"a": [1]}]
    records = [
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
    assert len(assert_same(one_by_one(records))) == 1


def test_a_batch_has_no_more_than_its_records() -> None:
    made = assert_same(one_by_one(point(step, 1.0) for step in range(EXTENT_RECORDS + 5)))
    assert [each.records for each in made] == [EXTENT_RECORDS, 5]


def test_what_is_no_neighbour_stays_apart() -> None:
    found = one_by_one([point(1, 1.0), point(2, 2.0)])
    elsewhere = [found[0], Found(found[1].batch, Location(2, 50, LENGTH))]
    behind_a_gap = [found[0], Found(batch_of(3, [point(2, 2.0)]), found[1].location)]
    assert list(coalesced(elsewhere)) == elsewhere
    assert list(coalesced(behind_a_gap)) == behind_a_gap


def test_numbers_of_nothing_and_large_batches_are_sent_as_they_are() -> None:
    found = one_by_one([point(1, 1.0), point(2, 2.0), point(3, 3.0), point(4, 4.0)])
    found[1] = Found(Batch(2, 1, []), found[1].location)
    assert [each.records for each in coalesced(found)] == [1, 1, 2]
    (alone,) = coalesced([Found(found[0].batch, Location(1, 50, 10**6))])
    assert alone.batch is found[0].batch


def test_nothing_is_joined_of_nothing() -> None:
    assert list(coalesced([])) == []
