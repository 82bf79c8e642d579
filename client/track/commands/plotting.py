"""Lines drawn with letters: eight dots in each, as braille has them, so that a terminal is a canvas."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Cell", "Curve", "axis_text", "draw"]

_ACROSS: Final = 2
_DOWN: Final = 4
"""Dots of a letter."""

_BRAILLE: Final = 0x2800
_BITS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of the dots of a letter by row and column, as Unicode numbers them."""

_POINTS_PER_DOT: Final = 4
"""Points of a curve that are drawn for each dot of the width; of more, each group's least and greatest."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one line, in order.

    Attributes:
        x: positions.
        y: values; a NaN or an infinity leaves a gap.
    """

    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, slots=True)
class Cell:
    """A letter of the canvas, and which curve drew it last; None where there is nothing."""

    text: str = " "
    curve: int | None = None


def draw(
    curves: Sequence[Curve], width: int, height: int
) -> tuple[list[list[Cell]], tuple[float, float], tuple[float, float]]:
    """Curves on a canvas.

    Args:
        curves: what to draw; later ones are above.
        width: letters of a row.
        height: rows.

    Returns:
        the rows from the top, and the least and greatest position and value.
    """
    points = [list(_finite(curve)) for curve in curves]
    across = _range(x for some in points for x, _ in _known(some))
    up = _range(y for some in points for _, y in _known(some))
    bits = [[0] * width for _ in range(height)]
    owners: list[list[int | None]] = [[None] * width for _ in range(height)]
    columns, rows = width * _ACROSS - 1, height * _DOWN - 1
    for number, some in enumerate(points):
        places = [
            None if point is None else (_place(point[0], across, columns), rows - _place(point[1], up, rows))
            for point in _thinned(some, columns * _POINTS_PER_DOT)
        ]
        for column, row in _dots(places):
            bits[row // _DOWN][column // _ACROSS] |= _BITS[row % _DOWN][column % _ACROSS]
            owners[row // _DOWN][column // _ACROSS] = number
    cells = [
        [Cell(chr(_BRAILLE + dots), owner) if dots else Cell() for dots, owner in zip(*row, strict=True)]
        for row in zip(bits, owners, strict=True)
    ]
    return cells, across, up


def axis_text(value: float) -> str:
    """A number beside an axis."""
    return f"{value:.4g}"


_Point = tuple[float, float] | None


def _finite(curve: Curve) -> Iterator[_Point]:
    for x, y in zip(curve.x, curve.y, strict=True):
        yield (x, y) if math.isfinite(x) and math.isfinite(y) else None


def _known(points: Iterable[_Point]) -> Iterator[tuple[float, float]]:
    return (point for point in points if point is not None)


def _range(values: Iterable[float]) -> tuple[float, float]:
    known = list(values)
    return (min(known), max(known)) if known else (0.0, 0.0)


def _place(value: float, ends: tuple[float, float], last: int) -> int:
    """The number of the dot, from 0 to `last`; of halves, since the difference of two floats may overflow."""
    low, high = ends
    if low == high:
        return last // 2
    return round((value / 2 - low / 2) / (high / 2 - low / 2) * last)


def _thinned(points: Sequence[_Point], most: int) -> list[_Point]:
    if len(points) <= most:
        return list(points)
    size = -(-len(points) // (most // 2))
    thin: list[_Point] = []
    for start in range(0, len(points), size):
        some = sorted(_known(points[start : start + size]), key=lambda point: point[1])
        thin += sorted({some[0], some[-1]}) if some else [None]
    return thin


def _dots(places: Iterable[tuple[int, int] | None]) -> Iterator[tuple[int, int]]:
    """The dots of a line through places; None is a gap."""
    before: tuple[int, int] | None = None
    for place in places:
        if place is not None:
            start = place if before is None else before
            steps = max(abs(place[0] - start[0]), abs(place[1] - start[1]), 1)
            for step in range(steps + 1):
                part = step / steps
                yield (
                    round(start[0] + (place[0] - start[0]) * part),
                    round(start[1] + (place[1] - start[1]) * part),
                )
        before = place
