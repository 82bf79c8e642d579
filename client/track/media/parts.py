"""The content of media in the parts that are sent; a text is read without the tokens in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from track_protocol.model.media import PART_BYTES
from track_protocol.security.tokens import read_redacted

__all__ = ["parts_of"]

_LOOKED_AT_BYTES: Final = 8_000
"""As git does, a content is taken for a text if there is no NUL in its beginning."""


def parts_of(content: bytes | Path) -> Iterator[bytes]:
    """The parts of a content; at least one, which may be empty.

    A script often has a login in it.  In a text, a token becomes as many asterisks; what is no
    text, such as a checkpoint with checksums of its own, is read as it is.

    Raises:
        OSError: the file cannot be read.
    """
    with BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        is_text = b"\0" not in file.read(_LOOKED_AT_BYTES)
        read: Callable[[BinaryIO, int, int], bytes] = read_redacted if is_text else _read
        yield (part := read(file, 0, PART_BYTES))
        offset = len(part)
        while part := read(file, offset, PART_BYTES) if part else b"":
            offset += len(part)
            yield part


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
