"""The null store answers from memory as a store does."""

from __future__ import annotations

import math
from typing import Any

import pytest

from track.persistence.null import NullProtocol
from track_protocol.model.entities import Trial


@pytest.fixture
def protocol() -> NullProtocol:
    protocol = NullProtocol()
    values: list[Any] = ["text", 2, math.nan, None, 1]
    for number, value in enumerate(values):
        parameters = {} if value is None else {"lr": value}
        protocol.new_trial(Trial(name=str(number), parameters=parameters))
    return protocol


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("parameters.lr", ["4", "1", "2", "0", "3"]),
        ("-parameters.lr", ["1", "4", "2", "0", "3"]),
        ("created", ["0", "1", "2", "3", "4"]),
        ("-created", ["4", "3", "2", "1", "0"]),
    ],
)
def test_trials_come_in_the_order_of_a_store(protocol: NullProtocol, order: str, names: list[str]) -> None:
    # Numbers, then what is no number, then texts, then what lacks the value, in both directions.
    assert [trial.name for trial in protocol.fetch_trials({}, order=[order])] == names


def test_a_page_is_a_part_of_that_order(protocol: NullProtocol) -> None:
    page = protocol.fetch_trials({}, start=1, limit=2, order=["-created"])
    assert [trial.name for trial in page] == ["3", "2"]
