from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from every_case import every
from track_protocol.errors import BadArguments
from track_protocol.wire.schema import CHECKS, Parameter, check_arguments
from wire_samples import allocation

TRIAL = bytes(16)

FITTING: dict[str, list[Any]] = {
    "aggregator": [[], [1, "x"]],
    "any": [None, 1, "x", [1], {1: 2}, (1,), b"x"],
    "axis": ["step", "time", "relative", "ordinal"],
    "bool": [True, False],
    "bytes": [b"", b"x"],
    "charted": ["metric", "chrono", "superseded"],
    "count": [0, 1, 2**63 - 1],
    "digest": ["0123456789abcdef" * 4],
    "document": [{}, {"name": None}],
    "finite": [0, -1.5, 1e308, -(10**30)],
    "kind": ["metric", "chrono", "superseded", "image"],
    "media": ["histogram", "image", "text", "graph", "file"],
    "map": [{}, {"a": [1], "": {1: 2}}],
    "number": [0, -1, 1.5, math.nan, math.inf],
    "series": [[], [[TRIAL, "metric", "x"], [TRIAL, "superseded", ""]]],
    "status": [{"value": 1, "name": "Running"}],
    "tails": [[], [[TRIAL, "chrono", "x", 0]]],
    "text": ["", "x"],
    "items": [[], [1, None, {"a": 1}]],
    "ids": [[], [TRIAL]],
    "texts": [[], ["", "x"]],
    "trial": [TRIAL, "name_0"],
    **{key: ["", "x"] for key in ("error", "group", "project")},
    **{key: [{}, {"a": 1}] for key in ("definition", "query", "values")},
    "time": [0, 1.5],
    "update": [{"method": "set_trial_status", "arguments": {}}],
}

UNFIT: dict[str, list[Any]] = {
    "aggregator": [None, (), "x", b"x", {}, 1],
    "any": [],
    "axis": [None, "", "Step", b"step", ["step"], 0],
    "bytes": [None, "", "x", [1], bytearray(b"x"), 1],
    "bool": [None, 0, 1, "true", 1.0, []],
    "charted": [None, "", "Metric", "image", b"metric", ["metric"], {"metric": 1}],
    "count": [None, -1, True, 1.0, "1", []],
    "digest": [None, "", "ab", "0" * 63, "0" * 65, "0" * 64 + "\n", "A" * 64, "g" * 64, b"0" * 64, 0],
    "document": [None, [], "x", {1: 2}, {b"a": 1}, {None: 1}, {("a",): 1}, [("a", 1)]],
    "finite": [None, True, "1", math.nan, math.inf, -math.inf, 10**400, {}],
    "kind": [None, "", "Metric", b"metric", 0, ["metric"], ("metric",), {"metric": 1}],
    "media": [None, "", "metric", "Image", b"image", ["image"], {"image": 1}],
    "map": [None, [], "x", {1: 2}, {"a": 1, True: 2}],
    "number": [None, True, "1", b"1", [1], {}],
    "series": [
        *[None, (), "x", [None], [[]], [(TRIAL, "metric", "x")], [["name_0", "metric", "x"]]],
        *[
            [[TRIAL, "metric"]],
            [[TRIAL, "metric", "x", 0]],
            [[TRIAL, "image", "x"]],
            [[TRIAL, "metric", b"x"]],
        ],
        *[[[bytes(15), "metric", "x"]], [[TRIAL, None, "x"]], [[TRIAL, ["metric"], "x"]]],
    ],
    "status": [
        None,
        "Running",
        {},
        {"value": 1},
        {"name": "Running"},
        {"value": 1, "name": "Running", "more": 1},
        {"value": "1", "name": "Running"},
        {"value": True, "name": "Running"},
        {"value": 1, "name": b"Running"},
        [["value", 1], ["name", "Running"]],
    ],
    "tails": [None, [[TRIAL, "metric", "x"]], [[TRIAL, "metric", "x", -1]], [[TRIAL, "metric", "x", 0.5]]],
    "text": [None, b"x", 1, ["x"], ("x",), {}],
    "items": [None, (), "x", b"x", {}, 1],
    "ids": [None, (), "x", {}, [b"x"], ["x"], [None]],
    "texts": [None, (), "x", b"x", {}, 1, [1], ["x", None]],
    **{key: [None, b"x", 1, {}] for key in ("error", "group", "project")},
    **{key: [None, [], "x", {1: 2}] for key in ("definition", "query", "values")},
    "time": [None, True, "1", {}],
    "trial": [None, "", b"", bytes(15), bytes(17), 1, [TRIAL], {}],
    "update": [
        None,
        {},
        {"method": "x"},
        {"arguments": {}},
        {"method": "x", "arguments": {}, "more": 1},
        {"method": 1, "arguments": {}},
        {"method": "x", "arguments": []},
        {"method": "x", "arguments": {1: 2}},
    ],
}


