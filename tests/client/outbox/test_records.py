"""Rows and the batches made of them."""

from __future__ import annotations

from array import array
from collections import deque
from typing import Any

import pytest

from track.outbox.records import (
    BATCH_ROWS,
    CALL,
    TICKET,
    Row,
    Shape,
    batch_of,
    plain_step,
    salvaged,
    take,
    weigh,
)
from track_protocol.errors import BadValue
from track_protocol.wire.batch import METRIC, CallOp, PointsOp, batch_to_wire
from track_protocol.wire.codec import encode
from track_protocol.wire.columns import unpack
from track_protocol.wire.frames import FRAME_LIMIT

TRIAL = b"t" * 16
LOSS = Shape(TRIAL, METRIC, ["loss"], None)
BOTH = Shape(TRIAL, METRIC, ["loss", "accuracy"], None)
RATE = Shape(TRIAL, METRIC, ["rate"], None)


def loss(step: Any, value: Any) -> Row:
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
    row: Row = (wide, 0, 0.0, dict.fromkeys(wide.names, 0.5))
    overlapping: Row = (Shape(TRIAL, METRIC, wide.names[:1], None), 0, 0.0, {wide.names[0]: 1.0})
    call: Row = (CALL, "add_trial_tags", 0.0, {}, 64)
    for between in (overlapping, call):
        rows: deque[Row] = deque([row, between] * 500)
        batch = batch_of(1, take(rows).rows)
        assert len(encode(batch_to_wire(batch))) < FRAME_LIMIT


def test_a_ticket_ends_a_batch() -> None:
    rows: deque[Row] = deque([loss(0, 0.0), (TICKET, "mine"), loss(1, 1.0)])
    assert take(rows)[:2] == ([loss(0, 0.0)], "mine")
    assert len(rows) == 1


def test_a_batch_takes_only_so_many_rows_and_bytes() -> None:
    rows = deque([loss(0, 0.0)] * (BATCH_ROWS + 1))
    assert len(take(rows).rows) == BATCH_ROWS
    heavy = (LOSS, 0, 0.0, {"loss": "x"}, 300_000)
    taken = take(deque([heavy] * 4))
    assert (len(taken.rows), taken.heavy) == (1, 300_000)


def test_what_cannot_be_stored_is_found_when_it_is_packed() -> None:
    rows = [loss(0, 1), loss(1, 2**64), (BOTH, 2, 2.0, {"loss": 1, "accuracy": 2**64})]
    with pytest.raises(BadValue):
        batch_of(1, rows)
    complaints: list[BadValue] = []
    kept = [salvaged(row, complaints.append) for row in rows]
    assert kept[:2] == [rows[0], None]
    assert kept[2] is not None
    assert (kept[2][0].names, kept[2][3], len(complaints)) == (["loss"], {"loss": 1}, 2)
    assert salvaged((LOSS, 2**64, 0.0, {"loss": 1}), complaints.append) is None


def test_a_row_that_loses_a_name_loses_its_aggregator_with_it() -> None:
    shape = Shape(TRIAL, METRIC, ["a", "b"], [["value"], ["series"]])
    kept = salvaged((shape, 0, 0.0, {"a": 2**64, "b": 1}), lambda error: None)
    assert kept is not None
    assert (kept[0].names, kept[0].aggregators) == (["b"], [["series"]])


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
def test_no_value_takes_more_bytes_than_its_weight(value: object) -> None:
    assert len(encode(value)) <= weigh(value)


def test_a_batch_of_rows_with_many_long_names_fits_a_frame() -> None:
    shapes = [
        Shape(TRIAL, METRIC, [f"{'m' * 240}{part}-{n}" for n in range(1_000)], None) for part in range(5)
    ]
    rows: deque[Row] = deque((shape, 0, 0.0, dict.fromkeys(shape.names, 1.0)) for shape in shapes)
    taken = []
    while rows:
        taken.append(take(rows).rows)
        assert len(encode(batch_to_wire(batch_of(1, taken[-1])))) < FRAME_LIMIT
    assert [row[0] for part in taken for row in part] == shapes


def test_what_is_left_of_many_rows_is_one_operation_again() -> None:
    rows = [
        salvaged((BOTH, step, 0.0, {"loss": 2**70, "accuracy": 1.0}), lambda error: None) for step in (1, 2)
    ]
    assert len(batch_of(1, [row for row in rows if row is not None]).ops) == 1
