"""Points of a batch reach their series, or are rejected."""

from __future__ import annotations

from typing import Any

import pytest

from engine_calls import Caller, points
from track_protocol.errors import ItemNotFound


def test_points_are_read_back_in_the_order_they_came(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.log(points(id, steps=[3, 1], loss=[0.5, 0.25], name=["a", "b"]))
    assert ann.values(id, "loss") == [0.5, 0.25]
    assert ann.values(id, "name") == ["a", "b"]


def test_points_with_a_name_that_cannot_be_are_rejected_as_a_whole(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    acked = ann.log(points(id, 0, None, **{"loss": [1.0], "x" * 300: [2.0]}))
    assert [rejected.code for rejected in acked.rejected] == ["bad-value"]
    with pytest.raises(ItemNotFound):
        ann.read("fetch_metrics", trial=id, name="loss")


@pytest.mark.parametrize("step", [{"a": 1}, (1, [{}]), b"x"])
def test_points_whose_step_no_reader_can_use_as_a_key_are_rejected(ann: Caller, step: Any) -> None:
    id = ann.new_trial()["id"]
    acked = ann.log(points(id, steps=[step], loss=[1.0]))
    assert [rejected.code for rejected in acked.rejected] == ["bad-value"]


def test_points_of_no_trial_are_rejected_and_the_rest_is_stored(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    acked = ann.log(points(b"\0" * 16, loss=[1.0]), points(id, 1, loss=[2.0]), count=2)
    assert [(rejected.seq, rejected.code) for rejected in acked.rejected] == [(2, ItemNotFound.code)]
    assert ann.values(id, "loss") == [2.0]
