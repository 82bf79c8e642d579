"""Records that fail and records of very many series: each is stored completely or not at all."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine_calls import Caller, points, writer_held
from faulty_store import FaultyStore
from track_protocol.errors import InternalError, ItemNotFound, StoreFull, UnknownMethod
from track_protocol.query.parse import parse_query
from track_protocol.wire.batch import METRIC, SUPERSEDED, Batch, CallOp, Op, PointsOp
from track_protocol.wire.columns import pack
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.engine.jobs import UNFINISHED, BatchJob
from track_server.engine.slices import MAX_CALLS, MAX_SERIES
from track_server.methods.dispatch import LOGS
from track_server.storage import unit_of_work
from track_server.storage.contract import MAX_REJECTED, Changes, Lease, Points
from track_server.storage.ephemeral import EphemeralStore
from track_server.storage.sqlite.store import open_store as open_sqlite
from track_server.storage.unit_of_work import UnitOfWork, begin
from track_server.storage.write_limits import WriteLimits
from track_server.testing.store_support import trial as trial_document
from work_counter import lines_of


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


def _unwritten_batch(first: int, trial: bytes, faulty: int) -> Batch:
    """Records that fail when they have read the trial, each behind a new series that is written first."""
    ops: list[Op] = []
    for number in range(faulty):
        ops.append(points(trial, 2 * number, [number], **{f"m{number}": [1.0]}))
        ops.append(CallOp(2 * number + 1, "log_trial_start", {"trial": trial, "time": 1.0}))
    return Batch(first, 2 * faulty, ops)


def _read_and_fail(tx: UnitOfWork, by: bytes, trial: bytes, **arguments: Any) -> None:
    assert tx.trial(trial) is not None  # which flushes what is before this record
    raise ZeroDivisionError("a fault put in")


@pytest.mark.parametrize("batch_of", [_faulty_batch, _unwritten_batch])
def test_faulty_records_cost_linear_time(batch_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # All in one transaction: counting lines takes so long that it would be divided, and the cost bounded.
    monkeypatch.setattr("track_server.engine.jobs._SLICE_S", 3_600.0)
    monkeypatch.setitem(LOGS, "log_trial_start", _read_and_fail)

    def quarantine(faulty: int) -> None:
        engine = Engine(_Partial())
        caller = Caller(engine)
        trial = caller.new_trial()["id"]
        assert len(caller.batch(batch_of(2, trial, faulty)).rejected) == faulty
        engine.close()

    assert lines_of(lambda: quarantine(160)) < 2 * 8 * lines_of(lambda: quarantine(20))


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
        CallOp(0, "add_trial_tags", {"trial": trial, "tags": {"complete": 1}}),
        CallOp(1, "log_trial_start", {"trial": trial, "time": 1.0}),
        points(trial, 2, loss=[1.0]),
    )
    assert [(each.seq, each.code) for each in outcome.rejected] == [(3, InternalError.code)]
    after = caller.trial(trial)
    assert (after["tags"], list(after["metrics"])) == ({"complete": 1}, ["loss"])
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
    reported: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with writer_held(engine):
        engine.submit_batch(caller.writer, Batch(2, calls, list(ops)), reported.put)
        for first in range(1, 300):  # more than are in one transaction
            engine.submit_batch(other.writer, Batch(first, 1, [points(trial, loss=[1.0])]), lambda _: None)
    assert reported.get(timeout=30) == Acked(calls + 1)
    after = caller.trial(trial)
    assert after["tags"] == {f"t{n}": n for n in range(calls) if n != MAX_CALLS + 1}
    assert len(after["metadata"]["rewinds"]) == 1
    engine.close()


def test_a_batch_of_very_many_rejected_records_is_answered_alike_when_it_comes_again(
    caller: Caller,
) -> None:
    trial = caller.new_trial()["id"]
    count = MAX_REJECTED + 50
    ops: list[Op] = [CallOp(2 * n, ("no_such_call", "commit")[n % 2], {}) for n in range(count)]
    ops += [points(trial, 2 * n + 1, [n], loss=[1.0]) for n in range(count)]
    batch = Batch(2, 2 * count, ops)
    first, again = caller.batch(batch), caller.batch(batch)
    assert len(first.rejected) == count
    assert first.last_seq == again.last_seq == 2 * count + 1
    assert sorted((each.seq, each.code) for each in again.rejected) == [
        (each.seq, each.code) for each in sorted(first.rejected, key=lambda each: each.seq)
    ]


class _Refusing(FaultyStore):
    """A store with a fault: it refuses to write what is rejected, and trials of a hash."""

    def before_flush(self, changes: Changes) -> None:
        hashes = {each["hash"] for each in changes.new_trials.values()}
        if changes.rejected or "refused" in hashes:
            raise RuntimeError("a fault of the server")


def test_a_rejected_record_that_the_store_refuses_to_store_blocks_nothing() -> None:
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


def test_a_change_of_the_servers_own_that_the_store_refuses_says_so() -> None:
    engine = Engine(_Refusing())
    reported: queue.SimpleQueue[Any] = queue.SimpleQueue()
    document = trial_document(hash="refused")
    engine.submit_change(lambda tx: tx.add_trial(document), reported.put)
    outcome = reported.get(timeout=30)
    assert (type(outcome), "change of its own" in str(outcome)) == (InternalError, True)
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
    reported: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with writer_held(engine):
        rows = Batch(2, 2, [_wide(trial, width), _wide(trial, width, 1)])
        engine.submit_batch(caller.writer, rows, reported.put)
        engine.submit_batch(other.writer, Batch(1, 1, [points(trial, loss=[1.0])]), reported.put)
    assert [reported.get(timeout=30) for _ in range(2)] == [Acked(1), Acked(3)]
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


def test_a_row_of_very_many_series_is_rejected_completely(caller: Caller) -> None:
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


class _Slow(FaultyStore):
    """A store of which each flush takes a while."""

    def before_flush(self, changes: Changes) -> None:
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            pass


def _search(tx: UnitOfWork, by: bytes, **arguments: Any) -> None:
    tx.trials(parse_query({"$or": [{"name": {"$contains": f"y{number}"}} for number in range(50)]}))


def _change_for_ever(tx: UnitOfWork, by: bytes, trial: bytes, **arguments: Any) -> None:
    while True:
        tx.update_trial(trial, {"name": "changed"})


@pytest.mark.parametrize(("work", "seconds"), [(_search, 0.0), (_change_for_ever, 0.05)])
def test_a_record_that_takes_very_long_is_rejected_and_what_is_around_it_is_stored(
    work: Any, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(EphemeralStore(), limits=WriteLimits(record_seconds=seconds))
    caller = Caller(engine)
    trial, *_ = [caller.new_trial(name="x" * 50)["id"] for _ in range(600)]
    monkeypatch.setitem(LOGS, "log_trial_start", work)
    outcome = caller.log(
        CallOp(0, "log_trial_start", {"trial": trial, "time": 1.0}),
        points(trial, 1, loss=[1.0]),
        CallOp(2, "add_trial_tags", {"trial": trial, "tags": {"stored": True}}),
    )
    (rejected,) = outcome.rejected
    assert (rejected.seq, rejected.code) == (601, "bad-value")
    assert "of the store's time" in rejected.message
    assert "divide it" in rejected.message
    assert caller.values(trial) == [1.0]
    assert (caller.trial(trial)["name"], caller.trial(trial)["tags"]) == ("x" * 50, {"stored": True})
    engine.close()


def test_a_record_is_not_rejected_for_the_time_that_earlier_ones_take_to_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look(tx: UnitOfWork, by: bytes, trial: bytes, **arguments: Any) -> None:
        assert tx.trial(trial) is not None  # which flushes what is before it
        tx.check_time()

    monkeypatch.setitem(LOGS, "log_trial_start", look)
    engine = Engine(_Slow(), limits=WriteLimits(record_seconds=0.05))
    caller = Caller(engine)
    trial = caller.new_trial()["id"]
    start = CallOp(1, "log_trial_start", {"trial": trial, "time": 1.0})
    assert caller.log(points(trial, loss=[1.0]), start).rejected == []
    engine.close()


def test_a_rewind_that_takes_very_long_is_rejected_and_changes_nothing(tmp_path: Path) -> None:
    engine = Engine(open_sqlite(tmp_path / "runs.db"))
    caller = Caller(engine)
    trial = caller.new_trial()["id"]
    caller.log(points(trial, loss=[1.0, 2.0, 3.0]))
    engine.close()
    engine = Engine(open_sqlite(tmp_path / "runs.db"), limits=WriteLimits(record_seconds=0.0))
    caller = Caller(engine)
    assert caller.rejection("rewind_trial", trial=trial, step=0.0, time=9.0).code == "bad-value"
    assert caller.values(trial) == [1.0, 2.0, 3.0]
    engine.close()


def test_points_that_are_compared_with_very_many_rewinds_are_rejected(tmp_path: Path) -> None:
    engine = Engine(open_sqlite(tmp_path / "runs.db"))
    caller = Caller(engine)
    trial = caller.new_trial()["id"]
    caller.logged("rewind_trial", trial=trial, step=0.0, time=9.0)
    engine.close()
    engine = Engine(open_sqlite(tmp_path / "runs.db"), limits=WriteLimits(record_seconds=0.0))
    (rejected,) = Caller(engine).log(points(trial, loss=[1.0])).rejected
    assert rejected.code == "bad-value"
    engine.close()


class _Loading(EphemeralStore):
    """A store that notes how many trials are loaded at once."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[int] = []

    def begin(self) -> Any:
        tx = super().begin()
        load = tx.load

        def note(wanted: Any) -> Any:
            self.loaded.append(len(wanted.fields))
            return load(wanted)

        tx.load = note  # type: ignore[method-assign] # looks on
        return tx


