"""Comments and documents name only classes, methods and attributes that exist."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [path for top in ("protocol", "client", "server", "tests") for path in (ROOT / top).rglob("*.py")]
DESIGNS = [path for top in ("client", "server", "protocol") for path in (ROOT / top).rglob("DESIGN.md")]
FOREIGN = {"Pool.__exit__"}

_DOTTED = re.compile(r"(?<!`)`(?P<owner>_?[A-Z]\w*[a-z]\w*)\.(?P<name>\w+)(\(\))?`(?!`)")


class Classes(ast.NodeVisitor):
    """The classes of all files: their bases, and the identifiers of the files that define them."""

    def __init__(self, paths: list[Path]) -> None:
        self.bases = defaultdict[str, set[str]](set)
        self.names = defaultdict[str, set[str]](set)
        for path in paths:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = set(_identifiers(tree))
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    self.names[node.name] |= names
                    self.bases[node.name] |= {found for base in node.bases for found in _identifiers(base)}

    def has(self, owner: str, name: str) -> bool:
        """Whether a class or one of its bases has a member, as far as its file names it."""
        return name in self.names.get(owner, ()) or any(
            self.has(base, name) for base in self.bases.get(owner, ()) if base != owner
        )


def _identifiers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "arg"):
            if isinstance(value := getattr(node, field, None), str):
                yield value


def test_each_member_that_a_comment_names_exists() -> None:
    classes = Classes([path for path in SOURCES if path.name != Path(__file__).name])
    missing = [
        f"{path.relative_to(ROOT)}: {found['owner']}.{found['name']}"
        for path in SOURCES + DESIGNS
        for found in _DOTTED.finditer(path.read_text(encoding="utf-8"))
        if not classes.has(found["owner"], found["name"])
    ]
    assert [each for each in missing if each.split(": ")[1] not in FOREIGN] == []
