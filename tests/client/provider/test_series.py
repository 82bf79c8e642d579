"""What the runs of several providers share."""

from __future__ import annotations

import array
import math
from typing import Any

import numpy
import pytest

from track.provider.series import numbers


class Tensor:
    """Has what a tensor has: it must leave its graph and its shape first."""

    def __init__(self, values: list[float]) -> None:
        self._values = numpy.array(values)

    def detach(self) -> Any:
        return self._values


@pytest.mark.parametrize(
    "values",
    [
        [1, 2.5],
        (1, 2.5),
        (value for value in (1, 2.5)),
        array.array("d", [1, 2.5]),
        numpy.array([[1], [2.5]], dtype="float32"),
        Tensor([1, 2.5]),
    ],
    ids=["list", "tuple", "generator", "array", "numpy", "tensor"],
)
def test_numbers_come_out_of_whatever_holds_them(values: Any) -> None:
    assert numbers(values) == [1.0, 2.5]


def test_numbers_that_are_not_finite_stay() -> None:
    assert math.isnan(numbers(numpy.array([float("nan")]))[0])