def pairs(samples: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(name, value) for name, values in samples.items() for value in values]


def test_every_type_has_samples_here() -> None:
    assert set(FITTING) == set(UNFIT) == set(CHECKS)


@every(pairs(FITTING))
def test_a_value_of_the_type_is_accepted(kind: str, value: object) -> None:
    Parameter("x", kind).check("method", value)


@every(pairs(UNFIT))
def test_a_value_of_another_type_is_refused(kind: str, value: object) -> None:
    with pytest.raises(BadArguments, match=r"method: argument 'x' must be .*, not "):
        Parameter("x", kind).check("method", value)


@pytest.mark.parametrize("kind", [name for name in CHECKS if name != "any"])
def test_none_is_accepted_only_for_an_optional_argument(kind: str) -> None:
    Parameter("x", kind + "?").check("method", None)
    with pytest.raises(BadArguments):
        Parameter("x", kind).check("method", None)


@every([pair for pair in pairs(UNFIT) if pair[1] is not None])
def test_what_may_be_absent_may_not_be_of_another_type(kind: str, value: object) -> None:
    with pytest.raises(BadArguments):
        Parameter("x", kind + "?").check("method", value)


PARAMETERS = (Parameter("trial", "trial"), Parameter("start", "count", 0), Parameter("error", "text?", None))


def test_absent_arguments_get_their_defaults() -> None:
    full = check_arguments("fetch", PARAMETERS, {"trial": TRIAL})
    assert full == {"trial": TRIAL, "start": 0, "error": None}


def test_arguments_are_returned_in_the_order_of_the_table() -> None:
    given_ = {"error": "x", "start": 1, "trial": TRIAL}
    assert list(check_arguments("fetch", PARAMETERS, given_)) == ["trial", "start", "error"]


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(BadArguments, match="fetch: argument 'trial' is missing"):
        check_arguments("fetch", PARAMETERS, {})


def test_an_unknown_argument_is_named_with_the_known_ones() -> None:
    with pytest.raises(BadArguments, match="unknown argument 'stop'; known are trial, start, error"):
        check_arguments("fetch", PARAMETERS, {"trial": TRIAL, "stop": 3})


def test_a_call_without_parameters_accepts_no_argument() -> None:
    with pytest.raises(BadArguments, match="known are none"):
        check_arguments("commit", (), {"x": 1})


def deep() -> Any:
    value: Any = 1
    for _ in range(5000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [deep(), ["x"] * 100_000, "x" * 100_000, {"k" * 1000: ["x" * 1000] * 1000}],
    ids=lambda v: type(v).__name__,
)
def test_a_message_about_a_huge_value_is_short(value: object) -> None:
    with allocation() as peak:
        with pytest.raises(BadArguments) as refused:
            Parameter("x", "number").check("method", value)
        used = peak()
    assert len(str(refused.value)) < 200
    assert used < 64 * 1024


def test_a_message_shows_a_short_value() -> None:
    with pytest.raises(BadArguments, match=f"not str '{'x' * 58}'$"):
        Parameter("x", "number").check("method", "x" * 58)


def test_a_message_about_a_huge_name_is_short() -> None:
    with pytest.raises(BadArguments) as refused:
        check_arguments("fetch", PARAMETERS, {"k" * 100_000: 1})
    assert len(str(refused.value)) < 200


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2**63 - 1)
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=16),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            st.sampled_from(["value", "name", "method", "arguments"]) | st.integers(), inner, max_size=2
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(CHECKS)), ANYTHING)
def test_any_value_fits_or_is_refused(kind: str, value: object) -> None:
    try:
        Parameter("x", kind).check("method", value)
    except BadArguments:
        return
