"""Media: histograms, images, texts, graphs and files that belong to a trial, and the blobs they refer to.

A series of media has points as a metric has, whose values are small documents:

| kind | its documents |
| --- | --- |
| histogram | ``edges``, ``counts`` (one less), ``n``, ``nan``, ``posinf``, ``neginf``, ``min``, ``max`` |
| image | ``width``, ``height``, ``channels``, ``format``, ``digest``, ``size`` |
| text | ``text``, or ``digest`` and ``size`` when it is long |
| graph | ``digest``, ``size`` |
| file | ``name``, ``digest``, ``size`` |

Large content is a blob: a string of bytes that the store holds once, under its SHA-256 (64 hexadecimal
digits), however many documents refer to it.  It arrives in parts, in order, and is complete when it has its
size and its digest; a document that refers to an incomplete blob is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from track_protocol.errors import BadArguments, BadValue
from track_protocol.model.values import MAX_ITEMS, MAX_TEXT_BYTES, check_name

__all__ = [
    "FILE",
    "GRAPH",
    "HISTOGRAM",
    "IMAGE",
    "MAX_BLOB_BYTES",
    "MEDIA_KINDS",
    "PART_BYTES",
    "TEXT",
    "Media",
    "blob_of",
    "check_media",
    "is_digest",
]

HISTOGRAM: Final = "histogram"
IMAGE: Final = "image"
TEXT: Final = "text"
GRAPH: Final = "graph"
FILE: Final = "file"
MEDIA_KINDS: Final = (HISTOGRAM, IMAGE, TEXT, GRAPH, FILE)

PART_BYTES: Final = MAX_TEXT_BYTES
"""Most bytes of a blob in one call, as of any value."""

MAX_BLOB_BYTES: Final = 2**30
"""Most bytes of one blob."""

_DIGEST: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Media:
    """Something to be logged.

    Attributes:
        kind: one of `MEDIA_KINDS`.
        document: as the table says; with `content`, its ``digest`` and ``size`` are of that.
        content: the blob that the document refers to, as bytes or as the file that has them; None when there
            is none, or when the store is known to have it.
    """

    kind: str
    document: Mapping[str, Any]
    content: bytes | Path | None = field(default=None, repr=False)


def is_digest(value: Any) -> bool:
    """Whether a value is a SHA-256 in 64 lower-case hexadecimal digits."""
    return type(value) is str and _DIGEST.fullmatch(value) is not None


def blob_of(document: Mapping[str, Any]) -> str | None:
    """The digest of the blob that a document refers to; None if it needs none."""
    return document.get("digest")


def check_media(kind: str, document: Mapping[str, Any]) -> None:
    """Check a document of a kind.

    Raises:
        BadArguments: there is no such kind.
        BadValue: a field is missing, unknown or wrong; the message names it.
    """
    forms = _FORMS.get(kind)
    if forms is None:
        raise BadArguments(f"{kind!r:.80} is not a kind of media; the kinds are: {', '.join(MEDIA_KINDS)}")
    form = next((each for each in forms if each.keys() == document.keys()), None)
    if form is None:
        wanted = " or ".join("{" + ", ".join(each) + "}" for each in forms)
        raise BadValue(f"the document of a {kind} has the fields {wanted}, not {sorted(document)!r:.200}")
    for name, (fits, what) in form.items():
        if not fits(document[name]):
            raise BadValue(f"field {name!r} of a {kind} must be {what}, not {document[name]!r:.80}")
    if kind == HISTOGRAM:
        _check_histogram(document)


def _check_histogram(document: Mapping[str, Any]) -> None:
    edges, counts = document["edges"], document["counts"]
    if len(edges) != len(counts) + 1 and not len(edges) == len(counts) == 0:
        raise BadValue(
            f"a histogram of {len(counts)} counts has {len(counts) + 1} edges, and {len(edges)} are given"
        )
    if any(left > right for left, right in pairwise(edges)):
        raise BadValue("the edges of a histogram must ascend")
    within = sum(counts)
    if within + sum(document[name] for name in ("nan", "posinf", "neginf")) != document["n"]:
        raise BadValue("'n' of a histogram must be the sum of its counts, NaN and infinities")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: type(value) is list and len(value) <= MAX_ITEMS and all(map(fits, value))


def _is_name(value: Any) -> bool:
    try:
        check_name(value)
    except BadValue:
        return False
    return True


_Check = tuple[Callable[[Any], bool], str]

_COUNT: Final[_Check] = (_is_count, "an integer, 0 or more")
_SIDE: Final[_Check] = (lambda value: _is_count(value) and value > 0, "an integer above 0")
_BLOB: Final[Mapping[str, _Check]] = {
    "digest": (is_digest, "a SHA-256 in 64 hexadecimal digits"),
    "size": _COUNT,
}
_FINITE: Final[_Check] = (lambda value: value is None or _is_finite(value), "a finite number or None")

_FORMS: Final[Mapping[str, tuple[Mapping[str, _Check], ...]]] = {
    HISTOGRAM: (
        {
            "edges": (_is_list_of(_is_finite), "a list of finite numbers"),
            "counts": (_is_list_of(_is_count), "a list of integers, 0 or more"),
            **dict.fromkeys(("n", "nan", "posinf", "neginf"), _COUNT),
            **dict.fromkeys(("min", "max"), _FINITE),
        },
    ),
    IMAGE: (
        {
            **dict.fromkeys(("width", "height"), _SIDE),
            "channels": (lambda value: value in (1, 3, 4) and type(value) is int, "1, 3 or 4"),
            "format": (lambda value: value == "png", "'png'"),
            **_BLOB,
        },
    ),
    TEXT: ({"text": (lambda value: type(value) is str, "a string")}, _BLOB),
    GRAPH: (_BLOB,),
    FILE: ({"name": (_is_name, "a name of 1 to 256 bytes"), **_BLOB},),
}
