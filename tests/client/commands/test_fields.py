"""The values of a trial as cells and columns."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import pytest

from track.commands.fields import MISSING, duration_text, moment_text, shown, value_of


@pytest.mark.parametrize("unit", ["minutes", "seconds"])
def test_a_moment_is_shown_with_its_zone(unit: str) -> None:
    assert datetime.fromisoformat(moment_text(1.7e9 - 1.7e9 % 60, unit)).timestamp() == 1.7e9 - 1.7e9 % 60


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0119, "12ms"),
        (59.94, "59.9s"),
        (61, "1m01s"),
        (119.7, "2m00s"),
        (3_600 * 5 + 120, "5h02m"),
        (86_400 * 3 + 3_600, "3d01h"),
        (-90, "-1m30s"),
        (math.inf, "infs"),
    ],
)
def test_a_duration_is_shown_in_the_units_that_suit_it(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


KNOWN: dict[str, Any] = {
    "status": "Completed",
    "created": 5.0,
    "parameters": {"lr": 0.1, "model.lr": 0.2, "model": {"width": 8}},
    "tags": {},
    "metadata": {"run": {"user": "bob"}},
    "metrics": {"loss": {"last": 1.0, "min": 0.5, "mean": 0.7}, "loss.min": {"last": 9.0}},
    "chronos": {"runtime": {"mean": 3.0}},
}


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("status", "Completed"),
        ("status.name", "Completed"),
        ("created", 5.0),
        ("parameters.lr", 0.1),
        ("parameters.model.lr", 0.2),
        ("parameters.model.width", 8),
        ("tags.team", MISSING),
        ("metadata.run.user", "bob"),
        ("metrics.loss", 1.0),
        ("metrics.loss.min", 9.0),
        ("metrics.loss.avg", 0.7),
        ("chronos.runtime", 3.0),
        ("metrics.acc", MISSING),
        ("nothing", MISSING),
    ],
)
def test_a_value_is_where_a_query_finds_it(attribute: str, value: Any) -> None:
    assert value_of(KNOWN, attribute) == value


def test_times_are_shown_as_times() -> None:
    assert shown("ended", 1.7e9) == moment_text(1.7e9)
    assert shown("duration", 61) == "1m01s"
    assert shown("parameters.x", 1.7e9) == "1.7e+09"
