"""Generated tokens, how to recognise them, and a wrapper that hides a secret.

A token is redacted in each text that leaves the process other than as a login: in what is logged, in errors
and in crash output.  A text of the same length replaces it, so that positions and sizes stay right.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import BinaryIO, Final

__all__ = [
    "TOKEN_BITS",
    "Secret",
    "is_generated",
    "new_token",
    "read_redacted",
    "redact_tokens",
    "redact_tokens_in_bytes",
]

TOKEN_BITS: Final = 160

_PREFIX: Final = "trk_"
_CHECK_LETTERS: Final = 6
_TOKEN_CHARACTERS: Final = 42
_FORM: Final = re.compile(r"trk_([a-z2-7]{32})([a-z2-7]{6})")


def new_token() -> str:
    """A fresh token: ``trk_``, 160 random bits in base32, and a checksum of 30 bits.

    The prefix lets a secret scanner find a leaked token; the checksum distinguishes a mistyped token from
    a password that a person chose.
    """
    body = _base32(secrets.token_bytes(TOKEN_BITS // 8))
    return f"{_PREFIX}{body}{_checksum(body)}"


def is_generated(text: str) -> bool:
    """Whether `text` has the form and the checksum of `new_token`.

    Such a text holds 160 random bits, so it needs neither many iterations nor a pin known
    beforehand; anything else counts as a password that can be guessed.
    """
    match = _FORM.fullmatch(text)
    return match is not None and _checksum(match[1]) == match[2]


def redact_tokens(text: str) -> str:
    """The text with asterisks in the place of each generated token.

    A password that a person chose cannot be distinguished from other words, and stays.
    """
    return _FORM.sub(_redacted, text) if _PREFIX in text else text


def redact_tokens_in_bytes(data: bytes) -> bytes:
    """The same for text in any encoding that has ASCII in it."""
    return redact_tokens(data.decode("latin-1")).encode("latin-1") if _PREFIX.encode() in data else data


def read_redacted(file: BinaryIO, offset: int, size: int) -> bytes:
    """A part of a file with asterisks in the place of each generated token, also of one that it cuts.

    Args:
        file: of text.
        offset: where the part begins.
        size: most bytes to read.
    """
    begin = max(0, offset - _TOKEN_CHARACTERS)
    file.seek(begin)
    data = file.read(offset - begin + size + _TOKEN_CHARACTERS)
    return redact_tokens_in_bytes(data)[offset - begin :][:size]


def _redacted(found: re.Match[str]) -> str:
    return _PREFIX + "*" * (len(found[0]) - len(_PREFIX)) if is_generated(found[0]) else found[0]


class Secret:
    """A text that shows itself only to `reveal`.

    Args:
        text: the secret; another `Secret` is copied.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str | Secret) -> None:
        self._text: str = text.reveal() if isinstance(text, Secret) else text

    def reveal(self) -> str:
        """The text itself, for the code that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def _checksum(body: str) -> str:
    digest = hashlib.sha256(f"{_PREFIX}{body}".encode("ascii")).digest()
    return _base32(digest)[:_CHECK_LETTERS]
