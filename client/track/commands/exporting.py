"""Writers of rows that come in columns, a page at a time, so that an export needs little memory.

Each column has a sort: ``text``, ``number``, ``labels`` (a mapping, or nothing) or ``any``.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, Protocol, TextIO

from track.commands.printing import json_text
from track_protocol.errors import MissingExtra

__all__ = ["FORMATS", "CsvRows", "Writer", "add_keep_formulas", "open_writer"]


def add_keep_formulas(parser: argparse.ArgumentParser) -> None:
    """Add the option for programs that read CSV and compute nothing."""
    parser.add_argument(
        "--keep-formulas",
        action="store_true",
        help="CSV: put no apostrophe before a text that a spreadsheet would compute",
    )


class Writer(Protocol):
    """Writes rows."""

    def write(self, columns: Sequence[Sequence[Any]]) -> None:
        """Write rows, given as equally long columns in the order in which they were named."""


@contextmanager
def open_writer(
    kind: str, file: BinaryIO, columns: Mapping[str, str], *, keeps_formulas: bool = False
) -> Iterator[Writer]:
    """A writer of rows, which completes the file at its end.

    Args:
        kind: one of `FORMATS`.
        file: where to.
        columns: sorts of the columns, by their names in order.
        keeps_formulas: see `CsvRows`; other formats have no formulas.

    Raises:
        MissingExtra: the packages for this kind are not installed.
    """
    with FORMATS[kind](file, columns, keeps_formulas=keeps_formulas) as writer:
        yield writer


class CsvRows:
    """Rows as CSV: NaN and infinities as ``nan``, ``inf`` and ``-inf``, what is not there as nothing.

    A text that a spreadsheet would compute, such as ``=HYPERLINK(...)``, gets an apostrophe before it, which
    spreadsheets take for the mark of a text.

    Args:
        text: where to; written without a translation of line ends.
        keeps_formulas: write such a text as it is.
    """

    def __init__(self, text: TextIO, *, keeps_formulas: bool = False) -> None:
        self._keeps_formulas = keeps_formulas
        self._rows = csv.writer(text, lineterminator="\n")
        # Python before 3.11.9 and 3.12.3 puts no quotes around a carriage return, which readers take for the
        # end of the row.
        self._quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Write some rows."""
        for row in rows:
            if not self._keeps_formulas:
                row = [_no_formula(cell) for cell in row]  # noqa: PLW2901 - one row, in either form
            has_return = any("\r" in cell for cell in row if isinstance(cell, str))
            (self._quoted if has_return else self._rows).writerow(row)


