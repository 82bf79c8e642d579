"""Filters that the board writes from brushes select the runs that pass the brush."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from track_protocol.query.filter_parser import query_of
from track_protocol.query.parse import matches

CONDITIONS = json.loads((Path(__file__).parents[3] / "server/web/tests/conditions.json").read_text())
"""Columns of values, with brushes, their conditions and the rows that pass; the front end tests them, too."""

NOT_FINITE = {text: float(text) for text in ("NaN", "Infinity", "-Infinity")}


def trial(name: str, value: Any) -> dict[str, Any]:
    """A trial with one value under a name in the notation of queries; None is a missing one."""
    found: dict[str, Any] = {"parameters": {}, "metadata": {}, "metrics": {}, "started": None, "ended": None}
    if value is None:
        return found
    value = NOT_FINITE.get(value, value) if isinstance(value, str) else value
    if name == "duration":
        return found | {"started": 100.0, "ended": 100.0 + value}
    tree, _, key = name.partition(".")
    if tree == "metrics":
        series, _, statistic = key.rpartition(".")
        return found | {"metrics": {series: {"last": value, statistic: value}}}
    return found | {tree: {key: value}}


@pytest.mark.parametrize("column", CONDITIONS, ids=lambda column: column["name"])
def test_the_condition_of_a_brush_selects_the_rows_that_pass_it(column: dict[str, Any]) -> None:
    trials = [trial(column["name"], value) for value in column["values"]]
    for case in column["cases"]:
        query = query_of(case["condition"])
        selected = [row for row, each in enumerate(trials) if matches(each, query)]
        assert selected == case["rows"], case["condition"]
