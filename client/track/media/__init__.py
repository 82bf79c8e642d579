"""What can be logged beside numbers: each kind becomes a small document and, where it is large, a blob."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

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

__all__ = ["media_of"]

_BUILDERS: Final[Mapping[str, tuple[str, str]]] = {
    HISTOGRAM: ("track.media.histogram", "histogram"),
    IMAGE: ("track.media.image", "image"),
    TEXT: ("track.media.text", "text"),
    FILE: ("track.media.artifact", "artifact"),
}
"""Module and function, imported when the first of a kind is logged."""


def media_of(kind: str, value: Any, /, **options: Any) -> Media:
    """What a value becomes as media of some kind.

    Args:
        kind: one of `MEDIA_KINDS`.
        value: what that kind is made from, or `Media` that is ready.
        options: of the kind, such as ``bins`` of a histogram.

    Raises:
        BadArguments: there is no such kind.
        BadValue: nothing of this kind can be made from the value.
    """
    if kind not in MEDIA_KINDS:
        raise BadArguments(f"{kind!r:.80} is no kind of media; there are: {', '.join(MEDIA_KINDS)}")
    if isinstance(value, Media):
        media = value
        if media.kind != kind:
            raise BadValue(f"a {media.kind} cannot be logged as {kind}")
    else:
        media = _built(kind, value, options)
    check_media(kind, media.document)
    size = media.document.get("size", 0)
    if size > MAX_BLOB_BYTES:
        raise BadValue(f"this {kind} has {size:,} bytes, more than {MAX_BLOB_BYTES:,}: keep it elsewhere")
    return media


def _built(kind: str, value: Any, options: Mapping[str, Any]) -> Media:
    if kind not in _BUILDERS:
        raise BadValue(
            f"a {kind} cannot be made from {type(value).__name__}: give track_protocol.model.media.Media"
        )
    module, function = _BUILDERS[kind]
    build: Callable[..., Media] = getattr(import_module(module), function)
    try:
        return build(value, **options)
    except BadValue:
        raise
    except Exception as error:  # arrays of other packages may raise anything: it ends no training
        raise BadValue(f"no {kind} can be made from {type(value).__name__}: {error}") from error
