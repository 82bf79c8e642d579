"""A batch in portions is the batch: nothing missing, nothing twice, in order."""

from __future__ import annotations

from array import array
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from engine_calls import points
from track_protocol.wire.batch import Batch, CallOp, Op, PointsOp
from track_protocol.wire.columns import unpack
from track_server.engine.slices import PORTION, portions

TRIAL = b"0123456789abcdef"
FIRST = 7


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Calls, and rows that are scattered among them and tell which record they are of."""
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
def test_portions_hold_each_new_record_once_and_up_to_their_ends(batch: Batch, last_seq: int) -> None:
    seen: list[int] = []
    ends = [FIRST + max(-1, last_seq - FIRST)]
    for end, ops in portions(batch, last_seq):
        for seq, op in ops:
            assert FIRST + records(op)[0] == seq
            assert all(min(ends[-1], seq) <= FIRST + record <= end for record in records(op))
            seen += [FIRST + record for record in records(op)]
        assert sorted(seen) == list(range(max(FIRST, last_seq + 1), end + 1))
        ends.append(end)
    assert ends[-1] == batch.last


def test_points_alone_are_one_portion() -> None:
    rows = points(TRIAL, m=[0.0] * 10)
    ops: list[Op] = [replace(rows, offsets=array("I", range(each, 1000, 100))) for each in range(100)]
    ((end, found),) = portions(Batch(1, 1000, ops), 0)
    assert (end, [op for _, op in found]) == (1000, ops)


def test_a_batch_of_few_calls_is_one_portion() -> None:
    ops: list[Op] = [CallOp(offset, "add_trial_tags", {}) for offset in range(PORTION)]
    ((end, found),) = portions(Batch(1, PORTION, ops), 0)
    assert (end, [op for _, op in found]) == (PORTION, ops)


def test_operations_of_one_record_stay_together() -> None:
    ops: list[Op] = [CallOp(number // 40, "add_trial_tags", {}) for number in range(80)]
    assert [len(found) for _, found in portions(Batch(1, 2, ops), 0)] == [40, 40]
