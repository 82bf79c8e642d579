"""Tables in columns."""

from __future__ import annotations

import sys
from array import array
from typing import Any

import pytest

from track.reading.columns import Columns
from track_protocol.errors import BadArguments, MissingExtra

TABLE = Columns(
    {
        "step": array("q", [1, 2]),
        "value": array("d", [0.5, float("nan")]),
        "name": ["a", None],
        "mixed": [1, "two"],
        "rising": [1, 2.5],
        "nested": [[1, 2], {"a": 1}],
    }
)


def test_rows_that_lack_a_name_have_none_there() -> None:
    columns = Columns.of_rows([{"a": 1}, {"b": 2}], first=("z",))
    assert {name: list(column) for name, column in columns.items()} == {
        "z": [None, None],
        "a": [1, None],
        "b": [None, 2],
    }


def test_pandas_makes_a_frame() -> None:
    pandas = pytest.importorskip("pandas")
    frame = TABLE.to_frame("pandas")
    assert isinstance(frame, pandas.DataFrame)
    assert frame["step"].tolist() == [1, 2]
    assert str(frame["step"].dtype) == "int64"
    assert frame["mixed"].tolist() == [1, "two"]


def test_polars_makes_a_frame() -> None:
    polars = pytest.importorskip("polars")
    frame = TABLE.to_frame("polars")
    assert isinstance(frame, polars.DataFrame)
    assert frame["step"].to_list() == [1, 2]
    assert frame["rising"].to_list() == [1.0, 2.5]
    assert frame["mixed"].to_list() == ["1", "two"]


def test_numpy_makes_arrays() -> None:
    numpy = pytest.importorskip("numpy")
    arrays = TABLE.to_frame("numpy")
    assert arrays["step"].dtype == numpy.int64
    assert arrays["rising"].tolist() == [1.0, 2.5]
    assert arrays["nested"][0] == [1, 2]


def test_a_table_without_rows_makes_a_frame() -> None:
    pytest.importorskip("pandas")
    assert list(Columns({"a": []}).to_frame("pandas").columns) == ["a"]


@pytest.mark.parametrize(
    ("missing", "chosen"), [([], "pandas"), (["pandas"], "polars"), (["pandas", "polars"], "numpy")]
)
def test_the_first_library_that_is_installed_is_used(
    monkeypatch: pytest.MonkeyPatch, missing: list[str], chosen: str
) -> None:
    for name in ("pandas", "polars"):
        pytest.importorskip(name)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("track.reading.columns.find_spec", lambda name: None if name in missing else object())
    frame: Any = Columns({"a": [1]}).to_frame()
    kind = type(frame).__module__.partition(".")[0] if chosen != "numpy" else type(frame["a"]).__module__
    assert kind == chosen


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match="a frame needs pandas"):
        TABLE.to_frame("pandas")


def test_an_unknown_library_is_refused() -> None:
    with pytest.raises(BadArguments, match="'excel' makes no frames: give one of pandas"):
        TABLE.to_frame("excel")
