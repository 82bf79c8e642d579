"""How many lines the sources and the tests have."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tables import Table

__all__ = ["measure"]

_ROOT: Final = Path(__file__).parents[2]
_FOLDERS: Final = {"source": ("protocol", "client", "server"), "tests": ("tests",)}


def measure(folder: Path, quick: bool) -> None:
    """Count the lines of all Python files, those that are blank too, and print them."""
    table = Table("lines of Python", "files", "lines")
    for name, roots in _FOLDERS.items():
        files = [path for root in roots for path in (_ROOT / root).rglob("*.py")]
        lines = sum(len(path.read_text("utf-8").splitlines()) for path in files)
        table.add(f"{name}: {', '.join(roots)}", f"{len(files):,}", f"{lines:,}")
    table.print("lines")
    print()
