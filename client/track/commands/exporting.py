"""Writers of rows that come in columns, a page at a time, so that an export needs little memory.

Each column has a sort: ``text``, ``number``, ``labels`` (a mapping, or nothing) or ``any``.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, Protocol

from track_protocol.errors import MissingExtra

__all__ = ["FORMATS", "Writer", "open_writer"]


class Writer(Protocol):
    """Writes rows."""

    def write(self, columns: Sequence[Sequence[Any]]) -> None:
        """Write rows, given as equally long columns in the order in which they were named."""


@contextmanager
def open_writer(kind: str, file: BinaryIO, columns: Mapping[str, str]) -> Iterator[Writer]:
    """A writer of rows, which completes the file at its end.

    Args:
        kind: one of `FORMATS`.
        file: where to.
        columns: sorts of the columns, by their names in order.

    Raises:
        MissingExtra: the packages for this kind are not installed.
    """
    with FORMATS[kind](file, columns) as writer:
        yield writer


class _Csv:
    """NaN and infinities as ``nan``, ``inf`` and ``-inf``, what is not there as nothing."""

    def __init__(self, file: BinaryIO, columns: Mapping[str, str]) -> None:
        self._text = io.TextIOWrapper(file, "utf-8", newline="", write_through=False)
        self._rows = csv.writer(self._text, lineterminator="\n")
        self._rows.writerow(columns)

    def write(self, columns: Sequence[Sequence[Any]]) -> None:
        self._rows.writerows(zip(*(map(_cell, column) for column in columns), strict=True))

    def __enter__(self) -> _Csv:
        return self

    def __exit__(self, *_error: object) -> None:
        self._text.flush()
        self._text.detach()  # the file is not this object's to close


def _cell(value: Any) -> Any:
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, default=str, ensure_ascii=False) if value else ""
    return str(value).lower() if isinstance(value, bool) else value


class _Json:
    """One array, an object in each line; NaN and infinities as Python's json has them."""

    def __init__(self, file: BinaryIO, columns: Mapping[str, str]) -> None:
        self._file = file
        self._names = list(columns)
        self._before = "[\n"

    def write(self, columns: Sequence[Sequence[Any]]) -> None:
        lines = []
        for row in zip(*columns, strict=True):
            text = json.dumps(dict(zip(self._names, row, strict=True)), default=str, ensure_ascii=False)
            lines.append(f"{self._before}{text}")
            self._before = ",\n"
        self._file.write("".join(lines).encode(errors="backslashreplace"))

    def __enter__(self) -> _Json:
        return self

    def __exit__(self, kind: object, *_error: object) -> None:
        if kind is None:
            self._file.write(b"[]\n" if self._before == "[\n" else b"\n]\n")


class _Parquet:
    """An ``any`` column is two: numbers under its name, and what is none as JSON under ``NAME_text``."""

    def __init__(self, file: BinaryIO, columns: Mapping[str, str]) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise MissingExtra(f"Parquet needs pyarrow ({error}): pip install 'trackwire[export]'") from error
        self._arrow: Any = pyarrow
        self._sorts = list(columns.values())
        fields = []
        for name, sort in columns.items():
            number = sort in ("number", "any")
            fields.append((name, pyarrow.float64() if number else pyarrow.string()))
            if sort == "any":
                fields.append((f"{name}_text", pyarrow.string()))
        self._schema: Any = pyarrow.schema(fields)
        self._writer: Any = parquet.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, columns: Sequence[Sequence[Any]]) -> None:
        arrays: list[list[Any]] = []
        for sort, column in zip(self._sorts, columns, strict=True):
            if sort in ("number", "any"):
                arrays.append([float(value) if _is_number(value) else None for value in column])
            if sort == "any":
                arrays.append([_rest(value) for value in column])
            elif sort != "number":
                arrays.append([_text(value) for value in column])
        table = [
            self._arrow.array(each, field.type) for each, field in zip(arrays, self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(table, schema=self._schema))

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, *_error: object) -> None:
        self._writer.close()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _rest(value: Any) -> str | None:
    """What a column of numbers cannot hold: other values, and integers that no float is equal to."""
    if value is None or (
        _is_number(value) and (isinstance(value, float) or math.trunc(float(value)) == value)
    ):
        return None
    return json.dumps(value, default=str, ensure_ascii=False)


def _text(value: Any) -> str | None:
    if value is None or value == {}:
        return None
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


FORMATS: Final[Mapping[str, Callable[[BinaryIO, Mapping[str, str]], Any]]] = {
    "csv": _Csv,
    "json": _Json,
    "parquet": _Parquet,
}
"""The formats of an export."""
