"""Columns of series that have outlines: compared with every point, and with what damages or lacks them."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqlite_tables import rows
from stored_trials import add_trials, compact_all, log_points, points_of, trial_id
from track_protocol.errors import StoreCorrupt, TooBusy, TrackError
from track_protocol.query.tree import is_number
from track_protocol.wire.batch import METRIC
from track_protocol.wire.columns import pack, unpack
from track_server.storage.chart_columns import ARRAYS
from track_server.storage.contract import Points, View
from track_server.storage.ephemeral import EphemeralStore
from track_server.storage.sqlite.check import check_sqlite
from track_server.storage.sqlite.store import SqliteStore, open_store
from track_server.storage.unit_of_work import begin
from track_server.testing.store_charts import expected_chart, numbers_in

KEY = (trial_id(), METRIC, "loss")
Window = tuple[float | None, float | None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = open_store(path, exclusive=True)
    add_trials(opened, 1)
    yield opened
    opened.close()


@pytest.fixture
def outlined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outlines stand for points however few these are."""
    monkeypatch.setattr("track_server.storage.sql.charts._IN_FULL_POINTS", 0)


def chart(view: Any, axis: str, low: float | None, high: float | None, width: int) -> Any:
    (found,) = view.chart_columns([KEY], view.chart_window([KEY], axis, low, high, width))
    if isinstance(found, TrackError):
        raise found
    return {name: numbers_in(value) if name in ARRAYS else value for name, value in found.items()}


def committed(store: SqliteStore, axis: str = "step", window: Window = (None, None), width: int = 10) -> Any:
    with store.snapshot() as view:
        return chart(view, axis, *window, width)


def stored(view: View) -> list[tuple[Any, float, Any]]:
    """Steps, times and values of all points."""
    points = view.points(*KEY, 0, 10**9)
    assert points is not None
    return list(zip(*map(unpack, (points.steps, points.times, points.values)), strict=True))


def places(points: list[tuple[Any, float, Any]], axis: str) -> list[float]:
    if axis == "ordinal":
        return list(map(float, range(len(points))))
    if axis == "step":
        return [float(step) for step, _, _ in points]
    origin = min(time for _, time, _ in points) if axis == "relative" else 0.0
    return [time - origin for _, time, _ in points]


def number(value: Any) -> float:
    return float(value) if is_number(value) else math.nan


def check_against_points(view: Any, axis: str, low: float | None, high: float | None, width: int) -> Any:
    """Compare columns with all points that the same snapshot has."""
    points = stored(view)
    found = chart(view, axis, low, high, width)
    at = places(points, found["axis"])
    within = [
        number(point[2])
        for place, point in zip(at, points, strict=True)
        if found["low"] <= place <= found["high"]
    ]
    finite = list(filter(math.isfinite, within))
    assert found["total"] == len(points)
    assert found["count"] == sum(found["count_of"]) == len(within)
    assert sum(found["nonfinite"]) == len(within) - len(finite)
    least, greatest = least_and_greatest(found)
    assert (least, greatest) == ((min(finite), max(finite)) if finite else (math.inf, -math.inf))
    assert found["x"] == sorted(found["x"])
    assert all(found["low"] <= x <= found["high"] for x in found["x"])
    if finite:
        weights = [
            count - others for count, others in zip(found["count_of"], found["nonfinite"], strict=True)
        ]
        total = math.fsum(
            mean * weight for mean, weight in zip(found["mean"], weights, strict=True) if weight
        )
        assert total / len(finite) == pytest.approx(
            math.fsum(finite) / len(finite), abs=1e-6 * max(map(abs, finite)) + 1e-300
        )
    return found


def least_and_greatest(found: Any) -> tuple[float, float]:
    known = [i for i, least in enumerate(found["min"]) if not math.isnan(least)]
    return (
        min((found["min"][i] for i in known), default=math.inf),
        max((found["max"][i] for i in known), default=-math.inf),
    )


