"""Histograms of anything that holds numbers."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from track.media import histogram as module
from track.media import media_of
from track.media.histogram import MAX_BINS, histogram
from track_protocol.errors import BadValue
from track_protocol.model.media import HISTOGRAM, Media, check_media


class Tensor:
    """As torch has them: on a device, with a gradient, in a type that NumPy lacks."""

    def __init__(self, values: Any, ready: bool = False) -> None:
        self.values, self.ready = values, ready

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def is_complex(self) -> bool:
        return False

    def is_floating_point(self) -> bool:
        return True

    def double(self) -> Tensor:
        return Tensor(self.values, ready=True)

    def numpy(self) -> Any:
        assert self.ready
        return np.array(self.values)


@pytest.fixture(params=["with numpy", "without numpy"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without numpy":
        monkeypatch.setattr(module, "numpy", lambda: None)


def document(values: Any, bins: int = 30) -> dict[str, Any]:
    made = histogram(values, bins)
    check_media(HISTOGRAM, made.document)
    return dict(made.document)


@pytest.mark.usefixtures("_either_way")
def test_values_are_counted_between_equally_wide_edges() -> None:
    assert document([[0, 0.5], [1, 2.5], [4, 4]], bins=4) == {
        "edges": [0.0, 1.0, 2.0, 3.0, 4.0],
        "counts": [2, 1, 1, 2],
        "n": 6,
        "nan": 0,
        "posinf": 0,
        "neginf": 0,
        "min": 0.0,
        "max": 4.0,
    }


@pytest.mark.usefixtures("_either_way")
def test_there_are_30_bins_by_default() -> None:
    assert len(document(range(100))["counts"]) == 30


@pytest.mark.usefixtures("_either_way")
def test_non_finite_numbers_are_counted_separately() -> None:
    found = document([math.nan, math.inf, 1.0, -math.inf, math.inf, 3.0, math.nan, math.nan], bins=1)
    assert (found["counts"], found["nan"], found["posinf"], found["neginf"]) == ([2], 3, 2, 1)
    assert (found["n"], found["min"], found["max"]) == (8, 1.0, 3.0)


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize("values", [[], [[]], [math.nan], [math.inf, -math.inf]])
def test_without_a_finite_number_there_are_no_bins(values: Any) -> None:
    found = document(values)
    assert (found["edges"], found["counts"], found["min"], found["max"]) == ([], [], None, None)


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize("value", [0.0, 7, -3.5, 2.0**60, 1e308, sys.float_info.max, 5e-324])
def test_equal_values_lie_between_edges_that_differ(value: float) -> None:
    found = document([value] * 5)
    assert found["edges"][0] < found["edges"][-1]
    assert found["edges"][0] <= value <= found["edges"][-1]
    assert sum(found["counts"]) == 5


@given(
    st.lists(st.floats() | st.integers(-(2**70), 2**70) | st.sampled_from([1e308, -1e308, 5e-324])),
    st.integers(1, 50),
)
def test_any_numbers_have_one_histogram_with_and_without_numpy(values: list[float], bins: int) -> None:
    found = document([float(value) for value in values], bins)
    assert found["n"] == len(values)
    assert module._plainly(values, bins).document == found


@pytest.mark.parametrize(
    "values",
    [
        np.array([[1, 2], [3, 4]], dtype=np.int8),
        np.array([1, 2, 3, 4], dtype=np.float16),
        np.array([[[1.0]], [[2.0]], [[3.0]], [[4.0]]]),
        Tensor([1.0, 2.0, 3.0, 4.0]),
        (1, 2, 3, 4),
        range(1, 5),
    ],
)
def test_numbers_come_as_arrays_tensors_and_sequences(values: Any) -> None:
    assert (document(values, bins=3)["counts"], document(values)["n"]) == ([1, 1, 2], 4)


def test_a_number_and_bools_are_numbers() -> None:
    assert document(3.5)["n"] == 1
    assert document(np.array([True, False, True]), bins=2)["counts"] == [1, 2]


@pytest.mark.parametrize(
    "values",
    [["a"], [1, [2, 3]], [None], 1j, np.array([1j]), object(), "12", b"12", {"a": 1}],
    ids=lambda values: repr(values)[:12],
)
def test_what_holds_no_numbers_is_refused(values: Any) -> None:
    with pytest.raises(BadValue, match="histogram"):
        media_of(HISTOGRAM, values)


@pytest.mark.parametrize("bins", [0, -1, MAX_BINS + 1, 2.0, True, "auto", None])
def test_a_histogram_has_some_bins(bins: Any) -> None:
    with pytest.raises(BadValue, match="1 to 4096 bins"):
        histogram([1.0], bins)


def test_what_is_ready_is_checked() -> None:
    made = histogram([1.0])
    assert media_of(HISTOGRAM, made) is made
    with pytest.raises(BadValue, match="cannot be logged as text"):
        media_of("text", made)
    with pytest.raises(BadValue, match="fields"):
        media_of("graph", Media("graph", {}))
