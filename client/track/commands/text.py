"""Plain text for terminals: tables, times and sizes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

__all__ = ["bytes_text", "cut_to", "table", "time_text", "width_of"]

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def width_of(text: str) -> int:
    """Places that a text takes on a terminal: wide letters take two, marks over a letter none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def cut_to(text: str, width: int) -> str:
    """A text that takes no more places than that."""
    if width_of(text) <= width:
        return text
    while text and width_of(text) > width - 1:
        text = text[:-1]
    return f"{text}…"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Lines with columns that stand below each other; numbers are to be text already.

    Args:
        header: names of the columns.
        rows: cells.
        right: numbers of the columns that stand at the right.
    """
    columns, right = range(len(header)), set(right)
    widths = [max(width_of(row[column]) for row in [header, *rows]) for column in columns]
    return [
        "  ".join(_cell(row[n], widths[n], n in right) for n in columns).rstrip() for row in [header, *rows]
    ]


def _cell(text: str, width: int, right: bool) -> str:
    space = " " * (width - width_of(text))
    return space + text if right else text + space


def bytes_text(count: float) -> str:
    """A number of bytes in the unit that suits it."""
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"


def time_text(seconds: float) -> str:
    """A moment, in seconds since the epoch, in the local time."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
