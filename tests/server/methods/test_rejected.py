"""Records that can never be stored are quarantined, with what is needed to understand them."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from engine_calls import Caller, points
from track_protocol.errors import BadArguments, ItemNotFound, UnknownMethod
from track_protocol.model.rejected import Rejected, rejected_from_document
from track_protocol.wire.batch import CallOp
from track_protocol.wire.codec import decode, encode
from track_server.engine.engine import Engine
from track_server.methods.rejected import MAX_CONTENT_BYTES, POINTS, runs_of
from track_server.storage.ephemeral import EphemeralStore

UNKNOWN = b"?" * 16


@pytest.fixture
def caller() -> Iterator[Caller]:
    engine = Engine(EphemeralStore())
    yield Caller(engine)
    engine.close()


def quarantined(caller: Caller, **arguments: Any) -> list[Rejected]:
    return list(map(rejected_from_document, caller.read("fetch_rejected", **arguments)))


def test_numbers_are_written_as_runs() -> None:
    assert runs_of([3, 4, 5, 9, 11, 12]) == ((3, 5), (9, 9), (11, 12))
    assert runs_of([]) == ()


def test_points_are_retained_as_they_came(caller: Caller) -> None:
    caller.new_trial()
    op = points(UNKNOWN, loss=[1.0, 2.0], accuracy=[0.5, 0.75])
    before = time.time()
    caller.log(op)
    (record,) = quarantined(caller)
    assert (record.session, record.user, record.runs) == (caller.writer.sid, "ann", ((2, 3),))
    assert (record.method, record.trial, record.names) == (POINTS, UNKNOWN, ("loss", "accuracy"))
    assert (record.points, record.records, record.code) == (4, 2, ItemNotFound.code)
    assert before <= record.time <= time.time()
    assert record.complete
    assert decode(record.content)[8] == [list(column) for column in op.values]


def test_a_call_is_retained_as_it_came(caller: Caller) -> None:
    trial = caller.new_trial()
    caller.log(CallOp(0, "add_trial_tags", {"trial": trial["uid"], "tags": 5}))
    caller.log(CallOp(0, "no_such_call", {"trial": 5}))
    wrong, unknown = quarantined(caller)
    assert (wrong.method, wrong.trial, wrong.points) == ("add_trial_tags", trial["id"], 1)
    assert (wrong.code, unknown.code) == (BadArguments.code, UnknownMethod.code)
    assert decode(wrong.content)[2:] == ["add_trial_tags", {"trial": trial["uid"], "tags": 5}]
    assert (unknown.method, unknown.trial) == ("no_such_call", None)


def test_scattered_records_keep_their_numbers(caller: Caller) -> None:
    caller.new_trial()
    scattered = replace(points(UNKNOWN, loss=[1.0, 2.0, 3.0]), offsets=array("I", [0, 1, 4]))
    outcome = caller.log(scattered, count=5)
    assert [rejection.seq for rejection in outcome.rejected] == [2, 3, 6]
    assert quarantined(caller)[0].runs == ((2, 3), (6, 6))


def test_of_a_long_record_the_head_is_retained(caller: Caller) -> None:
    caller.log(points(UNKNOWN, loss=[0.5] * 20_000))
    (record,) = quarantined(caller)
    assert (len(record.content), record.complete, record.points) == (MAX_CONTENT_BYTES, False, 20_000)
    assert record.size > 320_000


def test_what_was_rejected_for_one_trial_can_be_asked_for(caller: Caller) -> None:
    trial = caller.new_trial()
    caller.log(points(UNKNOWN, loss=[1.0]))
    caller.log(CallOp(0, "add_trial_tags", {"trial": trial["id"], "tags": 5}))
    for given in (trial["id"], trial["uid"]):
        assert [record.method for record in quarantined(caller, trial=given)] == ["add_trial_tags"]
    with pytest.raises(ItemNotFound):
        quarantined(caller, trial="nobody_0")


def test_what_was_rejected_is_given_in_pages(caller: Caller) -> None:
    for _ in range(300):
        caller.log(points(UNKNOWN, loss=[1.0]))
    assert len(quarantined(caller, limit=10_000)) == 256
    assert [record.first for record in quarantined(caller, start=256)] == list(range(257, 301))


def test_pages_of_long_records_are_shorter(caller: Caller) -> None:
    names = [f"{number:04}{'n' * 240}" for number in range(3_000)]
    one = points(UNKNOWN, loss=[1.0])
    for _ in range(40):
        caller.log(replace(one, names=names, values=one.values * len(names)))
    found: list[Rejected] = []
    while page := caller.read("fetch_rejected", start=len(found)):
        assert len(encode(page)) < 16 * 1024 * 1024
        found += map(rejected_from_document, page)
    assert [record.first for record in found] == list(range(1, 41))


class _Unreadable(EphemeralStore):
    """A store with a fault: no trial can be read, nor found by its uid, once `broken` is set."""

    broken = False

    def begin(self) -> Any:
        tx = super().begin()
        fields = tx.trial_fields

        def fail(id: bytes | str) -> Any:
            if self.broken:
                raise RuntimeError("a fault of the server")
            return fields(id) if isinstance(id, bytes) else None

        tx.trial_fields = tx.trial_id = fail  # type: ignore[method-assign, assignment] # a fault put in
        return tx


def test_a_loss_that_cannot_be_counted_blocks_nothing() -> None:
    store = _Unreadable()
    engine = Engine(store)
    caller = Caller(engine)
    trial = caller.new_trial()["id"]
    store.broken = True
    tags = CallOp(0, "add_trial_tags", {"trial": trial, "tags": {}})
    outcome = caller.log(tags, points(trial, offset=1, loss=[1.0]))
    assert [rejection.seq for rejection in outcome.rejected] == [2]
    assert len(caller.read("fetch_metrics", trial=trial, name="loss")["values"]) == 2
    assert [record.trial for record in quarantined(caller)] == [trial]
    unfound = CallOp(0, "add_trial_tags", {"trial": "h_0", "tags": {}})
    assert caller.log(unfound).last_seq == 4
    assert [record.trial for record in quarantined(caller)] == [trial, None]
    engine.close()
