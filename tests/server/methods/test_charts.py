"""Columns and tails of series, as they are asked for over the wire."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from engine_calls import Caller, points
from sqlite_tables import rows
from track_protocol.errors import BadArguments, StoreCorrupt
from track_server.engine.engine import Engine
from track_server.storage.sqlite.store import open_store
from track_server.testing.store_charts import numbers_in


def key(trial: bytes, name: str = "loss", kind: str = "metric") -> list[Any]:
    return [trial, kind, name]


def test_columns_of_several_series_come_in_the_order_asked(ann: Caller) -> None:
    first, second = (ann.new_trial()["id"] for _ in range(2))
    ann.log(points(first, loss=[float(i) for i in range(100)]))
    ann.log(points(second, loss=[-1.0, math.nan]))
    series = [key(second), key(first, "nothing"), key(first), key(b"x" * 16)]
    found = ann.read("fetch_columns", series=series, width=10)
    assert found[1] is found[3] is None
    assert [each["count"] for each in (found[0], found[2])] == [2, 100]
    assert numbers_in(found[2]["max"]) == [float(9 + 10 * i) for i in range(10)]
    assert numbers_in(found[0]["nonfinite"]) == [1.0]


def test_many_series_come_in_pages(ann: Caller) -> None:
    ids = [ann.new_trial()["id"] for _ in range(40)]
    for number, id in enumerate(ids):
        ann.log(points(id, loss=[float(number)] * 500))
    found = ann.read("fetch_columns", series=[key(id) for id in ids], width=400)
    assert [numbers_in(each["last"])[0] for each in found] == [float(number) for number in range(40)]


def test_tails_give_the_rest_of_each_series(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.log(points(id, loss=[1.0, 2.0, 3.0], acc=[0.1, 0.2, 0.3]))
    tails = [[*key(id), 1], [*key(id, "acc"), 3], [*key(id, "other"), 0]]
    loss, acc, other = ann.read("fetch_tails", tails=tails)
    assert (numbers_in(loss["values"]), loss["total"]) == ([2.0, 3.0], 3)
    assert (acc["values"], acc["total"]) == (b"", 3)
    assert other is None


def test_a_tail_is_as_long_as_asked(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.log(points(id, loss=[1.0, 2.0, 3.0]))
    (found,) = ann.read("fetch_tails", tails=[[*key(id), 0]], limit=2)
    assert (numbers_in(found["values"]), found["total"]) == ([1.0, 2.0], 3)


def test_a_damaged_chunk_breaks_its_series_only(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    engine = Engine(open_store(path, exclusive=True))
    caller = Caller(engine)
    id = caller.new_trial()["id"]
    caller.log(points(id, loss=[1.0, 2.0], acc=[0.1, 0.2]))
    (damaged,) = rows(path, "SELECT id FROM series WHERE name = 'loss'")
    rows(path, "UPDATE chunk SET data = zeroblob(length(data)) WHERE series = ?", *damaged)
    loss, acc = caller.read("fetch_columns", series=[key(id), key(id, "acc")])
    assert list(loss) == ["error"]
    assert "is damaged" in loss["error"]
    assert acc["count"] == 2
    tail, other = caller.read("fetch_tails", tails=[[*key(id), 0], [*key(id, "acc"), 1]])
    assert "is damaged" in tail["error"]
    assert numbers_in(other["values"]) == [0.2]
    # Damage is damage, whichever read finds it.
    with pytest.raises(StoreCorrupt, match="read-only since damage was found"):
        caller.new_trial("another")
    engine.close()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"series": [[b"x" * 16, "image", "a"]]}, "'metric', 'chrono', 'superseded'"),
        ({"series": [["uid", "metric", "a"]]}, "16-byte id"),
        ({"series": [[b"x" * 16, "metric"]]}, "trial, kind, name"),
        ({"series": [key(b"x" * 16)], "axis": "epoch"}, "'ordinal'"),
        ({"series": [key(b"x" * 16)], "low": math.nan}, "finite number"),
        ({"series": [key(b"x" * 16)], "high": math.inf}, "finite number"),
        ({"series": [key(b"x" * 16)], "low": 2, "high": 1}, "ends before it begins"),
        ({"series": [key(b"x" * 16)], "width": 0}, "1 to 4,096"),
        ({"series": [key(b"x" * 16)], "width": 4_097}, "1 to 4,096"),
        ({"series": [key(b"x" * 16)] * 1_025, "width": 1}, "more than 1,024"),
        ({"series": [key(b"x" * 16)] * 1_000, "width": 1_000}, "more than 262,144"),
    ],
)
def test_columns_that_are_too_many_or_make_no_sense_are_refused(
    ann: Caller, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadArguments, match=reason):
        ann.read("fetch_columns", **arguments)


@pytest.mark.parametrize(
    ("tails", "reason"),
    [
        ([[b"x" * 16, "metric", "a", -1]], "0 or more"),
        ([[b"x" * 16, "metric", "a", 1.5]], "0 or more"),
        ([[b"x" * 16, "metric", "a"]], "trial, kind, name, start"),
        ([[b"x" * 16, "metric", "a", 0]] * 1_025, "more than 1,024"),
    ],
)
def test_tails_that_make_no_sense_are_refused(ann: Caller, tails: list[Any], reason: str) -> None:
    with pytest.raises(BadArguments, match=reason):
        ann.read("fetch_tails", tails=tails)
