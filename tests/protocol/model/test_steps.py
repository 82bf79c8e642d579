from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track_protocol.errors import BadValue
from track_protocol.model.steps import as_step, step_from_key, step_to_key

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10)
awkward = st.sampled_from(
    ["1", "-0", "01", "1e5", "NaN", "nan", "[1]", '"1"', '"a"', "null", "{}", " 1", "[[", '"']
)
steps = st.recursive(scalars | awkward, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


def exact(step: Any) -> Any:
    """Tells 1, 1.0 and True apart, and 0.0 from -0.0, as == does not."""
    return [exact(part) for part in step] if isinstance(step, tuple) else (type(step), repr(step))


@given(steps)
def test_a_step_round_trips_through_its_key(step: Any) -> None:
    assert exact(step_from_key(step_to_key(step))) == exact(step)


@given(st.text(max_size=10) | awkward | steps.map(json.dumps))
def test_a_key_round_trips_through_its_step(key: str) -> None:
    assert step_to_key(step_from_key(key)) == key


@pytest.mark.parametrize(
    ("step", "key"),
    [
        (0, "0"),
        (12, "12"),
        (0.5, "0.5"),
        (1.0, "1.0"),
        ("1", '"1"'),
        ("warmup", "warmup"),
        ((1, "a", 0.5), '[1,"a",0.5]'),
        (True, "true"),
        ("true", '"true"'),
        (math.inf, "Infinity"),
    ],
)
def test_steps_are_written_as_a_reader_expects(step: Any, key: str) -> None:
    assert step_to_key(step) == key


def test_a_nan_step_round_trips() -> None:
    assert math.isnan(step_from_key(step_to_key(math.nan)))


@pytest.mark.parametrize("key", ["9" * 4097, "9" * 4300 + "1", "[" * 4000, '{"a":1}'])
def test_a_key_that_is_not_a_step_stays_text(key: str) -> None:
    assert step_from_key(key) == key


@given(steps)
def test_a_step_is_unchanged_except_that_lists_become_tuples(step: Any) -> None:
    assert as_step(step) == step
    assert as_step([step, [1, [2]]]) == (step, (1, (2,)))


@pytest.mark.parametrize("wrong", [{}, {"a": 1}, b"x", (1, {}), [[b"x"]]])
def test_a_value_that_cannot_be_a_key_is_not_a_step(wrong: Any) -> None:
    with pytest.raises(BadValue, match="cannot be a step: use a number, a str or a tuple of these"):
        as_step(wrong)
