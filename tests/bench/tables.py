"""Tables of text, as wide as what they hold."""

from __future__ import annotations

__all__ = ["Table"]


class Table:
    """Rows under a line of heads, all aligned to the right but for the first column.

    Args:
        heads: one for each column.
    """

    def __init__(self, *heads: str) -> None:
        self._rows = [heads]

    def add(self, *cells: str) -> None:
        """Add a row; one cell for each head."""
        self._rows.append(cells)

    def print(self, title: str) -> None:
        """Write the table under its title to standard output."""
        widths = [max(map(len, column)) for column in zip(*self._rows, strict=True)]
        print(title)
        for number, (first, *rest) in enumerate(self._rows):
            cells = [first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]
            print("  " + "  ".join(cells))
            if number == 0:
                print("  " + "  ".join("-" * width for width in widths))
