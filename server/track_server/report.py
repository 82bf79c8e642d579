"""Script and style of a report, as the board's build has left them; the client's package finds this by its
entry point."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from track_protocol.errors import MissingExtra

__all__ = ["report_assets"]

_BUILT: Final = Path(__file__).parent / "web"


def report_assets() -> tuple[str, str]:
    """The script and the style.

    Raises:
        MissingExtra: the front end is not built.
    """
    try:
        return (_BUILT / "report.js").read_text("utf-8"), (_BUILT / "report.css").read_text("utf-8")
    except FileNotFoundError:
        raise MissingExtra(
            "the script of reports is not built: run 'make web' in the source tree, or install a wheel"
        ) from None