VALUES = st.one_of(
    st.floats(-1e6, 1e6),
    st.sampled_from([math.nan, math.inf, -math.inf, None, "text", True]),
    st.integers(-9, 9),
)
BATCHES = st.tuples(
    st.just("log"),
    st.integers(1, 600),  # points
    st.integers(1, 5),  # distance of steps
    st.lists(VALUES, min_size=1, max_size=12),  # repeated
    st.floats(-2.0, 5.0),  # distance of times
)
ACTIONS = st.one_of(
    BATCHES, BATCHES, st.just(("compact",)), st.tuples(st.just("rewind"), st.floats(0.2, 1.0))
)
AXES = st.sampled_from(["step", "time", "relative", "ordinal"])
ENDS = st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)).map(sorted)


def act(store: Any, action: tuple[Any, ...], at: dict[str, float]) -> None:
    """Do one thing to the series; `at` has the last step and the last time."""
    if action[0] == "log":
        _, count, stride, values, pause = action
        steps = [int(at["step"]) + stride * i for i in range(1, count + 1)]
        times = [at["time"] + pause * i for i in range(1, count + 1)]
        log_points(
            store, Points(pack(steps), pack(times), pack([values[i % len(values)] for i in range(count)]))
        )
        at["step"], at["time"] = steps[-1], times[-1]
    elif action[0] == "compact":
        compact_all(store)
    else:
        step = max(1.0, at["step"] * action[1])  # the first point stays
        tx = begin(store)
        tx.rewind(trial_id(), step)
        tx.commit()
        at["step"] = math.floor(step)


@pytest.mark.parametrize("in_full", [True, False])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    actions=st.lists(ACTIONS, min_size=1, max_size=8),
    axis=AXES,
    outer=ENDS,
    inner=ENDS,
    width=st.integers(1, 60),
)
def test_columns_add_up_to_the_points_of_the_window(
    in_full: bool,
    actions: list[tuple[Any, ...]],
    axis: str,
    outer: list[float],
    inner: list[float],
    width: int,
) -> None:
    store = EphemeralStore()
    with pytest.MonkeyPatch.context() as patch:
        if not in_full:
            patch.setattr("track_server.storage.sql.charts._IN_FULL_POINTS", 0)
        add_trials(store, 1)
        at = {"step": 0.0, "time": 1000.0}
        for action in (("log", 1, 1, [0.5], 1.0), *actions):
            act(store, action, at)
        with store.snapshot() as view:
            whole = check_against_points(view, axis, None, None, width)
            extent = whole["high"] - whole["low"]
            low, high = (whole["low"] + extent * end for end in outer)
            middle = check_against_points(view, axis, low, high, width)
            within = [low + (high - low) * end for end in inner]
            narrow = check_against_points(view, axis, min(within), max(within), width)
            if in_full:
                points = stored(view)
                at_places = places(points, middle["axis"])
                expected = expected_chart(at_places, points, middle["low"], middle["high"], width)
                for name in ("count_of", "x", "nonfinite"):
                    assert middle[name] == expected[name]
                for name in ("min", "max", "last", "odd"):
                    assert middle[name] == pytest.approx(expected[name], rel=0, abs=0, nan_ok=True)
            # Zooming in shows no extreme that zooming out did not.
            for outside, inside in ((whole, middle), (middle, narrow)):
                least, greatest = least_and_greatest(inside)
                assert least >= least_and_greatest(outside)[0]
                assert greatest <= least_and_greatest(outside)[1]
            start = len(stored(view)) * 2 // 3
            tail = view.tail(KEY, start, 10**6)
            assert tail is not None
            assert numbers_in(tail["times"]) == [time for _, time, _ in stored(view)[start:]]
    store.close()


def test_columns_are_of_one_moment_while_others_write(store: SqliteStore, outlined: None) -> None:
    ended = threading.Event()
    faults: list[BaseException] = []

    def write() -> None:
        at = {"step": 0.0, "time": 1000.0}
        try:
            for count in range(120):
                act(store, ("log", 97, 1, [0.1 * count, -count], 0.5), at)
                if count % 4 == 3:
                    store.maintain(1.0)
                if count % 25 == 24:
                    act(store, ("rewind", 0.7), at)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            faults.append(error)
        finally:
            ended.set()

    log_points(store, points_of([0.0]))
    thread = threading.Thread(target=write)
    thread.start()
    checked = 0
    while not ended.is_set() or not checked:
        for axis in ("step", "time", "ordinal"):
            with store.snapshot() as view:
                check_against_points(view, axis, None, None, 23)
                checked += 1
    thread.join()
    assert faults == []


