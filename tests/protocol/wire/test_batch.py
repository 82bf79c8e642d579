from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from every_case import every
from track_protocol.errors import RemoteProtocolError, TrackError
from track_protocol.wire.batch import (
    CHRONO,
    METRIC,
    Batch,
    CallOp,
    Op,
    PointsOp,
    batch_from_wire,
    batch_to_wire,
    first_offset,
)
from track_protocol.wire.codec import decode, encode
from track_protocol.wire.columns import Column, pack, unpack
from track_protocol.wire.counts import Counts
from wire_samples import allocation

TRIAL = b"0123456789abcdef"

CELLS = st.floats(allow_nan=False) | st.integers(-5, 5) | st.none() | st.text("ab", max_size=2)


def points(offsets: int | list[int], rows: int, *, columns: int = 1) -> PointsOp:
    """Rows whose step, time and values all identify the row."""
    where = offsets if isinstance(offsets, int) else array("I", offsets)
    numbers = list(range(rows))
    return PointsOp(
        TRIAL,
        METRIC,
        [f"m{column}" for column in range(columns)],
        None,
        where,
        pack(numbers),
        pack([float(n) for n in numbers]),
        [pack([n + column / 10 for n in numbers]) for column in range(columns)],
    )


@st.composite
def points_ops(draw: st.DrawFn, count: int) -> PointsOp:
    """Points that fit a batch of `count` records, contiguous or scattered, of every kind of column."""
    chosen = sorted(draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=count)))
    contiguous = chosen[-1] - chosen[0] + 1 == len(chosen)
    where = chosen[0] if contiguous and draw(st.booleans()) else array("I", chosen)
    rows = len(chosen)
    columns = [
        pack(draw(st.lists(CELLS, min_size=rows, max_size=rows))) for _ in range(draw(st.integers(1, 3)))
    ]
    return PointsOp(
        draw(st.binary(min_size=16, max_size=16)),
        draw(st.sampled_from([METRIC, CHRONO])),
        [f"m{i}" for i in range(len(columns))],
        draw(st.none() | st.just([None] * len(columns))),
        where,
        pack(draw(st.lists(CELLS, min_size=rows, max_size=rows))),
        pack(draw(st.lists(st.floats(allow_nan=False), min_size=rows, max_size=rows))),
        columns,
    )


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    count = draw(st.integers(1, 12))
    call = st.builds(
        CallOp, st.integers(0, count - 1), st.just("add_trial_tags"), st.just({"tags": {"a": (1,)}})
    )
    ops: list[Op] = []
    taken: set[int] = set()
    last_call = -1
    for op in draw(st.lists(points_ops(count) | call, max_size=4)):
        own = {at for at, *_ in rows_of(Batch(0, count, []), op)}
        if own & taken or (isinstance(op, CallOp) and op.offset < last_call):
            continue  # a record is of one operation, and calls ascend
        last_call = op.offset if isinstance(op, CallOp) else last_call
        taken |= own
        ops.append(op)
    return Batch(draw(st.integers(1, 50)), count, ops)


def rows_of(batch: Batch, op: Op) -> list[tuple[Any, ...]]:
    """Each row of an operation with its sequence number; a call is one."""
    if isinstance(op, CallOp):
        return [(batch.first + op.offset, op.method, op.arguments)]
    offsets = range(op.offsets, op.offsets + len(op)) if isinstance(op.offsets, int) else op.offsets
    columns = [unpack(column) for column in (op.steps, op.times, *op.values)]
    named = (op.trial, op.kind, tuple(op.names))
    return [(batch.first + at, *named, *row) for at, *row in zip(offsets, *columns, strict=True)]


@given(batches(), st.integers(0, 65))
def test_after_returns_exactly_the_new_records(batch: Batch, last_seq: int) -> None:
    wanted = [[row for row in rows_of(batch, op) if row[0] > last_seq] for op in batch.ops]
    rest = batch.after(last_seq)
    assert [rows_of(batch, op) for _, op in rest] == [rows for rows in wanted if rows]
    assert [seq for seq, _ in rest] == [rows[0][0] for rows in wanted if rows]


