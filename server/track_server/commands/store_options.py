"""The options of the commands that work on the files of a store."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_store_options"]


def add_store_options(parser: argparse.ArgumentParser) -> None:
    """Add ``STORE_URI`` and ``--home``, as `track_server.app.admin_of` takes them."""
    parser.add_argument(
        "store",
        nargs="?",
        metavar="STORE_URI",
        help="sqlite:FILE or file:FILE (default: the store of the server in --home)",
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="the server's folder (default: $TRACK_HOME)")