@pytest.mark.parametrize("first", [2**53 - 20, 2**53, 2**60, -(2**53) - 20, -(2**60)])
def test_steps_that_no_float_tells_apart_lose_no_point(store: SqliteStore, first: int) -> None:
    log_points(store, points_of([float(i) for i in range(50)], first=first))
    for width in (1, 7, 1_000):
        found = committed(store, width=width)
        assert (found["count"], sum(found["count_of"])) == (50, 50)
        assert (min(found["min"]), max(found["max"])) == (0.0, 49.0)


# -- outlines ----------------------------------------------------------------------------------------


def outlines(path: Path) -> list[Any]:
    """(first point, count, whether it has an outline) of every chunk."""
    return rows(
        path,
        "SELECT seq, count, outline.chunk IS NOT NULL FROM chunk LEFT JOIN outline ON outline.chunk = id "
        "ORDER BY series, seq",
    )


def fill(store: SqliteStore, count: int, first: int = 0) -> None:
    log_points(store, points_of([math.sin(i) for i in range(first, first + count)], first=first))


def test_merged_chunks_with_enough_points_have_an_outline(store: SqliteStore, path: Path) -> None:
    fill(store, 255)
    compact_all(store)
    assert outlines(path) == [(0, 255, 0)]
    fill(store, 1, 255)
    compact_all(store)
    assert outlines(path) == [(0, 255, 0), (255, 1, 0)]
    fill(store, 400, 256)
    compact_all(store)
    assert outlines(path) == [(0, 656, 1)]


def test_an_outline_goes_with_the_chunk_that_is_merged(store: SqliteStore, path: Path) -> None:
    fill(store, 300)
    compact_all(store)
    fill(store, 300, 300)
    compact_all(store)
    assert outlines(path) == [(0, 600, 1)]
    assert rows(path, "SELECT count(*) FROM outline") == [(1,)]


def test_a_rewound_chunk_has_a_new_outline(store: SqliteStore, path: Path, outlined: None) -> None:
    fill(store, 3_000)
    compact_all(store)
    for step, expected in (
        (2_000, [(0, 2_001, 1), (0, 999, 0)]),
        (100, [(0, 101, 0), (0, 999, 0), (999, 1900, 0)]),
    ):
        tx = begin(store)
        tx.rewind(trial_id(), step)
        tx.commit()
        assert outlines(path) == expected
        assert committed(store)["count"] == step + 1
        assert check_sqlite(path).findings == ()


def test_nothing_is_left_of_a_deleted_trial(store: SqliteStore, path: Path) -> None:
    fill(store, 3_000)
    compact_all(store)
    tx = begin(store)
    tx.delete_trial(trial_id())
    tx.commit()
    compact_all(store)
    assert rows(path, "SELECT count(*) FROM outline UNION ALL SELECT count(*) FROM chunk") == [(0,), (0,)]


def test_a_missing_outline_is_made_by_maintenance(store: SqliteStore, path: Path, outlined: None) -> None:
    for first in range(0, 40_000, 10_000):
        fill(store, 10_000, first)
    compact_all(store)
    before = committed(store, width=50)
    store.close()
    rows(path, "DELETE FROM outline")
    assert check_sqlite(path).findings == ()
    again = open_store(path, exclusive=True)
    assert committed(again, width=50)["count"] == before["count"]
    while again.maintain(0.001):
        pass
    assert all(has for _, _, has in outlines(path))
    assert committed(again, width=50) == before
    again.close()