def test_few_trials_are_loaded_before_their_records_are_applied() -> None:
    store = _Loading()
    engine = Engine(store)
    callers = [Caller(engine) for _ in range(20)]
    reported: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with writer_held(engine):
        for caller in callers:
            calls: list[Op] = [
                CallOp(n, "add_trial_tags", {"trial": uuid.uuid4().bytes, "tags": {}}) for n in range(50)
            ]
            engine.submit_batch(caller.writer, Batch(1, 50, calls), reported.put)
    assert [len(reported.get(timeout=30).rejected) for _ in callers] == [50] * 20
    assert max(store.loaded) <= 2 * MAX_CALLS
    engine.close()


# -- what a trial accumulates ---------------------------------------------------------------------------


@pytest.fixture
def narrow() -> Iterator[Caller]:
    limits = WriteLimits(series_per_trial=3, errors_per_trial=4, rewinds_per_trial=2)
    engine = Engine(EphemeralStore(), limits=limits)
    yield Caller(engine)
    engine.close()


def test_a_trial_of_very_many_series_gets_no_further_ones_but_more_points_of_its_own(narrow: Caller) -> None:
    full, other = narrow.new_trial()["id"], narrow.new_trial()["id"]
    assert narrow.log(points(full, a=[1.0], b=[1.0])).rejected == []
    (rejected,) = narrow.log(points(full, b=[2.0], c=[2.0], d=[2.0])).rejected
    assert (rejected.code, "4 series, more than 3" in rejected.message) == ("bad-value", True)
    assert narrow.log(points(full, b=[3.0], c=[3.0])).rejected == []
    text = {"kind": "text", "trial": full, "name": "t", "step": 1, "time": 1.0, "value": {"text": "x"}}
    assert narrow.rejection("log_trial_media", **text).code == "bad-value"
    assert narrow.log(points(other, d=[1.0])).rejected == []
    assert {name: each["count"] for name, each in narrow.trial(full)["metrics"].items()} == {
        "a": 1,
        "b": 2,
        "c": 1,
    }


