from __future__ import annotations

import enum
import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from track_protocol.errors import BadValue
from track_server.storage.exactjson import MAX_NESTING, dumps, loads

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8")) | st.sampled_from(["$float", "$tuple", "$bytes", "$dict", "$"])
SCALARS = st.none() | st.booleans() | INT64 | st.floats() | TEXT | st.binary()
KEYS = TEXT | INT64 | st.floats(allow_nan=False) | st.booleans() | st.tuples(INT64, TEXT)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


def spelled(value: Any) -> str:
    """`repr` distinguishes what == does not: types, signs of zero, orders of keys; and NaNs are alike."""
    return repr(value)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_what_was_written_reads_back_exactly(value: Any) -> None:
    assert spelled(loads(dumps(value))) == spelled(value)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_the_text_is_json_of_one_line_without_the_extensions_that_parsers_disagree_on(value: Any) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    json.loads(dumps(value), parse_constant=refuse)
    assert "\n" not in dumps(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.0, None, True]}, '{"a":[1,2.0,null,true]}'),
        (math.inf, "9e999"),
        (-math.inf, "-9e999"),
        (math.nan, '{"$float":"nan"}'),
        ((1, (2,)), '{"$tuple":[1,{"$tuple":[2]}]}'),
        (b"\x00\xff", '{"$bytes":"AP8="}'),
        ({1: 2}, '{"$dict":[[1,2]]}'),
        ({"$float": "nan"}, '{"$dict":[["$float","nan"]]}'),
        ('é\x00"', '"é\\u0000\\""'),
    ],
)
def test_the_text_of_a_value_is_the_documented_one(value: Any, text: str) -> None:
    assert dumps(value) == text


def test_a_subclass_is_written_as_the_type_it_comes_from() -> None:
    class Level(enum.IntEnum):
        high = 3

    class Name(str):
        __slots__ = ()

        def __repr__(self) -> str:
            return "injected"

    assert dumps([Level.high, Name("x")]) == '[3,"x"]'


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "\ud800", {"\udfff": 1}, object(), {1, 2}, [1j]])
def test_what_cannot_be_stored_exactly_is_refused(value: Any) -> None:
    with pytest.raises(BadValue):
        dumps(value)


def test_nesting_has_a_limit_that_a_cycle_runs_into() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(BadValue, match=f"{MAX_NESTING} levels"):
        dumps(cycle)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nan",
        "NaN",
        "Infinity",
        "[1,]",
        '{"$float":"inf"}',
        '{"$float":1}',
        '{"$tuple":1}',
        '{"$tuple":"ab"}',
        '{"$dict":{"ab":1}}',
        '{"$bytes":"A"}',
        '{"$bytes":1}',
        '{"$dict":[[[],1]]}',
        '{"$dict":1}',
        '{"$class":"os"}',
        "[" * 100_000,
        "1" * 5_000,
    ],
)
def test_text_that_this_encoder_never_writes_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="not a value written by this software"):
        loads(text)