@settings(max_examples=50)
@given(batches(), st.integers(0, 65), st.integers(0, 65))
def test_trimming_twice_is_trimming_to_the_later(batch: Batch, one: int, other: int) -> None:
    trimmed = replace(batch, ops=[op for _, op in batch.after(one)])
    twice = [rows_of(batch, op) for _, op in trimmed.after(other)]
    assert twice == [rows_of(batch, op) for _, op in batch.after(max(one, other))]


@given(batches())
def test_a_batch_survives_the_wire(batch: Batch) -> None:
    assert batch_from_wire(decode(encode(batch_to_wire(batch)))) == batch


@settings(max_examples=50)
@given(batches(), st.integers(0, 65))
def test_the_rest_of_a_batch_round_trips(batch: Batch, last_seq: int) -> None:
    left = replace(batch, ops=[op for _, op in batch.after(last_seq)])
    assert batch_from_wire(decode(encode(batch_to_wire(left)))) == left


def test_the_first_new_record_is_included_and_the_last_known_one_is_not() -> None:
    calls = [CallOp(offset, "add_trial_tags", {}) for offset in range(3)]
    assert Batch(10, 3, [*calls]).after(10) == [(11, calls[1]), (12, calls[2])]
    for where in (0, [0, 1, 2]):
        [(seq, op)] = Batch(10, 3, [points(where, 3)]).after(10)
        assert isinstance(op, PointsOp)
        assert (seq, list(unpack(op.steps)), op.offsets) == (11, [1, 2], array("I", [1, 2]))


def test_nothing_is_copied_when_everything_is_new() -> None:
    op = points(2, 5)
    assert op.after(2) is op
    assert Batch(10, 7, [op]).after(9) == [(12, op)]


def test_nothing_is_left_when_everything_is_known() -> None:
    batch = Batch(10, 7, [points(0, 7), CallOp(6, "add_trial_tags", {})])
    assert batch.last == 16
    assert batch.after(16) == []


def test_the_first_offset_is_that_of_the_first_row() -> None:
    assert first_offset(points(3, 2)) == 3
    assert first_offset(points([4, 9], 2)) == 4
    assert first_offset(CallOp(6, "add_trial_tags", {})) == 6