def test_a_series_that_a_rewind_emptied_makes_room(narrow: Caller) -> None:
    trial = narrow.new_trial()["id"]
    narrow.log(points(trial, 0, [1], a=[1.0]))
    narrow.logged("rewind_trial", trial=trial, step=0.0, time=1.0)  # now it is a superseded one
    assert narrow.log(points(trial, b=[1.0], c=[1.0])).rejected == []
    assert len(narrow.log(points(trial, d=[1.0])).rejected) == 1


def test_series_are_counted_of_what_is_stored(tmp_path: Path) -> None:
    engine = Engine(open_sqlite(tmp_path / "runs.db"))
    caller = Caller(engine)
    trial = caller.new_trial()["id"]
    caller.log(points(trial, a=[1.0]))
    engine.close()
    engine = Engine(open_sqlite(tmp_path / "runs.db"), limits=WriteLimits(series_per_trial=2))
    caller = Caller(engine)
    assert [len(caller.log(points(trial, **{name: [1.0]})).rejected) for name in "abc"] == [0, 0, 1]  # type: ignore[arg-type] # names
    engine.close()


def test_of_very_many_errors_of_a_trial_the_first_and_the_newest_are_retained(narrow: Caller) -> None:
    trial = narrow.new_trial()["id"]
    status = {"value": 200, "name": "Failed"}
    for number in range(9):
        narrow.logged("set_trial_status", trial=trial, status=status, error=f"error {number}")
    assert narrow.trial(trial)["errors"] == ["error 0", "error 1", "error 7", "error 8"]


def test_a_trial_is_not_rewound_for_ever(narrow: Caller) -> None:
    trial = narrow.new_trial()["id"]
    for number in range(2):
        narrow.logged("rewind_trial", trial=trial, step=1.0, time=float(number))
    rejected = narrow.rejection("rewind_trial", trial=trial, step=1.0, time=3.0)
    assert (rejected.code, "continue in a new trial" in rejected.message) == ("bad-value", True)
    assert len(narrow.trial(trial)["metadata"]["rewinds"]) == 2
