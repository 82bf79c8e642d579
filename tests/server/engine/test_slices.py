"""A batch in slices is the batch: nothing missing, nothing twice, in order."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from engine_calls import points
from track_protocol.wire.batch import Batch, CallOp, Op, PointsOp
from track_protocol.wire.columns import unpack
from track_server.engine.slices import MAX_CALLS, MAX_SERIES, Slice, slices

TRIAL = b"0123456789abcdef"
FIRST = 7


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Calls, and rows that are scattered among them, each of which identifies its record."""
    owners = draw(st.lists(st.integers(0, 60), min_size=1, max_size=80))
    ops: list[Op] = []
    for owner in dict.fromkeys(owners):
        offsets = [offset for offset, each in enumerate(owners) if each == owner]
        if owner % 2:
            rows = points(TRIAL, steps=offsets, m=[0.0] * len(offsets))
            ops.append(replace(rows, offsets=array("I", offsets), names=[f"m{owner}"]))
        else:
            ops += [CallOp(offset, "add_trial_tags", {}) for offset in offsets]
    return Batch(FIRST, len(owners), ops)


def records(op: Op) -> list[int]:
    return list(map(int, unpack(op.steps))) if isinstance(op, PointsOp) else [op.offset]


@given(batches(), st.integers(0, 90))
def test_slices_hold_each_new_record_once_and_up_to_their_ends(batch: Batch, last_seq: int) -> None:
    seen: list[int] = []
    ends = [FIRST + max(-1, last_seq - FIRST)]
    for each in slices(batch, last_seq):
        for op in each.ops:
            assert all(ends[-1] < FIRST + record <= each.last_seq for record in records(op))
            seen += [FIRST + record for record in records(op)]
        assert sorted(seen) == list(range(max(FIRST, last_seq + 1), each.last_seq + 1))
        ends.append(each.last_seq)
    assert ends[-1] == batch.last


def test_points_of_few_series_are_one_slice() -> None:
    rows = points(TRIAL, m=[0.0] * 10)
    ops: list[Op] = [replace(rows, offsets=array("I", range(each, 1000, 100))) for each in range(100)]
    assert list(slices(Batch(1, 1000, ops), 0)) == [Slice(ops, 1000)]


def test_a_batch_of_few_calls_is_one_slice() -> None:
    ops: list[Op] = [CallOp(offset, "add_trial_tags", {}) for offset in range(MAX_CALLS)]
    assert list(slices(Batch(1, MAX_CALLS, ops), 0)) == [Slice(ops, MAX_CALLS)]


def test_a_rewind_is_a_slice_of_its_own() -> None:
    methods = ["add_trial_tags", "rewind_trial", "rewind_trial", "add_trial_tags"]
    ops: list[Op] = [CallOp(offset, method, {}) for offset, method in enumerate(methods)]
    assert [each.ops for each in slices(Batch(1, 4, ops), 0)] == [[op] for op in ops]


def test_many_operations_of_few_series_each_are_several_slices() -> None:
    rows = points(TRIAL, 0, None, **{f"m{number}": [0.0] for number in range(100)})
    ops: list[Op] = [replace(rows, offsets=offset) for offset in range(50)]
    found = list(slices(Batch(1, 50, ops), 0))
    assert [op for each in found for op in each.ops] == ops
    assert max(len(each.ops) for each in found) * 100 <= MAX_SERIES + 100


WIDTH = 2 * MAX_SERIES + 5


def wide(rows: int = 1) -> PointsOp:
    """Rows of very many series, one after the other."""
    return points(TRIAL, 0, list(range(rows)), **{f"m{number}": [0.5] * rows for number in range(WIDTH)})


def test_a_row_of_very_many_series_is_divided() -> None:
    ops: list[Op] = [
        CallOp(0, "add_trial_tags", {}),
        replace(wide(), offsets=1),
        CallOp(2, "add_trial_tags", {}),
    ]
    before, *parts, behind = slices(Batch(FIRST, 3, ops), 0)
    assert ([*before.ops, *behind.ops], before.last_seq, behind.last_seq) == ([ops[0], ops[2]], 7, 9)
    assert [(part.last_seq, part.partial) for part in parts] == [(7, MAX_SERIES), (7, 2 * MAX_SERIES), (8, 0)]
    assert [part.whole for part in parts] == [ops[1], None, None]
    names = [name for part in parts for op in part.ops if isinstance(op, PointsOp) for name in op.names]
    assert names == wide().names


def test_a_divided_row_is_continued_where_it_was_left() -> None:
    found = list(slices(Batch(1, 2, [wide(2)]), 0, MAX_SERIES))
    assert [(each.last_seq, each.partial) for each in found] == [
        (0, 2 * MAX_SERIES),
        (1, 0),
        (1, MAX_SERIES),
        (1, 2 * MAX_SERIES),
        (2, 0),
    ]


if TYPE_CHECKING:
    _Offsets = array[int]
else:
    _Offsets = array  # takes no argument of type before Python 3.12


class _CountedOffsets(_Offsets):
    """Offsets that count how many of them are copied."""

    copied = 0

    def __getitem__(self, at: Any) -> Any:
        if not isinstance(at, slice):
            return super().__getitem__(at)
        found = _CountedOffsets(self.typecode, super().__getitem__(at))
        _CountedOffsets.copied += len(found)
        return found


def test_a_batch_that_is_cut_very_often_copies_each_row_once() -> None:
    """Its rows would be copied thousands of times, if each cut copied those behind it."""
    count = 8_000
    rows = points(TRIAL, m=[0.0] * count)
    scattered = replace(rows, offsets=_CountedOffsets("I", range(0, 2 * count, 2)))
    calls = [CallOp(offset, "add_trial_tags", {}) for offset in range(1, 2 * count, 2)]
    _CountedOffsets.copied = 0
    assert len(list(slices(Batch(1, 2 * count, [scattered, *calls]), 0))) >= count // MAX_CALLS
    assert _CountedOffsets.copied <= count
