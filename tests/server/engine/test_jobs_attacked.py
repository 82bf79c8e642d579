"""Records that fail and records of very many series: each is stored as a whole or not at all."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine_calls import Caller, points, writer_held
from faulty_store import FaultyStore
from track_protocol.errors import InternalError, ItemNotFound, StoreFull, UnknownMethod
from track_protocol.wire.batch import METRIC, SUPERSEDED, Batch, CallOp, Op, PointsOp
from track_protocol.wire.columns import pack
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.engine.jobs import UNFINISHED, BatchJob
from track_server.engine.slices import MAX_CALLS, MAX_SERIES
from track_server.methods.dispatch import LOGS
from track_server.storage import unit_of_work
from track_server.storage.contract import Changes, Lease, Points
from track_server.storage.ephemeral import EphemeralStore
from track_server.storage.sqlite.store import open_store as open_sqlite
from track_server.storage.unit_of_work import UnitOfWork, begin


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(EphemeralStore())
    yield engine
    engine.close()


@pytest.fixture
def caller(engine: Engine) -> Caller:
    return Caller(engine)


# -- records that fail -----------------------------------------------------------------------------


class _Partial(FaultyStore):
    """A store with a fault: a rewind to step 13 fails behind its last change."""

    def before_flush(self, changes: Changes) -> None:
        for document in changes.trials.values():
            rewinds = document.get("metadata", {}).get("rewinds", [])
            if any(each["step"] == 13 for each in rewinds):
                raise RuntimeError("a fault of the server")


FAULTY = 1_000


def _faulty_batch(first: int, trial: bytes, faulty: int) -> Batch:
    """Records that fail, each behind a good one: for what they are, or behind a change."""
    ops: list[Op] = []
    for number in range(faulty):
        ops.append(points(trial, 2 * number, [number], loss=[float(number)]))
        kinds = (
            CallOp(2 * number + 1, "no_such_call", {}),
            CallOp(2 * number + 1, "rewind_trial", {"trial": trial, "step": 13, "time": 1.0}),
            CallOp(2 * number + 1, "add_trial_tags", {"trial": "nobody_0", "tags": {}}),
        )
        ops.append(kinds[number % len(kinds)])
    return Batch(first, 2 * faulty, ops)


def test_a_thousand_faulty_records_are_quarantined_one_by_one_and_the_good_ones_land() -> None:
    engine = Engine(_Partial())
    caller = Caller(engine)
    trial = caller.new_trial()["id"]
    outcome = caller.batch(_faulty_batch(2, trial, FAULTY))
    assert outcome.last_seq == 2 * FAULTY + 1
    assert [each.seq for each in outcome.rejected] == list(range(3, 2 * FAULTY + 2, 2))
    codes = [UnknownMethod.code, InternalError.code, ItemNotFound.code]
    assert [each.code for each in outcome.rejected] == [codes[number % 3] for number in range(FAULTY)]
    assert caller.values(trial, limit=2 * FAULTY) == [float(number) for number in range(FAULTY)]
    assert "rewinds" not in caller.trial(trial)["metadata"]
    with engine.store.snapshot() as view:
        assert view.points(trial, SUPERSEDED, "loss", 0, 1) is None
    engine.close()


def test_faulty_records_cost_linear_time() -> None:
    def seconds(faulty: int) -> float:
        engine = Engine(_Partial())
        caller = Caller(engine)
        trial = caller.new_trial()["id"]
        begun = time.process_time()
        assert len(caller.batch(_faulty_batch(2, trial, faulty)).rejected) == faulty
        engine.close()
        return time.process_time() - begun

    seconds(50)
    assert seconds(1_200) < 5 * 8 * seconds(150)


def test_a_record_that_fails_behind_a_change_leaves_nothing_of_it(
    engine: Engine, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = caller.new_trial()["id"]
    before = caller.trial(trial)

    def tag_and_fail(tx: UnitOfWork, by: bytes, trial: bytes, **arguments: Any) -> None:
        tx.update_trial(trial, {"tags": {"half": "done"}})
        tx.append_points(trial, METRIC, "half", None, Points(pack([1]), pack([1.0]), pack([1.0])))
        tx.put_lease(Lease(trial, by))
        assert tx.trial(trial) is not None  # which flushes all of it
        raise ZeroDivisionError("a fault put in")

    monkeypatch.setitem(LOGS, "log_trial_start", tag_and_fail)
    outcome = caller.log(
        CallOp(0, "add_trial_tags", {"trial": trial, "tags": {"whole": 1}}),
        CallOp(1, "log_trial_start", {"trial": trial, "time": 1.0}),
        points(trial, 2, loss=[1.0]),
    )
    assert [(each.seq, each.code) for each in outcome.rejected] == [(3, InternalError.code)]
    after = caller.trial(trial)
    assert (after["tags"], list(after["metrics"])) == ({"whole": 1}, ["loss"])
    assert after["status"] == before["status"]
    with engine.store.snapshot() as view:
        assert view.leases(trial) == []


class _FullOnce(FaultyStore):
    """A store whose disk is full for once, when it is to write the tag that is named."""

    tag = ""

    def before_flush(self, changes: Changes) -> None:
        if self.tag and any(self.tag in each.get("tags", {}) for each in changes.trials.values()):
            self.tag = ""
            raise StoreFull("no space is left")


@pytest.mark.parametrize("calls", [2 * MAX_CALLS, 3 * MAX_CALLS])
def test_a_part_of_a_batch_that_fails_beside_others_is_applied_behind_the_failure(
    calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("track_server.engine.jobs._SLICE_S", -1.0)
    store = _FullOnce()
    engine = Engine(store)
    caller, other = Caller(engine), Caller(engine)
    trial = caller.new_trial()["id"]
    ops = [CallOp(n, "add_trial_tags", {"trial": trial, "tags": {f"t{n}": n}}) for n in range(calls)]
    ops[MAX_CALLS + 1] = CallOp(MAX_CALLS + 1, "rewind_trial", {"trial": trial, "step": 3, "time": 1.0})
    store.tag = f"t{MAX_CALLS}"
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with writer_held(engine):
        engine.submit_batch(caller.writer, Batch(2, calls, list(ops)), told.put)
        for first in range(1, 300):  # more than are in one transaction
            engine.submit_batch(other.writer, Batch(first, 1, [points(trial, loss=[1.0])]), lambda _: None)
    assert told.get(timeout=30) == Acked(calls + 1)
    after = caller.trial(trial)
    assert after["tags"] == {f"t{n}": n for n in range(calls) if n != MAX_CALLS + 1}
    assert len(after["metadata"]["rewinds"]) == 1
    engine.close()


class _Refusing(FaultyStore):
    """A store with a fault: it refuses to write what is rejected, and trials of a hash."""

    def before_flush(self, changes: Changes) -> None:
        hashes = {each["hash"] for each in changes.new_trials.values()}
        if changes.rejected or "refused" in hashes:
            raise RuntimeError("a fault of the server")


def test_a_rejected_record_that_the_store_refuses_to_keep_blocks_nothing() -> None:
    engine = Engine(_Refusing())
    caller = Caller(engine)
    trial = caller.new_trial()["id"]
    outcome = caller.log(CallOp(0, "no_such_call", {}), points(trial, 1, loss=[1.0]))
    assert (outcome.last_seq, [each.seq for each in outcome.rejected]) == (3, [2])
    assert caller.values(trial) == [1.0]
    engine.close()


def test_a_call_that_the_store_refuses_is_answered_and_uses_its_number_up() -> None:
    engine = Engine(_Refusing())
    caller = Caller(engine)
    with pytest.raises(InternalError, match="a fault of the server"):
        caller.new_trial("refused")
    assert engine.last_seq(caller.writer) == 1
    assert caller.new_trial("accepted")["revision"] == 0
    engine.close()


# -- records of very many series --------------------------------------------------------------------


def _wide(trial: bytes, width: int, offset: int = 0) -> PointsOp:
    return points(trial, offset, [offset], **{f"m{number}": [float(offset)] for number in range(width)})


def test_a_record_of_very_many_series_is_stored_bit_by_bit_and_others_have_their_turn(
    engine: Engine, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("track_server.engine.jobs._SLICE_S", -1.0)
    trial, other = caller.new_trial()["id"], Caller(engine)
    width = 3 * MAX_SERIES
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with writer_held(engine):
        rows = Batch(2, 2, [_wide(trial, width), _wide(trial, width, 1)])
        engine.submit_batch(caller.writer, rows, told.put)
        engine.submit_batch(other.writer, Batch(1, 1, [points(trial, loss=[1.0])]), told.put)
    assert [told.get(timeout=30) for _ in range(2)] == [Acked(1), Acked(3)]
    metrics = caller.trial(trial)["metrics"]
    assert [metrics[f"m{number}"]["count"] for number in range(width)] == [2] * width


def test_a_record_that_was_stored_in_part_is_continued_when_it_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("track_server.engine.jobs._SLICE_S", -1.0)
    store = open_sqlite(tmp_path / "runs.db", exclusive=False)
    width = 2 * MAX_SERIES + 7
    engine = Engine(store)
    caller = Caller(engine)
    trial = caller.new_trial()["id"]
    batch = Batch(2, 1, [_wide(trial, width)])
    job = BatchJob(caller.writer, batch, lambda outcome: None)
    other = open_sqlite(tmp_path / "runs.db", exclusive=False)
    tx = begin(other)
    assert job.run(tx) is UNFINISHED  # and then the process is killed
    tx.commit()
    assert caller.trial(trial)["metrics"].keys() == {f"m{number}" for number in range(MAX_SERIES)}
    assert caller.batch(batch) == Acked(2)
    assert [each["count"] for each in caller.trial(trial)["metrics"].values()] == [1] * width
    other.close()
    engine.close()


def test_a_row_of_very_many_series_is_rejected_as_a_whole(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    wide = _wide(trial, 2 * MAX_SERIES)
    outcome = caller.log(replace(wide, names=[*wide.names[:-1], ""]), points(trial, 1, loss=[1.0]))
    assert [each.seq for each in outcome.rejected] == [2]
    assert list(caller.trial(trial)["metrics"]) == ["loss"]


# -- jobs that would take too long -----------------------------------------------------------------


def test_a_rewind_of_very_many_points_is_refused_before_anything_is_read(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_of_work, "_MAX_REWOUND_POINTS", 5)
    large, small = caller.new_trial("large")["id"], caller.new_trial("small")["id"]
    for trial, count in ((large, 6), (small, 5)):
        assert caller.log(points(trial, loss=[0.5] * count)).rejected == []
    rejected = caller.rejection("rewind_trial", trial=large, step=2.0, time=1.0)
    assert (rejected.code, "6 points, more than 5" in rejected.message) == ("bad-value", True)
    assert (len(caller.values(large)), caller.trial(large)["metadata"].get("rewinds")) == (6, None)
    caller.logged("rewind_trial", trial=small, step=2.0, time=1.0)
    assert len(caller.values(small)) == 3


def test_metadata_that_grows_for_ever_is_refused_and_what_is_around_it_is_stored(
    engine: Engine, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_of_work, "_MAX_JSON_CHARS", 10_000)
    id = caller.new_trial()["id"]
    texts = {"a": "x" * 4_000, "b": "x" * 4_000, "c": "x" * 4_000, "d": "small"}
    ops = [
        CallOp(at, "log_trial_metadata", {"trial": id, "metadata": {name: text}})
        for at, (name, text) in enumerate(texts.items())
    ]
    (rejected,) = caller.log(*ops).rejected
    assert (rejected.seq, rejected.code) == (caller.seq - 1, "bad-value")
    assert "log large values as files" in rejected.message
    assert set(texts) & set(caller.trial(id)["metadata"]) == {"a", "b", "d"}
    caller.logged("log_trial_start", trial=id, time=1.0)
