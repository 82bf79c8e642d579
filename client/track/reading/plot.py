"""Series as a picture, drawn by matplotlib where it is installed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from track_protocol.errors import MissingExtra

__all__ = ["Line", "Plot"]

_INCHES: Final = (7.0, 4.0)
_MAX_LEGEND: Final = 20
"""Lines that a legend names: a longer one hides the picture."""

_AXES: Final = {"step": "step", "time": "seconds since the start"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a picture.

    Attributes:
        name: in the legend.
        x: positions.
        y: values; what is no number leaves a gap.
    """

    name: str
    x: Sequence[Any]
    y: Sequence[Any]


class Plot:
    """A picture that a notebook shows.

    It is drawn on a figure of its own: neither the window system nor a figure of the program is touched.

    Args:
        lines: what is drawn.
        x: ``"step"`` or ``"time"``.

    Attributes:
        figure: the ``matplotlib.figure.Figure``, to change and to save.

    Raises:
        MissingExtra: matplotlib is not installed.
    """

    def __init__(self, lines: Sequence[Line], x: str = "step") -> None:
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtra(
                f"a picture needs matplotlib, which is not installed ({error}): "
                "pip install 'trackwire[notebook]', or use 'track plot', which draws in the terminal"
            ) from error
        self.figure: Any = Figure(figsize=_INCHES, layout="constrained")
        axes = self.figure.add_subplot()
        for line in lines:
            # Names that begin with an underscore would be left out of the legend.
            axes.plot(
                line.x, [_number(value) for value in line.y], label=f"\N{ZERO WIDTH SPACE}{_plain(line.name)}"
            )
        axes.set_xlabel(_AXES.get(x, x))
        if 1 <= len(lines) <= _MAX_LEGEND:
            axes.legend()
        axes.grid(visible=True, alpha=0.3)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file, whose ending says in which format."""
        self.figure.savefig(path)

    def _repr_png_(self) -> bytes:
        content = BytesIO()
        self.figure.savefig(content, format="png")
        return content.getvalue()


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _plain(name: str) -> str:
    """A name as text: what is between two dollar signs would be set as mathematics."""
    return name.replace("$", r"\$")
