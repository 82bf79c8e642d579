"""Hatchling's build hook: wheels and editable installs bring the board's front end."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["FrontEndHook"]


def _builder() -> ModuleType:
    """`build.py` beside this file, which is on no import path while a wheel is built."""
    path = Path(__file__).resolve().parent / "build.py"
    spec = importlib.util.spec_from_file_location("board_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class FrontEndHook(BuildHookInterface[Any]):
    """Builds ``server/track_server/web/`` before the files of a wheel are listed."""

    def dependencies(self) -> list[str]:
        """Node.js as a Python package, where there is none on the PATH."""
        builder = _builder()
        return [] if builder.find_node() else [builder.NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, unless nothing has changed since the last time."""
        _builder().build()
