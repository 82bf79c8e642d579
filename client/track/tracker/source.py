"""The content of an old database, converted to the form of a store."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from track.media import media_of
from track.tracker.legacy import HISTOGRAMS, IMAGES, TEXTS, LegacyDatabase, LegacyRun
from track.tracker.media import GRAPH_NAME, graph_media, histogram_media, image_media
from track_protocol.errors import BadValue
from track_protocol.model.entities import Trial
from track_protocol.model.media import FILE, GRAPH, HISTOGRAM, IMAGE, TEXT, Media, check_media
from track_protocol.model.seriesname import check_series_name
from track_protocol.model.values import MAX_NAME_BYTES

__all__ = ["missing_media", "storable_name", "time_of"]

_DIGITS: Final = 8


def storable_name(name: str) -> str:
    """The name of a series, or one that a store takes, and that no other series gets."""
    try:
        return check_series_name(name)
    except BadValue:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
        shown = "".join(letter if letter.isprintable() else "?" for letter in name)
        prefix = shown.encode("utf-8", "replace")[: MAX_NAME_BYTES - _DIGITS - 1].decode("utf-8", "ignore")
        return f"{prefix}~{digest}"


def time_of(at: Any, run: LegacyRun) -> float:
    """When something was recorded: as the database says, or else when its run was made."""
    for known in (at, run.created_at):
        if isinstance(known, int | float):
            return float(known)
    return 0.0


def missing_media(
    database: LegacyDatabase, run: LegacyRun, trial: Trial
) -> Iterator[tuple[str, str, Media, Any, float]]:
    """What a run has beside its points, without what its trial has of it already, in order.

    Args:
        database: where it is.
        run: whose.
        trial: the run's, as it is stored, or as it was made now.

    Returns:
        name of the series, kind, the thing itself, step and time.
    """
    stored: Mapping[str, Mapping[str, Any]] = trial.media
    for record in database.get_comp_graphs(run.run_id):
        known = stored.get(GRAPH, {}).get(GRAPH_NAME)
        at = time_of(record["created_at"], run)
        # A graph that is saved again replaces the one before.
        if known is None or at > known["last_time"]:
            yield GRAPH_NAME, GRAPH, graph_media(record["graph"]), None, at
    for table, (kind, make) in _MAKERS.items():
        there = Counter[str]()
        for kept_as in (kind, FILE):
            for name, summary in stored.get(kept_as, {}).items():
                there[name] += summary["count"]
        for name, record in database.media(table, run.run_id):
            if there[storable_name(name)]:
                there[storable_name(name)] -= 1
                continue
            media = _made(kind, make, record)
            yield name, media.kind, media, record["step"], time_of(record["wall_time"], run)


def _made(kind: str, make: Callable[[Mapping[str, Any]], Media], record: Mapping[str, Any]) -> Media:
    """The media that a row means; what cannot be one of that kind is stored as it is, as a file."""
    try:
        media = make(record)
        check_media(kind, media.document)
    except (BadValue, TypeError):
        content = record.get("image_data")
        name = f"{kind}.json"
        if isinstance(content, bytes):
            name = f"{record['width']}x{record['height']}x{record['channels']}.raw"
        else:
            content = json.dumps(dict(record), default=repr).encode()
        digest = hashlib.sha256(content).hexdigest()
        return Media(FILE, {"name": name, "digest": digest, "size": len(content)}, content)
    return media


_MAKERS: Final[Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Media]]]] = {
    HISTOGRAMS: (HISTOGRAM, lambda record: histogram_media(record["bucket_edges"], record["bucket_counts"])),
    IMAGES: (
        IMAGE,
        lambda record: image_media(
            record["width"], record["height"], record["channels"], record["image_data"]
        ),
    ),
    TEXTS: (TEXT, lambda record: media_of(TEXT, record["content"])),
}