_FORMULA: Final = (*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a formula may begin; some spreadsheets take the full-width letters for the others."""


def _no_formula(cell: Any) -> Any:
    """The cell, with an apostrophe if it is a text that a spreadsheet would compute; a number is none."""
    if not isinstance(cell, str) or not cell.startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


class _Csv:
    def __init__(self, file: BinaryIO, columns: Mapping[str, str], *, keeps_formulas: bool = False) -> None:
        self._text = io.TextIOWrapper(file, "utf-8", newline="", write_through=False)
        self._rows = CsvRows(self._text, keeps_formulas=keeps_formulas)
        self._rows.write([list(columns)])

    def write(self, columns: Sequence[Sequence[Any]]) -> None:
        self._rows.write(zip(*(map(_cell, column) for column in columns), strict=True))

    def __enter__(self) -> _Csv:
        return self

    def __exit__(self, *_error: object) -> None:
        self._text.flush()
        self._text.detach()  # the file is not this object's to close


def _cell(value: Any) -> Any:
    if isinstance(value, (dict, list, tuple)):
        return json_text(value) if value else ""
    return str(value).lower() if isinstance(value, bool) else value


class _Json:
    """One array, an object in each line; NaN and infinities as Python's json has them."""

    def __init__(self, file: BinaryIO, columns: Mapping[str, str], *, keeps_formulas: bool = False) -> None:
        self._file = file
        self._names = list(columns)
        self._before = "[\n"

    def write(self, columns: Sequence[Sequence[Any]]) -> None:
        lines = []
        for row in zip(*columns, strict=True):
            text = json_text(dict(zip(self._names, row, strict=True)))
            lines.append(f"{self._before}{text}")
            self._before = ",\n"
        self._file.write("".join(lines).encode(errors="backslashreplace"))

    def __enter__(self) -> _Json:
        return self

    def __exit__(self, kind: object, *_error: object) -> None:
        if kind is None:
            self._file.write(b"[]\n" if self._before == "[\n" else b"\n]\n")


class _Parquet:
    """Columns of the types that their values turn out to have.

    The values of an ``any`` column come page by page, and its type is known at the end only.  Until then it
    is two columns in a temporary file, numbers and texts; the export is made of these, again page by page.
    """

    def __init__(self, file: BinaryIO, columns: Mapping[str, str], *, keeps_formulas: bool = False) -> None:
        try:
            import pyarrow
            from pyarrow import compute, parquet
        except ImportError as error:
            raise MissingExtra(f"Parquet needs pyarrow ({error}): pip install 'trackwire[export]'") from error
        self._arrow: Any = pyarrow
        self._compute: Any = compute
        self._parquet: Any = parquet
        self._file = file
        self._columns = columns
        self._sorts: dict[str, set[str]] = {name: set() for name, sort in columns.items() if sort == "any"}
        fields = []
        for name, sort in columns.items():
            fields.append((name, pyarrow.float64() if sort in ("number", "any") else pyarrow.string()))
            if sort == "any":
                fields.append((_twin(name), pyarrow.string()))
        self._schema: Any = pyarrow.schema(fields)
        self._stage: Any = tempfile.TemporaryFile()  # noqa: SIM115 # closed at the exit
        self._writer: Any = parquet.ParquetWriter(self._stage, self._schema)

    def write(self, columns: Sequence[Sequence[Any]]) -> None:
        arrays: list[list[Any]] = []
        for (name, sort), column in zip(self._columns.items(), columns, strict=True):
            if sort == "any":
                sorts = list(map(_sort_of, column))
                self._sorts[name].update(sorts)
                pairs = list(zip(column, sorts, strict=True))
                arrays.append([float(value) if sort in _NUMBERS else None for value, sort in pairs])
                arrays.append([None if sort in _NUMBERS else _text(value) for value, sort in pairs])
            elif sort == "number":
                arrays.append([float(value) if _is_number(value) else None for value in column])
            else:
                arrays.append([_text(value) for value in column])
        table = [
            self._arrow.array(each, field.type) for each, field in zip(arrays, self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(table, schema=self._schema))

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, kind: object, *_error: object) -> None:
        with self._stage:
            self._writer.close()
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        types = {
            name: self._type_of(sort, self._sorts.get(name, set())) for name, sort in self._columns.items()
        }
        schema = self._arrow.schema(types.items())
        self._stage.seek(0)
        with self._parquet.ParquetWriter(self._file, schema, compression="zstd") as writer:
            staged = self._parquet.ParquetFile(self._stage, pre_buffer=False)
            for batch in staged.iter_batches(_BATCH, use_threads=False):
                arrays = [
                    self._merged(batch, name, sort, types[name]) for name, sort in self._columns.items()
                ]
                writer.write_table(self._arrow.Table.from_arrays(arrays, schema=schema))

    def _type_of(self, sort: str, found: set[str]) -> Any:
        if sort != "any":
            return self._arrow.float64() if sort == "number" else self._arrow.string()
        found = found - {"nothing"}
        if found == {"int"}:
            return self._arrow.int64()
        if found == {"bool"}:
            return self._arrow.bool_()
        return self._arrow.float64() if found <= _NUMBERS else self._arrow.string()

    def _merged(self, batch: Any, name: str, sort: str, type: Any) -> Any:
        """A column in its type: of numbers, of texts, or of both as texts."""
        column = batch.column(name)
        if sort != "any":
            return column
        texts = batch.column(_twin(name))
        if type == self._arrow.bool_():
            return self._compute.equal(texts, "true")
        if type != self._arrow.string():
            return column.cast(type)
        return self._compute.coalesce(texts, column.cast(type))


_BATCH: Final = 16_384
_NUMBERS: Final = frozenset({"int", "float"})
_MAX_EXACT: Final = 2**53
"""Up to here a float is equal to every integer."""


def _twin(name: str) -> str:
    return f"{name}\0"  # of no column


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _sort_of(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if abs(value) <= _MAX_EXACT else "text"
    return "float" if isinstance(value, float) else "text"


def _text(value: Any) -> str | None:
    if value is None or value == {}:
        return None
    return value if isinstance(value, str) else json_text(value)


FORMATS: Final[Mapping[str, Callable[..., Any]]] = {
    "csv": _Csv,
    "json": _Json,
    "parquet": _Parquet,
}
"""The formats of an export."""
