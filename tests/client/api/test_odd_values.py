"""Whatever a script logs, the training continues, and what is not stored is counted."""

from __future__ import annotations

import decimal
import enum
import fractions
import functools
import pathlib
import types
from typing import Any
from unittest.mock import MagicMock

import pytest

import track


class Hostile:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    def __float__(self) -> float:
        raise RuntimeError("float")


class Shapeless:
    """An array that breaks when it is read."""

    shape = (3,)

    def tolist(self) -> Any:
        raise RuntimeError("lost")


class Colour(enum.Enum):
    RED = 1


CYCLE: dict[str, Any] = {}
CYCLE["again"] = CYCLE
DEEP: Any = 1.0
for _ in range(100):
    DEEP = {"a": DEEP}

ODD: dict[str, Any] = {
    "none": None,
    "object": object(),
    "hostile": Hostile(),
    "shapeless": Shapeless(),
    "mock": MagicMock(),
    "class": int,
    "function": len,
    "partial": functools.partial(len, ()),
    "module": pathlib,
    "cycle": CYCLE,
    "deep": DEEP,
    "empty dict": {},
    "empty list": [],
    "list": [1, 2, 3],
    "tuple": (1, 2),
    "mixed media": [track.Text("a"), 1],
    "set": {1, 2},
    "bytes": b"\xff",
    "surrogate": "\udcff",
    "long text": "a" * 2_000_000,
    "huge int": 10**5000,
    "big int": 2**70,
    "complex": 1j,
    "decimal": decimal.Decimal("0.5"),
    "fraction": fractions.Fraction(1, 2),
    "bool": True,
    "nan": float("nan"),
    "enum": Colour.RED,
    "path": pathlib.Path("a"),
    "namespace": types.SimpleNamespace(a=1),
    "generator": (n for n in range(3)),
    "image of nothing": track.Image(None),
    "image of a missing file": track.Image("/nowhere.png"),
    "histogram of texts": track.Histogram(["a"]),
    "histogram of nothing": track.Histogram(),
    "counted histogram that is wrong": track.Histogram(np_histogram=([1], [0.0])),
    "table of anything": track.Table(columns=["a"], data=[[object()], [Hostile()]]),
    "odd keys": {1: 1.0, None: 2.0, Hostile: 3.0},
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_value_ends_no_training_and_is_stored_or_counted(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with track.init(project="p") as run:
        run.log({"before": 1.0, "odd": ODD[name], "after": 2.0})
        run.log({"last": 3.0})
        run.summary["odd"] = ODD[name]
        run.config["odd"] = ODD[name]
    (trial,) = track.runs()
    assert trial.status is track.Status.Completed
    assert [trial.summary[each] for each in ("before", "after", "last")] == [1.0, 2.0, 3.0]
    media = (name for kind in trial.media.values() for name in kind)
    assert (
        any(each.startswith("odd") for each in (*trial.metrics, *media))
        or "odd" in caplog.text
        or not ODD[name]
    )
    assert "odd" in trial.metadata["summary"]
    assert "odd" in trial.parameters


@pytest.mark.parametrize("key", [1, None, 0.5, ("a", 1), b"a", Hostile, "", "a" * 5000, "\udcff", "a\nb"])
def test_an_odd_name_ends_no_training(key: Any) -> None:
    with track.init(project="p") as run:
        run.log({"before": 1.0, key: 2.0})
        run.summary.update({key: 2.0}) if isinstance(key, str) else None
    assert track.runs()[0].summary["before"] == 1.0


@pytest.mark.parametrize("step", [0.5, "end", (1, 2), None, float("nan"), object(), 2**70, -1, True])
def test_an_odd_step_ends_no_training(step: Any) -> None:
    with track.init(project="p") as run:
        run.log({"a": 1.0}, step=step)
        run.log({"b": 1.0})
    assert track.runs()[0].summary["b"] == 1.0