def test_outlines_are_read_instead_of_points(store: SqliteStore, path: Path, outlined: None) -> None:
    fill(store, 16_384)
    compact_all(store)
    before = committed(store, width=30)
    spoil_points(path)
    assert committed(store, width=30) == before
    with pytest.raises(StoreCorrupt):
        committed(store, width=40)  # which is too fine for the outline
    with pytest.raises(StoreCorrupt):
        committed(store, window=(1, None), width=30)  # a part of the chunk


def spoil_points(path: Path) -> None:
    """Damage chunks, and leave their outlines as they are."""
    with apsw.Connection(str(path)) as db:
        kept = db.execute("SELECT chunk, data FROM outline").fetchall()
        for id, data in db.execute("SELECT id, data FROM chunk").fetchall():
            assert isinstance(data, bytes)
            db.execute("UPDATE chunk SET data = ? WHERE id = ?", (data[:-1] + bytes([data[-1] ^ 1]), id))
        db.executemany("INSERT OR REPLACE INTO outline VALUES(?, ?)", kept)


def test_few_points_are_read_in_full(store: SqliteStore) -> None:
    fill(store, 16_384)
    compact_all(store)
    assert set(committed(store, width=128)["count_of"]) == {128.0}
    found = committed(store, width=30)
    assert set(found["count_of"]) <= {546.0, 547.0}  # buckets have 128 points


def test_points_far_from_each_other_are_not_summed_up_in_a_bucket(store: SqliteStore, outlined: None) -> None:
    steps = [*range(4_970), *range(1_000_000, 1_005_030)]  # so that they meet within a bucket
    log_points(store, points_of([float(step) for step in steps], steps=steps))
    compact_all(store)
    found = committed(store, width=20)
    assert (found["count_of"], found["max"]) == ([4_970.0, 5_030.0], [4_969.0, 1_005_029.0])


def test_times_that_go_back_are_not_read_from_outlines(store: SqliteStore, outlined: None) -> None:
    times = [float(i + 400 * (i // 100 % 2)) for i in range(5_000)]
    log_points(store, Points(pack(range(5_000)), pack(times), pack(times)))
    compact_all(store)
    found = committed(store, "time", width=4)
    with store.snapshot() as view:
        expected = expected_chart(times, stored(view), found["low"], found["high"], 4)
    assert [found[name] for name in ("count_of", "min", "max")] == [
        expected[name] for name in ("count_of", "min", "max")
    ]


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.999])
def test_a_damaged_outline_is_found_and_the_points_are_read(
    store: SqliteStore, path: Path, outlined: None, part: float
) -> None:
    fill(store, 5_000)
    compact_all(store)
    ((data,),) = rows(path, "SELECT data FROM outline")
    at = int(part * len(data))
    rows(path, "UPDATE outline SET data = ?", data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert committed(store, width=4)["count_of"] == [1250.0] * 4
    (found,) = check_sqlite(path).findings
    assert "has an outline that is damaged" in found


def test_an_outline_of_other_points_is_found(store: SqliteStore, path: Path) -> None:
    fill(store, 1_000)
    log_points(store, points_of([0.25] * 1_000), name="other")
    compact_all(store)
    ((one, first), (two, second)) = rows(path, "SELECT chunk, data FROM outline ORDER BY chunk")
    rows(path, "UPDATE outline SET data = iif(chunk = ?, ?, ?)", one, second, first)
    rows(path, "INSERT INTO outline VALUES(99, x'00')")
    dangling, *differing = check_sqlite(path).findings
    assert dangling == "outline 99 belongs to no chunk"
    assert [found.split("chunk ")[1] for found in differing] == [
        f"{chunk} has an outline that differs from its points" for chunk in (one, two)
    ]


def test_a_missing_chunk_is_damage(store: SqliteStore, path: Path) -> None:
    fill(store, 100)
    fill(store, 100, 100)
    rows(path, "DELETE FROM chunk WHERE seq = 100")
    with pytest.raises(StoreCorrupt, match="has no point 100"):
        committed(store)


def test_columns_that_take_too_long_are_refused(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, 100)
    monkeypatch.setattr("track_server.storage.sql.charts._SECONDS", -1.0)
    with pytest.raises(TooBusy, match="smaller window"):
        committed(store)
