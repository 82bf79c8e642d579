"""Rewinds against plain lists: whatever is logged and rewound, all agree and are sound."""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_calls import Caller
from engine_calls import points as points_op
from stored_trials import add_trials, committed_values, compact_all, log_points, points_of, trial_id
from track_protocol.errors import SeriesDamaged
from track_protocol.wire.batch import METRIC, SUPERSEDED, CallOp
from track_protocol.wire.columns import pack, unpack
from track_server.engine.engine import Engine
from track_server.storage.contract import Points, Series
from track_server.storage.sqlite.check import check_sqlite
from track_server.storage.sqlite.store import open_store
from track_server.storage.unit_of_work import begin
from track_server.testing.store_support import same


@dataclass(frozen=True)
class Rewound:
    """A rewind, perhaps only of what was logged before a time."""

    step: Any
    before: float | None = None

    def takes(self, at: Any, time: float) -> bool:
        return is_later(at, self.step) and (self.before is None or time < self.before)


NUMBERS = st.integers(-5, 5) | st.floats(-5, 5) | st.sampled_from([2**53 + 1, 2**62, 1e300, -0.0])
STEPS = NUMBERS | st.none() | st.booleans() | st.sampled_from(["3", (3,), math.nan, math.inf, -math.inf])
VALUES = st.floats() | st.integers(-3, 3) | st.sampled_from([None, "text", True])
TIMES = st.floats(0, 3)
BATCHES = st.tuples(
    st.sampled_from(["loss", "rate"]),
    st.lists(st.tuples(STEPS, VALUES, TIMES), min_size=1, max_size=12)
    | st.lists(st.tuples(st.integers(0, 9), st.floats(), TIMES), min_size=1, max_size=12),
)
DONE = st.sampled_from(["commit", "roll back", "maintain"])
REWINDS = st.builds(Rewound, NUMBERS, st.none() | TIMES)
ACTIONS = st.lists(BATCHES | REWINDS | DONE, max_size=12)


@dataclass
class Expected:
    """What lists say the store holds."""

    left: dict[str, list[tuple[Any, Any, float]]] = field(default_factory=lambda: defaultdict(list))
    history: dict[str, list[tuple[Any, Any, float]]] = field(default_factory=lambda: defaultdict(list))

    def rewind(self, rewound: Rewound) -> int:
        moved = 0
        for name, points in self.left.items():
            later = [point for point in points if rewound.takes(point[0], point[2])]
            self.left[name] = [point for point in points if not rewound.takes(point[0], point[2])]
            self.history[name] += later
            moved += len(later)
        return moved

    def copy(self) -> Expected:
        return Expected(
            *(defaultdict(list, {k: list(v) for k, v in d.items()}) for d in (self.left, self.history))
        )


def is_later(at: Any, step: float) -> bool:
    return type(at) in (int, float) and math.isfinite(at) and at > step


def check(view: Any, expected: Expected) -> None:
    """Points and summaries are those of the lists."""
    for kind, series in ((METRIC, expected.left), (SUPERSEDED, expected.history)):
        for name, points in series.items():
            found = view.points(trial_id(1), kind, name, 0, 1_000)
            columns = () if found is None else (found.steps, found.values, found.times)
            read = list(zip(*map(unpack, columns), strict=True))
            assert same(read, points), (kind, name)
    metrics = view.trial(trial_id(1))["metrics"]
    assert set(metrics) == {name for name, points in expected.left.items() if points}
    for name, reported in metrics.items():
        check_summary(reported, expected.left[name])