@pytest.mark.parametrize("order", ["little", "big"])
def test_offsets_travel_little_endian_from_any_machine(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    native = sys.byteorder
    op = points([1, 3], 2)
    monkeypatch.setattr(sys, "byteorder", order)
    wire = batch_to_wire(Batch(1, 5, [op]))
    there = wire[2][0][5]
    assert [int.from_bytes(there[at : at + 4], "little" if order == native else "big") for at in (0, 4)] == [
        1,
        3,
    ]
    assert batch_from_wire(wire).ops == [op]
    assert op.offsets == array("I", [1, 3])


def test_the_size_of_points_is_that_of_their_columns() -> None:
    assert 6 * 8 * 1000 <= Batch(1, 1000, [points(0, 1000, columns=4)]).nbytes < 6 * 8 * 1000 + 200


@pytest.mark.parametrize(
    "op",
    [
        CallOp(0, "log_trial_metadata", {"metadata": {"text": "x" * 60_000}}),
        replace(points(0, 1), steps=Column("o", ["x" * 60_000])),
        replace(points(0, 1), values=[Column("o", ["x" * 60_000])]),
    ],
)
def test_long_texts_count_in_the_size(op: Op) -> None:
    assert 60_000 < Batch(1, 1, [op]).nbytes < 61_000


POINTS: list[Any] = [
    0,
    TRIAL,
    "metric",
    ["a", "b"],
    None,
    2,
    ["q", bytes(24)],
    ["d", bytes(24)],
    [["d", bytes(24)], ["n", 3]],
]
CALL: list[Any] = [1, 2, "add_trial_tags", {"trial": TRIAL}]


def offsets(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in numbers)


def changed(fields: list[Any], place: int, value: object) -> list[Any]:
    return [*fields[:place], value, *fields[place + 1 :]]


def test_the_samples_below_are_accepted_unchanged() -> None:
    batch = batch_from_wire([1, 9, [POINTS, changed(POINTS, 5, offsets(0, 5, 7)), changed(CALL, 1, 8)]])
    assert [len(op) if isinstance(op, PointsOp) else op.method for op in batch.ops] == [
        3,
        3,
        "add_trial_tags",
    ]


@pytest.mark.parametrize("raw", [None, 1, "batch", b"batch", {}, (1, 1, []), [], [1, 1], [1, 1, [], 0]])
def test_a_batch_has_three_fields(raw: object) -> None:
    with pytest.raises(RemoteProtocolError, match="three fields"):
        batch_from_wire(raw)


@pytest.mark.parametrize("first", [0, -1, 1.0, True, "1", None, [1]])
def test_sequence_numbers_start_at_one(first: object) -> None:
    with pytest.raises(RemoteProtocolError, match="start at 1"):
        batch_from_wire([first, 5, []])


@pytest.mark.parametrize("count", [0, -1, 2**20 + 1, 2**63 - 1, 1.0, True, "1", None])
def test_a_batch_has_a_bounded_number_of_records(count: object) -> None:
    with pytest.raises(RemoteProtocolError, match="1 to 1,048,576 records"):
        batch_from_wire([1, count, []])


def test_the_last_sequence_number_fits_64_bits() -> None:
    assert batch_from_wire([2**63 - 5, 5, []]).last == 2**63 - 1
    with pytest.raises(RemoteProtocolError, match="does not fit 64 bits"):
        batch_from_wire([2**63 - 5, 6, []])


@pytest.mark.parametrize("ops", [None, 0, "", b"", {}, ([],), {0: POINTS}])
def test_operations_are_a_list(ops: object) -> None:
    with pytest.raises(RemoteProtocolError, match="operations are a list"):
        batch_from_wire([1, 5, ops])


@pytest.mark.parametrize("op", [None, 0, "", b"\x00", {}, (), tuple(CALL), []])
def test_an_operation_is_a_list(op: object) -> None:
    with pytest.raises(RemoteProtocolError, match="an operation is a list"):
        batch_from_wire([1, 5, [op]])


@pytest.mark.parametrize("code", [2, -1, 0.0, False, True, 1.0, None, "0", [0], {}])
@pytest.mark.parametrize("op", [POINTS, CALL], ids=["points", "call"])
def test_an_operation_is_points_or_a_call(code: object, op: list[Any]) -> None:
    with pytest.raises(RemoteProtocolError, match="points or a call"):
        batch_from_wire([1, 5, [changed(op, 0, code)]])


@pytest.mark.parametrize("op", [CALL[:1], CALL[:3], [*CALL, None]], ids=len)
def test_a_call_has_four_fields(op: list[Any]) -> None:
    with pytest.raises(RemoteProtocolError, match="four fields"):
        batch_from_wire([1, 5, [op]])


@pytest.mark.parametrize("offset", [-1, 5, 2**40, 1.0, True, None, "0", b"\x00\x00\x00\x00"])
def test_a_calls_offset_lies_within_the_batch(offset: object) -> None:
    with pytest.raises(RemoteProtocolError, match="outside the batch"):
        batch_from_wire([1, 5, [changed(CALL, 1, offset)]])


@pytest.mark.parametrize("method", [None, 1, b"commit", ["commit"], ("commit",), {}])
def test_a_call_has_a_name(method: object) -> None:
    with pytest.raises(RemoteProtocolError, match="a name and a map"):
        batch_from_wire([1, 5, [changed(CALL, 2, method)]])


@pytest.mark.parametrize("arguments", [None, 1, "", [], [("trial", 1)], ()])
def test_a_call_has_a_map_of_arguments(arguments: object) -> None:
    with pytest.raises(RemoteProtocolError, match="a name and a map"):
        batch_from_wire([1, 5, [changed(CALL, 3, arguments)]])


@pytest.mark.parametrize("op", [POINTS[:1], POINTS[:8], [*POINTS, None]], ids=len)
def test_points_have_nine_fields(op: list[Any]) -> None:
    with pytest.raises(RemoteProtocolError, match="nine fields"):
        batch_from_wire([1, 5, [op]])


TRIALS = [None, "0123456789abcdef", b"", TRIAL[:15], TRIAL + b"g", list(TRIAL), 16]
KINDS = ["", "Metric", "gauge", "superseded", b"metric", None, 0, ["metric"], ("metric",), {"metric": 1}]
NAMES = [[], None, "ab", b"ab", ("a", "b"), {"a": 1, "b": 2}, [f"m{i}" for i in range(65_537)]]
STRANGE_NAMES = [["a", "a"], ["a", 1], ["a", b"b"], ["a", None], ["a", ["b"]], ["a", {}], ["a", True]]
VALUES = [None, [], [["n", 3]], [["n", 3]] * 3, (["n", 3], ["n", 3]), {0: ["n", 3], 1: ["n", 3]}, "ab", b"ab"]
AGGREGATORS = [[], [None], [None] * 3, (None, None), "ab", b"ab", {0: None, 1: None}, 0, False]
TIMES = [None, "d", bytes(24), {}, [], ["d"], ["d", bytes(24), 0], ("d", bytes(24)), {"d": 1, "e": 2}]
TIME_CODES = [["q", bytes(24)], ["o", [1.0, 2.0, 3.0]], ["n", 3], [None, bytes(24)], [["d"], bytes(24)]]
TIME_PAYLOADS = [b"", bytes(23), bytes(25), "x" * 24, [1.0, 2.0, 3.0], None, 3]
OFFSETS: list[Any] = [None, b"", bytes(11), bytes(13), [0, 1, 2], "x" * 12, 2.0, True, (0, 1, 2), {}]
OUTSIDE = [-1, 5, 2**40, offsets(0, 1, 5), offsets(0, 1, 2**32 - 1)]
UNORDERED = [offsets(0, 2, 1), offsets(0, 0, 1), offsets(2, 1, 0), offsets(1, 1, 1)]
ROWLESS = [3, 4, offsets(0, 1), offsets(0, 1, 2, 3)]


@every(
    [
        *[(1, value, "16 bytes") for value in TRIALS],
        *[(2, value, "a metric or a chrono") for value in KINDS],
        *[(3, value, "1 to 65,536 series") for value in NAMES],
        *[(3, value, "unique strings") for value in STRANGE_NAMES],
        *[(8, value, "one column for each name") for value in VALUES],
        *[(4, value, "one aggregator for each name") for value in AGGREGATORS],
        *[(7, value, "times are float64") for value in TIMES + TIME_CODES],
        *[(7, ["d", value], "times are packed float64") for value in TIME_PAYLOADS],
        *[(5, value, "packed uint32") for value in OFFSETS],
        *[(5, value, "outside the batch") for value in OUTSIDE],
        *[(5, value, "offsets ascend") for value in UNORDERED],
        *[(5, value, "each row has its record") for value in ROWLESS],
        (6, ["q", bytes(16)], "a column of 3 values"),
        (8, [["d", bytes(24)], ["n", 4]], "a column of 3 values"),
        (8, [["d", bytes(24)], None], "a column is a pair"),
    ]
)
def test_points_that_are_not_as_they_must_be_are_refused(place: int, value: object, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        batch_from_wire([1, 5, [changed(POINTS, place, value)]])


def test_a_few_bytes_cannot_claim_millions_of_values() -> None:
    """A column of nothing but None costs no byte a row."""
    rows, columns = 100_000, 4096
    op = [0, TRIAL, "metric", [f"m{i}" for i in range(columns)], None, 0]
    op += [["n", rows], ["d", bytes(8 * rows)], [["n", rows]] * columns]
    with pytest.raises(RemoteProtocolError, match="1,048,576 values"):
        batch_from_wire([1, rows, [op]])


def test_an_operation_may_have_a_million_values() -> None:
    rows, columns = 2**18, 4
    op = [0, TRIAL, "metric", ["a", "b", "c", "d"], None, 0]
    op += [["n", rows], ["d", bytes(8 * rows)], [["n", rows]] * columns]
    assert batch_from_wire([1, rows, [op]]).count == rows


@pytest.mark.parametrize(
    "ops",
    [
        [CALL, CALL],
        [changed(CALL, 1, 3), CALL],
        [POINTS, CALL],
        [POINTS, changed(POINTS, 5, 4)],
        [CALL, changed(POINTS, 5, offsets(0, 2, 4))],
    ],
)
@pytest.mark.parametrize("count", [7, 2**20])
def test_a_record_is_of_one_operation_and_calls_ascend(ops: list[Any], count: int) -> None:
    with pytest.raises(RemoteProtocolError, match="each record is of one operation, and calls ascend"):
        batch_from_wire([1, count, ops])


def test_a_batch_of_many_records_and_few_rows_allocates_little_memory() -> None:
    raw = [1, 2**20, [changed(POINTS, 5, 2**20 - 3), changed(CALL, 1, 5)]]
    with allocation() as peak:
        batch_from_wire(raw)
        used = peak()
    assert used < 16 * 1024


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2**63 - 1)
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=24),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(st.data())
def test_a_batch_with_any_value_in_any_field_is_accepted_or_refused(data: st.DataObject) -> None:
    sample: list[Any] = decode(encode([1, 5, [POINTS, changed(POINTS, 5, offsets(0, 2, 4)), CALL]]))
    part: Any = sample
    while True:
        place = data.draw(st.integers(0, len(part) - 1))
        inner = part[place]
        if not isinstance(inner, list) or not inner or data.draw(st.booleans()):
            break
        part = inner
    part[place] = data.draw(ANYTHING)
    try:
        batch = batch_from_wire(sample)
    except RemoteProtocolError:
        return
    uses: list[Callable[[], object]] = [
        lambda: batch.nbytes,
        lambda: batch.after(2),
        lambda: batch_to_wire(batch),
    ]
    for use in uses:
        try:
            use()
        except TrackError as error:
            pytest.fail(f"it was taken, but cannot be used: {error}")


