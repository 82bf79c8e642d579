"""Comments and documents name only classes, methods and attributes that exist."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [path for top in ("protocol", "client", "server", "tests") for path in (ROOT / top).rglob("*.py")]
DESIGNS = [path for top in ("client", "server", "protocol") for path in (ROOT / top).rglob("DESIGN.md")]
FOREIGN = {"Pool.__exit__"}

_CLASS = re.compile(r"^ *class (\w+)", re.MULTILINE)
_DOTTED = re.compile(r"(?<!`)`(?P<owner>_?[A-Z]\w*[a-z]\w*)\.(?P<name>\w+)(\(\))?`(?!`)")


class Classes:
    """The classes of all files: their bases, and the identifiers of the files that define them.

    Only the files of a class that is asked for are parsed.
    """

    def __init__(self, texts: dict[Path, str]) -> None:
        self._texts = texts
        self._paths = defaultdict[str, set[Path]](set)
        for path, text in texts.items():
            for name in _CLASS.findall(text):
                self._paths[name].add(path)

    def has(self, owner: str, name: str) -> bool:
        """Whether a class or one of its bases has a member, as far as its file names it."""
        trees = [self._tree(path) for path in self._paths.get(owner, ())]
        return any(name in _identifiers(tree) for tree in trees) or any(
            self.has(base, name) for tree in trees for base in _bases(tree, owner) if base != owner
        )

    @cache  # noqa: B019 - one test makes one of them
    def _tree(self, path: Path) -> ast.Module:
        return ast.parse(self._texts[path])


@cache
def _identifiers(tree: ast.AST) -> set[str]:
    values = (
        getattr(node, field, None) for node in ast.walk(tree) for field in ("id", "attr", "name", "arg")
    )
    return {value for value in values if isinstance(value, str)}


@cache
def _bases(tree: ast.Module, owner: str) -> set[str]:
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == owner)
    return {found for node in classes for base in node.bases for found in _identifiers(base)}


def test_each_member_that_a_comment_names_exists() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in SOURCES + DESIGNS}
    classes = Classes({path: texts[path] for path in SOURCES if path.name != Path(__file__).name})
    missing = [
        f"{path.relative_to(ROOT)}: {found['owner']}.{found['name']}"
        for path, text in texts.items()
        for found in _DOTTED.finditer(text)
        if not classes.has(found["owner"], found["name"])
    ]
    assert [each for each in missing if each.split(": ")[1] not in FOREIGN] == []
