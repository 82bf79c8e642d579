"""Texts: short ones in the document, long ones as a blob."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from track_protocol.errors import BadValue
from track_protocol.model.media import TEXT, Media

__all__ = ["INLINE_BYTES", "text"]

INLINE_BYTES: Final = 16 * 1024
"""A longer text is a blob of its own."""


def text(value: Any) -> Media:
    """A text; what UTF-8 cannot carry in it is replaced by question marks.

    Raises:
        BadValue: it is no str.
    """
    if not isinstance(value, str):
        raise BadValue(f"a text is a str, not {type(value).__name__}: log str(it)")
    content = value.encode(errors="replace")
    if len(content) <= INLINE_BYTES:
        return Media(TEXT, {"text": content.decode()})
    return Media(TEXT, {"digest": hashlib.sha256(content).hexdigest(), "size": len(content)}, content)
