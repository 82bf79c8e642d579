"""Texts of others on a terminal: what could control it is shown and not sent.

A terminal obeys what it is sent: an escape sequence in the name of a trial may clear the screen, change the
window's title, write to the clipboard, or hide what a command does.  So every text that somebody else may
have chosen is cleaned when it is printed.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["clean"]

_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 except tab and line feed, DEL, and C1 (ECMA-48)
    "\u200e\u200f\u2028-\u202e\u2066-\u2069"  # what changes the direction of a text, or ends a line
    "\ud800-\udfff]"  # no text at all: cannot be encoded
)


def clean(text: str) -> str:
    r"""The text with ``\u001b`` for an escape, and so on; tabs and line feeds stay.

    What was JSON is JSON of the same values afterwards.
    """
    return _CONTROL.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
