"""Histograms: how often values lie between some edges, and how many are no finite numbers."""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, Final

from track.media.arrays import as_array, numpy
from track_protocol.errors import BadValue
from track_protocol.model.media import HISTOGRAM, Media

__all__ = ["MAX_BINS", "histogram"]

MAX_BINS: Final = 4_096


def histogram(values: Any, bins: int = 30) -> Media:
    """The histogram of some values.

    The bins are equally wide, from the least finite value to the greatest; the last one has both its edges.
    Where all values are equal, they reach half a unit to either side of it.

    Args:
        values: an array or a tensor of any shape, nested lists, or a number; none at all is no error.
        bins: how many.

    Raises:
        BadValue: these are no real numbers, or there are too many bins.
    """
    if type(bins) is not int or not 1 <= bins <= MAX_BINS:
        raise BadValue(f"a histogram has 1 to {MAX_BINS} bins, not {bins!r:.40}")
    np = numpy()
    return _plainly(values, bins) if np is None else _by_numpy(np, values, bins)


def _by_numpy(np: Any, values: Any, bins: int) -> Media:
    if isinstance(values, np.ma.MaskedArray):
        values = values.compressed()  # the numbers under the mask are none
    array = as_array(np, values)
    if array.dtype.kind not in "biufO" or (array.dtype.kind == "O" and array.size):
        raise BadValue(f"a histogram needs real numbers, not {array.dtype}")
    flat = array.astype(np.float64).ravel()
    finite = flat[np.isfinite(flat)]
    nan, positive = int(np.isnan(flat).sum()), int(np.isposinf(flat).sum())
    if not finite.size:
        return _media([], [], flat.size, nan, positive, None, None)
    low, high = float(finite.min()), float(finite.max())
    edges = _edges(low, high, bins)
    where = np.searchsorted(edges[1:-1], finite, side="right")
    counts = np.bincount(where, minlength=bins).tolist()
    return _media(edges, counts, flat.size, nan, positive, low, high)


def _plainly(values: Any, bins: int) -> Media:
    flat = list(_flat(values))
    finite = [value for value in flat if math.isfinite(value)]
    nan, positive = sum(map(math.isnan, flat)), flat.count(math.inf)
    if not finite:
        return _media([], [], len(flat), nan, positive, None, None)
    low, high = min(finite), max(finite)
    edges = _edges(low, high, bins)
    counts = [0] * bins
    for value in finite:
        counts[bisect_right(edges, value, 1, bins) - 1] += 1
    return _media(edges, counts, len(flat), nan, positive, low, high)


def _flat(values: Any) -> Iterator[float]:
    if callable(getattr(values, "tolist", None)):
        values = values.tolist()
    if isinstance(values, (str, bytes, complex)):
        raise BadValue(f"a histogram needs real numbers, not {type(values).__name__}")
    if isinstance(values, Iterable):
        for value in values:
            yield from _flat(value)
    else:
        yield float(values)


def _edges(low: float, high: float, bins: int) -> list[float]:
    if low == high:
        half = max(0.5, abs(low) * 2.0**-20)  # beyond 2**52, half a unit would be no distance
        low, high = max(low - half, -sys.float_info.max), min(low + half, sys.float_info.max)
    # Not by the width of a bin: that may be more than a float can represent.
    inner = [low * (1 - i / bins) + high * (i / bins) for i in range(1, bins)]
    return [low, *accumulate([min(max(edge, low), high) for edge in inner], max), high]


def _media(
    edges: list[float],
    counts: list[int],
    n: int,
    nan: int,
    positive: int,
    low: float | None,
    high: float | None,
) -> Media:
    infinite = n - sum(counts) - nan
    return Media(
        HISTOGRAM,
        {
            "edges": edges,
            "counts": counts,
            "n": n,
            "nan": nan,
            "posinf": positive,
            "neginf": infinite - positive,
            "min": low,
            "max": high,
        },
    )