def check_summary(reported: dict[str, Any], points: list[tuple[Any, Any, float]]) -> None:
    numbers = [value for _, value, _ in points if type(value) in (int, float)]
    finite = [value for value in numbers if math.isfinite(value)]
    ends = reported["first_step"], reported["last_step"], reported["last"]
    assert same(list(ends), [points[0][0], points[-1][0], points[-1][1]])
    assert (reported["count"], reported["nonfinite"]) == (len(points), len(numbers) - len(finite))
    assert reported["stepped"] is any(step is not None for step, _, _ in points)
    assert (reported["min"], reported["max"]) == (min(finite, default=None), max(finite, default=None))
    if finite and max(map(abs, finite)) < 1e100:
        mean = math.fsum(finite) / len(finite)
        scale = 1e-9 * max(map(abs, finite))
        assert reported["mean"] == pytest.approx(mean, rel=1e-9, abs=scale)
        sd = math.sqrt(math.fsum((value - mean) ** 2 for value in finite) / len(finite))
        assert reported["sd"] == pytest.approx(sd, rel=1e-6, abs=1e3 * scale)


@given(actions=ACTIONS)
def test_whatever_is_logged_and_rewound_the_store_agrees_with_lists(actions: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        store = open_store(path, exclusive=True)
        try:
            committed = run(store, actions)
            with store.snapshot() as view:
                check(view, committed)
        finally:
            store.close()
        again = open_store(path, exclusive=True)
        with again.snapshot() as view:
            check(view, committed)
        again.close()
        assert check_sqlite(path).findings == ()


def run(store: Any, actions: list[Any]) -> Expected:
    """Do it all; what is committed in the end."""
    add_trials(store, 1)
    committed, tx = Expected(), begin(store)
    expected = committed.copy()
    for action in [*actions, "commit"]:
        if isinstance(action, tuple):
            name, rows = action
            steps, values, times = map(pack, zip(*rows, strict=True))
            tx.append_points(trial_id(1), METRIC, name, None, Points(steps, times, values))
            expected.left[name] += rows
        elif isinstance(action, str):
            if action == "roll back":
                tx.rollback()
                expected = committed
            else:
                tx.commit()
            if action == "maintain":
                store.maintain(1.0)
            committed, tx = expected, begin(store)
            expected = committed.copy()
        else:
            assert tx.rewind(trial_id(1), action.step, action.before) == expected.rewind(action)
            check(tx, expected)
    tx.rollback()
    return committed


def test_two_processes_that_have_a_store_open_rewind_and_log_in_turn(tmp_path: Path) -> None:
    one, other = open_store(tmp_path / "store"), open_store(tmp_path / "store")
    add_trials(one, 1)
    log_points(one, points_of([0.0, 1.0, 2.0, 3.0]))
    tx = begin(other)
    assert tx.rewind(trial_id(1), 1) == 2
    tx.commit()
    log_points(one, points_of([20.0], first=2))
    log_points(other, points_of([30.0], first=3))
    assert committed_values(one) == committed_values(other) == [0.0, 1.0, 20.0, 30.0]
    tx = begin(one)
    assert tx.rewind(trial_id(1), -1) == 4
    tx.commit()
    log_points(other, points_of([5.0]))
    assert committed_values(one) == committed_values(other) == [5.0]
    other.close()
    one.close()


def test_a_process_learns_of_the_rewinds_of_another_one(tmp_path: Path) -> None:
    one, other = open_store(tmp_path / "store"), open_store(tmp_path / "store")
    add_trials(one, 1)
    for store, known in ((one, []), (other, [0]), (one, [0, 1]), (other, [0, 1, 2])):
        tx = begin(store)
        assert [each.step for each in tx.rewinds(trial_id(1))] == known
        reported = [
            {"step": step, "time": 1.0, "points": 0, "session": "0a"} for step in range(len(known) + 1)
        ]
        tx.update_trial(trial_id(1), {"metadata": {"rewinds": reported}})
        assert len(tx.rewinds(trial_id(1))) == len(reported)
        tx.commit()
    other.close()
    one.close()


def test_only_chunks_with_later_steps_are_written_again(tmp_path: Path) -> None:
    store = open_store(tmp_path / "runs.db", exclusive=True)
    add_trials(store, 1)
    for first in range(0, 100, 10):
        log_points(store, points_of([0.5] * 10, first=first))
    before = chunks(tmp_path / "runs.db")
    tx = begin(store)
    tx.rewind(trial_id(1), 74)
    tx.commit()
    after = chunks(tmp_path / "runs.db")
    store.close()
    assert after[:7] == before[:7]
    assert [count for _, count, _ in after[7:]] == [5]


def test_after_a_rewind_the_store_is_sound_and_merges_on(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = open_store(path, exclusive=True)
    add_trials(store, 1)
    log_points(store, points_of([0.25 * i for i in range(40_000)]))
    compact_all(store)
    tx = begin(store)
    tx.rewind(trial_id(1), 19_999)
    tx.commit()
    rewound = check_sqlite(path)
    for first in range(20_000, 20_100):
        log_points(store, points_of([1.0], first=first))
    compact_all(store)
    compacted = check_sqlite(path)
    store.close()
    assert (rewound.findings, compacted.findings) == ((), ())
    assert (rewound.points, compacted.points, compacted.series) == (40_000, 40_100, 2)


def test_a_summary_that_is_not_made_anew_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the protection: what is left is counted, and not summarised.
    def count(series: Series, points: Points) -> None:
        series.count += len(points)

    monkeypatch.setattr("track_server.storage.rewind.add_statistics", count)
    store = open_store(tmp_path / "runs.db", exclusive=True)
    add_trials(store, 1)
    log_points(store, points_of([0.25 * i for i in range(100)]))
    tx = begin(store)
    tx.rewind(trial_id(1), 49)
    tx.commit()
    store.close()
    assert check_sqlite(tmp_path / "runs.db").findings != ()


def test_with_a_damaged_chunk_nothing_is_rewound_and_the_transaction_continues(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = open_store(path, exclusive=False)
    add_trials(store, 1)
    log_points(store, points_of([0.5] * 10), name="sound")
    for first in (0, 10, 20):
        log_points(store, points_of([0.5] * 10, first=first))
    db = apsw.Connection(str(path))
    db.execute("UPDATE chunk SET data = zeroblob(length(data)) WHERE seq = 20")
    db.close()
    tx = begin(store)
    tx.append_points(trial_id(1), METRIC, "sound", None, points_of([1.5], first=10))
    with pytest.raises(SeriesDamaged, match="from point 20 on is damaged"):
        tx.rewind(trial_id(1), 4)
    tx.append_points(trial_id(1), METRIC, "sound", None, points_of([2.5], first=11))
    tx.commit()
    assert committed_values(store, "sound") == [*[0.5] * 10, 1.5, 2.5]
    with store.snapshot() as view:
        assert view.points(trial_id(1), SUPERSEDED, "sound", 0, 100) is None
    store.close()
    (finding,) = check_sqlite(path).findings
    assert "at point 20 is damaged" in finding


def test_a_rewind_that_meets_damage_is_rejected_and_blocks_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "runs.db", exclusive=False)
    engine = Engine(store)
    ann = Caller(engine)
    id = ann.new_trial()["id"]
    ann.log(points_op(id, loss=[0.0, 1.0]))
    db = apsw.Connection(str(tmp_path / "runs.db"))
    db.execute("UPDATE chunk SET data = zeroblob(length(data))")
    db.close()
    rewind = CallOp(0, "rewind_trial", {"trial": id, "step": 0, "time": 1.0})
    outcome = ann.log(rewind, points_op(id, 1, rate=[0.5]))
    assert [rejected.code for rejected in outcome.rejected] == [SeriesDamaged.code]
    (trial,) = ann.read("get_trial", trial={"id": id})
    engine.close()
    assert ("rewinds" in trial["metadata"], trial["metrics"]["rate"]["count"]) == (False, 1)


def chunks(path: Path) -> list[tuple[int, int, bytes]]:
    """Ordinal, count and bytes of the metric's chunks."""
    db = apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)
    kept = "SELECT id FROM series WHERE kind = 'metric'"
    try:
        found: Any = db.execute(
            f"SELECT seq, count, data FROM chunk WHERE series IN ({kept}) ORDER BY seq"  # noqa: S608 # all ours
        ).fetchall()
    finally:
        db.close()
    return list(found)
