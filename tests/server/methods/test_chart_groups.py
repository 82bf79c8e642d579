"""Charts of groups, as they are asked for over the wire."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from engine_calls import Caller, points
from sqlite_tables import rows
from track_protocol.errors import BadArguments, StoreCorrupt
from track_server.engine.engine import Engine
from track_server.storage.chart_groups import GROUP_ARRAYS
from track_server.storage.sqlite.store import open_store
from track_server.testing.store_charts import numbers_in
from track_server.testing.store_support import same


def log_run(caller: Caller, group: Any, values: list[float], steps: list[Any] | None = None) -> bytes:
    """A trial whose parameter ``lr`` is its group."""
    id: bytes = caller.new_trial(parameters={"lr": group, "of": values})["id"]
    caller.log(points(id, steps=steps, loss=values))
    return id


def read(caller: Caller, **arguments: Any) -> list[dict[str, Any]]:
    found = caller.read("fetch_grouped_columns", query={}, by=["parameters.lr"], name="loss", **arguments)
    return [
        {name: numbers_in(value) if name in GROUP_ARRAYS else value for name, value in each.items()}
        for each in found
    ]


def test_the_largest_group_comes_first(ann: Caller) -> None:
    for group, values in ((1, [9.0]), (2, [1.0, 2.0]), (2, [3.0, 8.0]), (None, [4.0])):
        log_run(ann, group, values)
    largest, *_ = found = read(ann)
    assert [(each["by"], each["series"]) for each in found] == [([2], 2), ([1], 1), ([None], 1)]
    assert (largest["mean"], largest["runs"]) == ([2.0, 5.0], [2.0, 2.0])
    assert (largest["min"], largest["max"]) == ([1.0, 2.0], [3.0, 8.0])
    assert len(read(ann, limit=1)) == 1


def test_a_group_of_very_many_series_comes_in_pages(ann: Caller) -> None:
    for number in range(300):
        log_run(ann, number % 2, [float(number)] * 20)
    found = read(ann, width=20)
    assert [(each["series"], len(each["x"])) for each in found] == [(150, 20), (150, 20)]
    assert sorted(each["mean"][0] for each in found) == [149.0, 150.0]


def test_a_spike_of_one_series_is_the_greatest_value_of_its_group(ann: Caller) -> None:
    values = [0.0] * 500
    values[321] = 50.0
    log_run(ann, 1, values)
    log_run(ann, 1, [0.0] * 500)
    (found,) = read(ann, width=10)
    assert max(found["max"]) == 50.0
    assert max(found["mean"]) < 1.0


def test_values_that_are_not_finite_take_no_part(ann: Caller) -> None:
    log_run(ann, 1, [1.0, math.nan, 3.0, math.inf])
    log_run(ann, 1, [1.0, 2.0, 3.0, math.inf])
    log_run(ann, 2, [math.nan])
    found = {each["by"][0]: each for each in read(ann, width=4)}
    assert (found[1]["mean"], found[2]["mean"], found[2]["series"]) == ([1.0, 2.0, 3.0], [], 1)
    assert same(found[1]["odd"], [[1.0, 1.0, math.nan, 1.0], [3.0, 3.0, math.inf, 2.0]])
    assert same(found[2]["odd"], [[0.0, 0.0, math.nan, 1.0]])


def test_series_without_a_place_on_the_axis_are_left_out_and_counted(ann: Caller) -> None:
    log_run(ann, 1, [1.0, 2.0])
    log_run(ann, 1, [7.0, 7.0], [3, 1])
    log_run(ann, 2, [7.0, 7.0], [3, 1])
    found = {each["by"][0]: each for each in read(ann)}
    assert [(found[group]["axis"], found[group]["left_out"]) for group in (1, 2)] == [
        ("step", 1),
        ("ordinal", 0),
    ]
    assert (found[1]["mean"], found[2]["x"]) == ([1.0, 2.0], [0.0, 1.0])


def test_a_damaged_series_is_missing_in_its_group_and_told(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    engine = Engine(open_store(path, exclusive=True))
    caller = Caller(engine)
    log_run(caller, 1, [1.0, 3.0])
    log_run(caller, 1, [5.0, 5.0])
    rows(path, "UPDATE chunk SET data = zeroblob(length(data)) WHERE id = 2")
    error, found = read(caller)
    assert (found["series"], found["mean"], found["faults"]) == (1, [1.0, 3.0], 1)
    assert "is damaged" in error["error"]
    # Damage is damage, whichever read finds it.
    with pytest.raises(StoreCorrupt, match="read-only since damage was found"):
        caller.new_trial("another")
    engine.close()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"limit": 101}, "at most 100"),
        ({"width": 0}, "1 to 4,096"),
        ({"low": 2, "high": 1}, "ends before it begins"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_refused(ann: Caller, arguments: dict[str, Any], reason: str) -> None:
    log_run(ann, 1, [1.0])
    with pytest.raises(BadArguments, match=reason):
        read(ann, **arguments)


def test_more_columns_than_fit_the_memory_are_refused(ann: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("track_server.methods.chart_groups._MAX_VALUES", 100)
    for _ in range(3):
        log_run(ann, 1, [1.0])
    assert len(read(ann, width=33)) == 1
    with pytest.raises(BadArguments, match="ask for fewer columns"):
        read(ann, width=34)
