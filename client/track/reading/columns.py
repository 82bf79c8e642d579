"""Tables in columns, which become the frames of whichever library is installed."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Final

from track.reading.html import html_table
from track_protocol.errors import BadArguments, MissingExtra

__all__ = ["Columns"]

_SHOWN: Final = 50
"""Rows that a notebook shows."""


class Columns(Mapping[str, Sequence[Any]]):
    """Equally long columns by name.

    Args:
        columns: by name.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._columns = dict(columns)

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]], first: Sequence[str] = ()) -> Columns:
        """The columns of rows that need not have the same names; None where a row lacks a value.

        Args:
            rows: values by name.
            first: names of columns that there are in any case, before the others.
        """
        names = dict.fromkeys(first)
        for row in rows:
            names |= dict.fromkeys(row)
        return cls({name: [row.get(name) for row in rows] for name in names})

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(next(iter(self._columns.values()), ()))

    def __getitem__(self, name: str) -> Sequence[Any]:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"<{self.count:,} rows of {', '.join(self._columns)}>"

    def rows(self, limit: int | None = None) -> list[tuple[Any, ...]]:
        """The rows, at most so many."""
        return list(zip(*(column[:limit] for column in self._columns.values()), strict=True))

    def html(self, note: str = "") -> str:
        """The table as HTML, with a line below it."""
        return html_table(list(self._columns), self.rows(_SHOWN), note)

    def _repr_html_(self) -> str:
        left_out = self.count - _SHOWN
        return self.html(f"{left_out:,} more rows" if left_out > 0 else "")

    def to_frame(self, library: str | None = None) -> Any:
        """The table as a frame.

        Args:
            library: ``"pandas"``, ``"polars"``, or ``"numpy"`` for arrays by name.  By default the first of
                pandas and polars that the program has imported, else the first that is installed, else NumPy.

        Raises:
            MissingExtra: it is not installed.
            BadArguments: there is no such library.
        """
        name = _available() if library is None else library
        if name not in _FRAMES:
            raise BadArguments(f"{name!r} makes no frames: give one of {', '.join(_FRAMES)}")
        try:
            return _FRAMES[name](self._columns)
        except ImportError as error:
            raise MissingExtra(
                f"a frame needs {name}, which is not installed ({error}): pip install {name}"
            ) from error


def _available() -> str:
    libraries = ("pandas", "polars")
    imported = [each for each in libraries if each in sys.modules]
    installed = (each for each in libraries if find_spec(each) is not None)
    return next(iter(imported), None) or next(installed, "numpy")


def _pandas(columns: Mapping[str, Sequence[Any]]) -> Any:
    import pandas

    return pandas.DataFrame({name: _as_list(column) for name, column in columns.items()})


def _polars(columns: Mapping[str, Sequence[Any]]) -> Any:
    import polars

    return polars.DataFrame(
        [_polars_series(polars, name, _as_list(column)) for name, column in columns.items()]
    )


def _polars_series(polars: Any, name: str, values: list[Any]) -> Any:
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {int, float}:
        # A column of both is one of floats: a series of its first values would refuse the others.
        values = [float(value) if value is not None and float in kinds else value for value in values]
    elif len(kinds) > 1:
        # Its columns have one type, and a step or a parameter may be a number here and a text there.
        values = [None if value is None else str(value) for value in values]
    return polars.Series(name, values, strict=False)


def _numpy(columns: Mapping[str, Sequence[Any]]) -> Any:
    import numpy

    return {name: _numpy_column(numpy, _as_list(column)) for name, column in columns.items()}


def _numpy_column(numpy: Any, values: list[Any]) -> Any:
    kinds = {type(value) for value in values}
    is_plain = kinds == {int, float} or (len(kinds) == 1 and kinds <= {int, float, bool, str})
    column = numpy.array(values) if is_plain else numpy.empty(len(values), dtype=object)
    if not is_plain:
        column[:] = values
    return column


def _as_list(column: Sequence[Any]) -> list[Any]:
    return column.tolist() if isinstance(column, array) else list(column)


_FRAMES: Final[Mapping[str, Callable[[Mapping[str, Sequence[Any]]], Any]]] = {
    "pandas": _pandas,
    "polars": _polars,
    "numpy": _numpy,
}
