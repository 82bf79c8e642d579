"""Output of commands: tables that fit the terminal, plain text in a pipe, JSON."""

from __future__ import annotations

import codecs
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any, BinaryIO, Final, cast

from track_protocol.terminal import clean

__all__ = [
    "CleanedOutput",
    "add_json",
    "bytes_text",
    "confirmed",
    "cut_to",
    "fitted",
    "json_text",
    "output",
    "page",
    "print_json",
    "say",
    "say_error",
    "table",
    "table_text",
    "width_of",
]

_STYLES: Final = {
    "Running": "cyan",
    "Completed": "green",
    "Interrupted": "yellow",
    "Suspended": "yellow",
    "lost": "yellow",
    "Exception": "red",
    "Broken": "red",
}
_LESS: Final = "less -FRX"
_GAP: Final = "  "
_MIN_COLUMN_WIDTH: Final = 16
"""Texts are not cut to less than this."""


def add_json(parser: Any) -> None:
    """Add the option for machines."""
    parser.add_argument("--json", action="store_true", help="JSON output")


def print_json(content: Any) -> None:
    """Print a value; NaN and infinities as Python's json reads them."""
    say(json_text(content, indent=2) + "\n")


def json_text(content: Any, indent: int | None = None) -> str:
    """A value as JSON, in which a key that is no text, such as a tuple, is the JSON of that key."""
    return json.dumps(_with_text_keys(content), indent=indent, ensure_ascii=False, default=str)


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else json_text(key): _with_text_keys(item)
            for key, item in value.items()
        }
    return [_with_text_keys(item) for item in value] if isinstance(value, (list, tuple)) else value


def say(text: str) -> None:
    """Print a text, parts of which others may have chosen."""
    sys.stdout.write(clean(text))


def say_error(text: str) -> None:
    """Print a text, parts of which others may have chosen, to standard error."""
    sys.stderr.write(clean(text))


class CleanedOutput(io.RawIOBase):
    """Standard output as a file of UTF-8 whose texts cannot control the terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Print some bytes."""
        say(self._decoder.decode(bytes(data)))
        return len(data)


def output() -> BinaryIO:
    """Standard output for data: as it is in a pipe, cleaned on a terminal."""
    return cast(BinaryIO, CleanedOutput()) if sys.stdout.isatty() else sys.stdout.buffer


def table_text(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Iterable[int] = (),
    remedy: str = "a wider terminal or --json shows them",
) -> str:
    """A table as text: on a terminal as wide as that and in colours, else plain and uncut.

    Args:
        header: names of the columns.
        rows: cells; as many as columns in each.
        right: numbers of the right-aligned columns.
        remedy: how to see the columns that did not fit the terminal.
    """
    if not sys.stdout.isatty():
        return "\n".join([*table(header, rows, right), ""])
    header, rows = _cells(header), [_cells(row) for row in rows]
    space = shutil.get_terminal_size().columns
    header, rows, dropped = fitted(header, rows, set(right), space)
    try:
        text = _rich_text(header, rows, set(right), space)
    except ImportError:  # without the extra 'cli' it has no colours
        text = "\n".join([*table(header, rows, right), ""])
    return text + (f"not shown: {', '.join(dropped)}; {remedy}\n" if dropped else "")


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: set[int], space: int
) -> tuple[list[str], list[list[str]], list[str]]:
    """A table of a maximum width.

    Long texts are cut first, except in the first column, then columns are left out from the end.

    Returns:
        header and rows, and the names of the columns that were left out.
    """
    widths = [max(width_of(row[number]) for row in [header, *rows]) for number in range(len(header))]
    while sum(widths) + len(_GAP) * (len(widths) - 1) > space:
        cut = max((n for n in range(1, len(widths)) if n not in right), key=widths.__getitem__, default=0)
        if cut and widths[cut] > _MIN_COLUMN_WIDTH:
            widths[cut] -= 1
        elif len(widths) > 1:
            widths.pop()
        else:
            break
    fitting = [
        [cut_to(cell, width) for cell, width in zip(row, widths, strict=False)] for row in [header, *rows]
    ]
    return fitting[0], fitting[1:], list(header[len(widths) :])


def _rich_text(header: Sequence[str], rows: Sequence[Sequence[str]], right: set[int], space: int) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="bold")
    for number, name in enumerate(header):
        drawn.add_column(Text(name), justify="right" if number in right else "left", no_wrap=True)
    for row in rows:
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    fitting = StringIO()
    # One more, for the gap behind the last column.
    width, plain = space + len(_GAP), "NO_COLOR" in os.environ
    Console(file=fitting, force_terminal=True, width=width, no_color=plain).print(drawn)
    return "".join(f"{line.rstrip()}\n" for line in fitting.getvalue().splitlines())


def page(text: str, *, is_drawn: bool = False) -> None:
    """Print a text; a text longer than the terminal goes through a pager (``$PAGER``, else less).

    Args:
        text: the text.
        is_drawn: it comes from `table_text`, whose cells are clean and whose colours are ours.
    """
    text = text if is_drawn else clean(text)
    is_terminal = sys.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty()
    if is_terminal and text.count("\n") >= shutil.get_terminal_size().lines:
        command = shlex.split(os.environ.get("PAGER") or _LESS)
        if command and shutil.which(command[0]):
            environment = {"LESS": "FRX", **os.environ}
            subprocess.run(command, input=text, text=True, check=False, env=environment)  # noqa: S603 - the reader's choice
            return
    sys.stdout.write(text)


def confirmed(question: str) -> bool:
    """Ask a person; only `y` or `yes` is one."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def width_of(text: str) -> int:
    """Columns of a text on a terminal: wide letters take two, marks over a letter none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def cut_to(text: str, width: int) -> str:
    """A text cut to a number of columns."""
    if width_of(text) <= width:
        return text
    while text and width_of(text) > width - 1:
        text = text[:-1]
    return f"{text}…"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Lines with aligned columns; numbers are to be text already.

    Args:
        header: names of the columns.
        rows: cells.
        right: numbers of the right-aligned columns.
    """
    header, rows = _cells(header), [_cells(row) for row in rows]
    columns, right = range(len(header)), set(right)
    widths = [max(width_of(row[column]) for row in [header, *rows]) for column in columns]
    return [
        "  ".join(_cell(row[n], widths[n], n in right) for n in columns).rstrip() for row in [header, *rows]
    ]


def _cells(row: Sequence[str]) -> list[str]:
    """Each in one line."""
    return [clean(cell).replace("\n", " ").replace("\t", " ") for cell in row]


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
