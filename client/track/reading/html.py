"""Tables as HTML, for notebooks.

Names and values come from whoever logged them, and a notebook runs the scripts in what it shows: every text
is escaped here, and nothing else makes HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

__all__ = ["html_fields", "html_table"]

_LONGEST: Final = 80
"""Letters of a cell."""

_DIGITS: Final = 6
_TIMES: Final = frozenset({"created", "started", "ended", "time"})


def html_table(header: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> str:
    """A table.

    Args:
        header: names of its columns.
        rows: their values.
        note: a line below.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{_cell(name, value)}</td>" for name, value in zip(header, row, strict=True))
        + "</tr>"
        for row in rows
    )
    foot = f"<p>{escape(note)}</p>" if note else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{foot}"


def html_fields(fields: Mapping[str, Any]) -> str:
    """A table of one thing: a row for each field of it."""
    rows = [(name, None if value is None else _text(name, value)) for name, value in fields.items()]
    return html_table(("field", "value"), rows)


def _cell(name: str, value: Any) -> str:
    text = "" if value is None else _text(name, value)
    shown = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return escape(shown)


def _text(name: str, value: Any) -> str:
    if isinstance(value, float):
        return _moment(value) if name in _TIMES else f"{value:.{_DIGITS}g}"
    return str(value)


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
