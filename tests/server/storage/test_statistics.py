from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track_protocol.model.stat import Summary
from track_protocol.wire.columns import Column, pack
from track_server.storage.statistics import bounds_of, summary_of

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1)


@given(NUMBERS)
def test_the_summary_of_a_column_is_that_of_its_values(values: list[float]) -> None:
    found, expected = summary_of(pack(values)), Summary.of(values)
    assert (found.count, found.nonfinite, found.min, found.max) == (len(values), 0, min(values), max(values))
    assert found.mean == pytest.approx(expected.mean)
    assert found.sd == pytest.approx(expected.sd, abs=1e-6)


@given(st.lists(st.floats(), min_size=1))
def test_infinities_and_nan_are_counted_apart(values: list[float]) -> None:
    found = summary_of(pack(values))
    assert found.nonfinite == sum(not math.isfinite(value) for value in values)
    assert found.count == len(values)


@given(st.lists(st.floats(), min_size=1))
def test_bounds_are_those_of_the_finite_numbers(values: list[float]) -> None:
    finite = [value for value in values if math.isfinite(value)]
    assert bounds_of(pack(values)) == ((min(finite), max(finite)) if finite else (None, None))


def test_only_numbers_have_bounds() -> None:
    assert bounds_of(Column("o", ["x", True, 2, None, 3.5])) == (2, 3.5)


def test_a_boolean_is_no_number() -> None:
    assert summary_of(Column("o", [True, 4, "x"])) == Summary(1, 0, 4.0, 0.0, 4, 4)


def test_nones_have_no_numbers() -> None:
    assert summary_of(Column("n", 5)) == Summary()
