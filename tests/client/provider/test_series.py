"""What the runs of several providers share."""

from __future__ import annotations

import argparse
import array
import math
from typing import Any

import numpy
import pytest

from track.provider import RunConfig
from track.provider.series import LabelledRun, numbers


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
def test_numbers_are_read_from_tensors_and_arrays(values: Any) -> None:
    assert numbers(values) == [1.0, 2.5]


def test_non_finite_numbers_are_unchanged() -> None:
    assert math.isnan(numbers(numpy.array([float("nan")]))[0])


class Run(LabelledRun):
    """Collects what it is to write."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[str, Any, dict[str, str]]] = []

    def write_scalar(self, name: str, value: Any, labels: dict[str, str]) -> None:
        self.written.append((name, value, labels))

    def write_bins(self, name: str, values: Any, labels: dict[str, str]) -> None:
        self.written.append((name, values, labels))


@pytest.mark.parametrize("labels", ["train", ["phase"], 3])
def test_invalid_labels_are_reported_once_and_do_not_end_the_training(
    labels: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run()
    run.set_context({"phase": "train"})
    run.set_context(labels)
    run.scalar("loss", 1.0, labels)
    run.bins("weights", [1.0], labels)
    run.scalar("loss", 2.0)
    assert run.written == [("loss", 2.0, {"phase": "train"})]
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "hparams",
    [{0: "a", "lr": 0.1}, argparse.Namespace(**{"0": "a", "lr": 0.1})],
)
def test_hyper_parameters_may_be_of_any_kind_that_has_names(hparams: Any) -> None:
    assert RunConfig(name="r", hparams=hparams).hparams == {"0": "a", "lr": 0.1}
