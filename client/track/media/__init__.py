"""Media: each kind of logged object becomes a small document and, where it is large, a blob."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from track.media.parts import parts_of
from track_protocol.errors import BadArguments, BadValue
from track_protocol.model.media import (
    FILE,
    HISTOGRAM,
    IMAGE,
    MAX_BLOB_BYTES,
    MEDIA_KINDS,
    TEXT,
    Media,
    check_media,
)
from track_protocol.security.tokens import redact_tokens

__all__ = ["INLINE_BYTES", "media_of"]

INLINE_BYTES: Final = 16 * 1024
"""A longer text is a blob of its own."""


def media_of(kind: str, value: Any, /, **options: Any) -> Media:
    """The media of a kind, made from a value.

    Args:
        kind: one of `MEDIA_KINDS`.
        value: the input of that kind, or a finished `Media`.
        options: of the kind, such as ``bins`` of a histogram.

    Raises:
        BadArguments: there is no such kind.
        BadValue: nothing of this kind can be made from the value.
    """
    if kind not in MEDIA_KINDS:
        raise BadArguments(f"{kind!r:.80} is not a kind of media; the kinds are: {', '.join(MEDIA_KINDS)}")
    if issubclass(type(value), Media):
        media = value
        if media.kind != kind:
            raise BadValue(f"a {media.kind} cannot be logged as {kind}")
    else:
        media = _built(kind, value, options)
    media = _redacted(media)
    check_media(kind, media.document)
    size = media.document.get("size", 0)
    if size > MAX_BLOB_BYTES:
        raise BadValue(
            f"this {kind} has {size:,} bytes, more than {MAX_BLOB_BYTES:,}: "
            "store it outside Track, and log its path"
        )
    return media


def _redacted(media: Media) -> Media:
    """The same without the tokens in a content that is a text; files are read without them."""
    if not isinstance(media.content, bytes):
        return media
    content = b"".join(parts_of(media.content))
    if content == media.content:
        return media
    digest = hashlib.sha256(content).hexdigest()
    return Media(media.kind, {**media.document, "digest": digest}, content)


def _built(kind: str, value: Any, options: Mapping[str, Any]) -> Media:
    if kind not in _BUILDERS:
        raise BadValue(
            f"a {kind} cannot be created from {type(value).__name__}: give track_protocol.model.media.Media"
        )
    try:
        return _BUILDERS[kind](value, **options)
    except BadValue:
        raise
    except Exception as error:  # arrays of other packages may raise anything: it ends no training
        raise BadValue(f"a {kind} cannot be created from {type(value).__name__}: {error}") from error


def _histogram(value: Any, **options: Any) -> Media:
    # Deferred, like images: most programs log numbers only.
    from track.media.histogram import histogram

    return histogram(value, **options)


def _image(value: Any) -> Media:
    from track.media.image import image

    return image(value)


def _text(value: Any) -> Media:
    """A text, or the text of something else; what UTF-8 cannot carry in it becomes question marks."""
    if isinstance(value, (bytes, bytearray)):
        value = value.decode("utf-8", "replace")
    value = str(value)
    content = redact_tokens(value).encode(errors="replace")
    if len(content) <= INLINE_BYTES:
        return Media(TEXT, {"text": content.decode()})
    return Media(TEXT, {"digest": hashlib.sha256(content).hexdigest(), "size": len(content)}, content)


def _file(path: str | os.PathLike[str]) -> Media:
    """A file, which has to stay as it is until it is logged; tokens in a text are hidden.

    Raises:
        BadValue: there is no such file, it cannot be read, or it is too large.
    """
    file = Path(os.fsdecode(path))
    try:
        size = file.stat().st_size
        if not file.is_file():
            raise BadValue(f"{file} is not a file: give a file, or pack a folder into an archive first")
        if size > MAX_BLOB_BYTES:
            raise BadValue(
                f"{file} has {size:,} bytes, more than {MAX_BLOB_BYTES:,}: "
                "store it outside Track, and log its path"
            )
        seen, size = hashlib.sha256(), 0
        for part in parts_of(file):
            seen.update(part)
            size += len(part)
    except OSError as error:
        raise BadValue(f"{file} cannot be read ({error.strerror}): check the path") from None
    return Media(FILE, {"name": file.name, "digest": seen.hexdigest(), "size": size}, file)


_BUILDERS: Final[Mapping[str, Callable[..., Media]]] = {
    FILE: _file,
    HISTOGRAM: _histogram,
    IMAGE: _image,
    TEXT: _text,
}
