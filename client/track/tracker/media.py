"""Graphs, histograms, images and texts of a run: as they are logged, and in the documented form."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from track.media.image import Pixels, decode_png, encode_png
from track.persistence.protocol import Protocol
from track.tracker.records import step_of
from track.tracker.run_ids import number_of
from track_protocol.errors import BadValue
from track_protocol.model.entities import Trial
from track_protocol.model.media import GRAPH, HISTOGRAM, IMAGE, TEXT, Media

__all__ = [
    "GRAPH_NAME",
    "graph_media",
    "graphs_of",
    "histogram_media",
    "histograms_of",
    "image_media",
    "images_of",
    "numbers_in",
    "run_of_graph",
    "texts_of",
]

GRAPH_NAME: Final = "computation"
"""Name of the series of a run's computation graphs."""

_STRIDE: Final = 2**49
"""More than any number of a run: so the id of a graph gives its run, and the first one's is the run's."""


def run_of_graph(graph_id: int) -> int:
    """The number of the run that a graph is of."""
    return graph_id % _STRIDE


def numbers_in(values: Any) -> Any:
    """What a histogram or an image is made from: a tensor that wraps an array has it as ``values``."""
    wrapped = getattr(values, "values", None)
    return values if wrapped is None or callable(wrapped) else wrapped


# -- as they are logged --------------------------------------------------------------------------


def graph_media(graph: Mapping[str, Any]) -> Media:
    """A computation graph.

    Raises:
        BadValue: it cannot be written as JSON.
    """
    try:
        content = json.dumps(graph, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadValue(f"a graph needs nodes and edges of plain values: {error}") from None
    return Media(GRAPH, {"digest": hashlib.sha256(content).hexdigest(), "size": len(content)}, content)


def histogram_media(edges: Sequence[Any], counts: Sequence[Any]) -> Media:
    """A histogram that was counted elsewhere.

    Raises:
        BadValue: the edges are no numbers, or the counts no integers.
    """
    try:
        plain_edges, plain_counts = [float(edge) for edge in edges], [int(count) for count in counts]
    except (TypeError, ValueError) as error:
        raise BadValue(f"a histogram needs numbers as edges and integers as counts: {error}") from None
    document = {
        "edges": plain_edges,
        "counts": plain_counts,
        "n": sum(plain_counts),
        **dict.fromkeys(("nan", "posinf", "neginf"), 0),
        **dict.fromkeys(("min", "max")),
    }
    return Media(HISTOGRAM, document)


def image_media(width: int, height: int, channels: int, data: bytes) -> Media:
    """An image of one byte for each channel of each pixel, row by row.

    Raises:
        BadValue: the bytes are not as many, or no image has so many channels.
    """
    if channels not in (1, 3, 4) or not len(data) == width * height * channels > 0:
        raise BadValue(
            f"{len(data):,} bytes are not an image of {width} x {height} pixels and {channels} channels: "
            "give a byte for each of 1, 3 or 4 channels"
        )
    content = encode_png(Pixels(int(width), int(height), int(channels), bytes(data)))
    document = {
        "width": int(width),
        "height": int(height),
        "channels": int(channels),
        "format": "png",
        "digest": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }
    return Media(IMAGE, document, content)


# -- as they are read ----------------------------------------------------------------------------


def graphs_of(protocol: Protocol, trial: Trial) -> list[dict[str, Any]]:
    """The computation graphs of a run, oldest first: ``id``, ``graph`` and ``created_at``."""
    found = []
    for series in protocol.fetch_media(trial, GRAPH).values():
        for index, at in enumerate(series.times):
            found.append({"graph": json.loads(series.content(index)), "created_at": at})
    found.sort(key=lambda graph: graph["created_at"])
    number = number_of(trial)
    return [{"id": number + _STRIDE * ordinal, **graph} for ordinal, graph in enumerate(found)]


def histograms_of(protocol: Protocol, trial: Trial) -> dict[str, list[dict[str, Any]]]:
    """The histograms of a run by name, each by step."""

    def record_of(series: Any, index: int) -> dict[str, Any]:
        document = series.values[index]
        return {
            "bucket_edges": list(document["edges"]),
            "bucket_counts": list(document["counts"]),
            **{name: document[name] for name in ("n", "nan", "posinf", "neginf", "min", "max")},
        }

    return _by_name(protocol, trial, HISTOGRAM, record_of)


def images_of(protocol: Protocol, trial: Trial) -> dict[str, list[dict[str, Any]]]:
    """The images of a run by name, each by step, as raw bytes."""

    def record_of(series: Any, index: int) -> dict[str, Any]:
        pixels = decode_png(series.content(index))
        return {
            "width": pixels.width,
            "height": pixels.height,
            "channels": pixels.channels,
            "image_data": pixels.data,
            "data_b64": base64.b64encode(pixels.data).decode(),
        }

    return _by_name(protocol, trial, IMAGE, record_of)


def texts_of(protocol: Protocol, trial: Trial) -> dict[str, list[dict[str, Any]]]:
    """The texts of a run by name, each by step."""
    return _by_name(protocol, trial, TEXT, lambda series, index: {"content": series.content(index).decode()})


def _by_name(
    protocol: Protocol, trial: Trial, kind: str, record_of: Callable[[Any, int], dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for name, series in protocol.fetch_media(trial, kind).items():
        entries = [
            {"step": step, "wall_time": at, "log_time": at, **record_of(series, index)}
            for index, (step, at) in enumerate(zip(series.steps, series.times, strict=True))
        ]
        found[name] = sorted(entries, key=step_of)
    return found
