from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track_protocol.errors import BadValue
from track_protocol.model.steps import as_step

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10)
awkward = st.sampled_from(
    ["1", "-0", "01", "1e5", "NaN", "nan", "[1]", '"1"', '"a"', "null", "{}", " 1", "[[", '"']
)
steps = st.recursive(scalars | awkward, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


@given(steps)
def test_a_step_is_unchanged_except_that_lists_become_tuples(step: Any) -> None:
    assert as_step(step) == step
    assert as_step([step, [1, [2]]]) == (step, (1, (2,)))


@pytest.mark.parametrize("wrong", [{}, {"a": 1}, b"x", (1, {}), [[b"x"]]])
def test_a_value_that_cannot_be_a_key_is_not_a_step(wrong: Any) -> None:
    with pytest.raises(BadValue, match="cannot be a step: use a number, a str or a tuple of these"):
        as_step(wrong)