# -- how much --------------------------------------------------------------------------------------


def test_points_and_other_calls_are_counted_apart() -> None:
    ops: list[Op] = [
        points(0, 3, columns=2),
        CallOp(3, "commit", {}),
        points([4, 6], 2),
        CallOp(5, "commit", {}),
    ]
    batch = Batch(11, 7, ops)
    assert batch.counts == Counts(8, 2)
    assert [op.counts for op in ops] == [Counts(6), Counts(calls=1), Counts(2), Counts(calls=1)]
    assert [batch.counts_after(seq) for seq in (0, 10, 11, 13, 14, 15, 16, 17, 99)] == [
        Counts(8, 2),
        Counts(8, 2),
        Counts(6, 2),
        Counts(2, 2),
        Counts(2, 1),
        Counts(1, 1),
        Counts(1),
        Counts(),
        Counts(),
    ]


@given(
    st.integers(1, 12).flatmap(lambda count: st.tuples(st.just(count), points_ops(count))), st.integers(0, 14)
)
def test_the_size_after_a_record_is_that_of_the_trimmed_batch(drawn: tuple[int, PointsOp], seq: int) -> None:
    count, op = drawn
    batch = Batch(1, count, [op])
    trimmed = sum((rest.counts for _, rest in batch.after(seq)), Counts())
    assert batch.counts_after(seq) == trimmed
