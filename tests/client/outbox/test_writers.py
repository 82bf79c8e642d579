"""The functions that log points: what they queue, and what they leave out."""

from __future__ import annotations

import logging
from enum import StrEnum

import numpy as np
import pytest

from memory_link import MemoryStore
from track.outbox import Outbox
from track_protocol.wire.frames import FRAME_LIMIT

TRIAL = b"t" * 16


def values(store: MemoryStore) -> list[object]:
    return [point.value for point in store.points]


def test_what_cannot_be_stored_is_left_out_with_one_warning_for_each_reason(
    store: MemoryStore, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    write = outbox.writer(TRIAL)
    with caplog.at_level(logging.WARNING, "track"):
        for step in range(3):
            write(step, {"loss": 1.0, "huge": 2**70, "bad\nname": 1.0, "object": object()})
        outbox.flush()
    assert values(store) == [1.0, 1.0, 1.0]
    assert {point.name for point in store.points} == {"loss"}
    assert outbox.dropped == 9
    assert len(caplog.records) == 3


def test_a_step_that_cannot_be_stored_drops_its_record(store: MemoryStore, outbox: Outbox) -> None:
    outbox.writer(TRIAL)({"no": "step"}, {"loss": 1.0})
    outbox.writer(TRIAL)(2**80, {"loss": 2.0})
    outbox.writer(TRIAL)((1, "a"), {"loss": 3.0})
    outbox.flush()
    assert [(point.step, point.value) for point in store.points] == [((1, "a"), 3.0)]
    assert [method for _, _, method, _ in store.calls] == ["log_trial_dropped_points"] * 2


def test_an_array_is_read_when_it_is_logged(store: MemoryStore, outbox: Outbox) -> None:
    value = np.array([1.5])
    outbox.writer(TRIAL)(np.int64(3), {"loss": value})
    value[0] = 7.0
    outbox.flush()
    assert [(point.step, point.value) for point in store.points] == [(3, 1.5)]


def test_every_kind_of_value_survives(store: MemoryStore, outbox: Outbox) -> None:
    given = [1, 2.5, True, None, "text", [1, 2], float("inf"), -(2**63), 2**63 - 1]
    for value in given:
        outbox.writer(TRIAL)(None, {"loss": value})
    outbox.flush()
    assert values(store) == given
    assert [type(value) for value in values(store)] == [type(value) for value in given]


def test_no_batch_is_larger_than_a_frame(store: MemoryStore, outbox: Outbox) -> None:
    wide = {f"m{index}": float(index) for index in range(2_500)}
    for step in range(5):
        outbox.writer(TRIAL)(step, wide)
        outbox.writer(TRIAL)(step, {"long": [0.5] * 40_000})
        outbox.writer(TRIAL)(step, {"text": "x" * 60_000})
        outbox.writer(TRIAL)(step, {"one": [0.5] * 40_000, "other": [0.5] * 40_000})
    outbox.flush()
    assert store.largest < FRAME_LIMIT
    assert len(store.points) == 5 * 2_504
    assert outbox.dropped == 0


def test_a_call_that_no_frame_can_carry_is_dropped_and_reported(
    store: MemoryStore, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.log("log_trial_metadata", {"trial": TRIAL, "metadata": {"matrix": [[0.5] * 10_000] * 20}})
    outbox.log("add_trial_tags", {"trial": TRIAL, "tags": {"a": 1}})
    outbox.flush()
    assert [method for _, _, method, _ in store.calls] == ["log_trial_dropped_points", "add_trial_tags"]
    assert (outbox.dropped, "log_trial_metadata: 1," in caplog.text) == (1, True)


def test_thousands_of_long_names_in_a_call_are_all_stored(outbox: Outbox, store: MemoryStore) -> None:
    names = [f"{'m' * 240}{number}" for number in range(5_000)]
    for _ in range(2):
        outbox.writer(TRIAL)(None, dict.fromkeys(names, 1.0))
    outbox.flush(20.0)
    assert (len(store.points), outbox.dropped) == (10_000, 0)
    assert store.largest <= FRAME_LIMIT


def test_names_from_an_enumeration_are_stored(outbox: Outbox, store: MemoryStore) -> None:
    class Metric(StrEnum):
        LOSS = "loss"

    outbox.writer(TRIAL)(None, {Metric.LOSS: 1.0})
    outbox.flush(5.0)
    assert [(point.name, outbox.dropped) for point in store.points] == [("loss", 0)]
