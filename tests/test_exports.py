"""What each module offers: listed, sorted, present and documented."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import pytest

PACKAGES = ["track", "track_protocol", "track_server"]


def modules() -> list[str]:
    """Every importable module of the installed packages; ``__main__`` is a program, not an interface."""
    found = list(PACKAGES)
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        # A subpackage that cannot be imported fails in its own test, not here.
        walk = pkgutil.walk_packages(path, f"{package}.", onerror=lambda name: None)
        found += [module.name for module in walk if not module.name.endswith(".__main__")]
    return sorted(found)


def sort_key(name: str) -> tuple[int, list[tuple[int, int, str]]]:
    """CONSTANTS, then Classes, then the rest; digits count as numbers."""
    rank = 0 if len(name) > 1 and name.isupper() else 1 if name[0].isupper() else 2
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return rank, [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def exported(module: ModuleType) -> list[str]:
    return list(getattr(module, "__all__", []))


def own_public_names(module: ModuleType) -> set[str]:
    """Functions and classes that the module itself defines under a public name."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    }


def is_documented(thing: object) -> bool:
    """Whether a class or function has a docstring of its own, not the signature a data class gets."""
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return True
    text = thing.__doc__ or ""
    return bool(text.strip()) and not text.startswith(f"{thing.__name__}(")


def holds_only_its_docstring(module: ModuleType) -> bool:
    """Whether nothing but submodules can be taken from it, as from a package's bare ``__init__``."""
    return all(name.startswith("_") or inspect.ismodule(value) for name, value in vars(module).items())


def wrong(check: Callable[[ModuleType], object]) -> dict[str, object]:
    """What `check` finds in each module, where it finds anything."""
    found = {name: check(importlib.import_module(name)) for name in modules()}
    return {name: each for name, each in found.items() if each}


def out_of_order(module: ModuleType) -> list[str]:
    names = exported(module)
    return [] if names == sorted(set(names), key=sort_key) else names


def undocumented(module: ModuleType) -> list[str]:
    listed = {name: getattr(module, name, None) for name in exported(module)}
    return [name for name, thing in listed.items() if thing is not None and not is_documented(thing)]


def test_every_module_lists_what_it_offers() -> None:
    assert wrong(lambda module: not (hasattr(module, "__all__") or holds_only_its_docstring(module))) == {}


def test_lists_are_in_order() -> None:
    assert wrong(out_of_order) == {}


def test_every_listed_name_exists() -> None:
    assert wrong(lambda module: [name for name in exported(module) if not hasattr(module, name)]) == {}


def test_every_public_function_and_class_is_listed() -> None:
    assert wrong(lambda module: own_public_names(module) - set(exported(module))) == {}


def test_everything_listed_is_documented() -> None:
    assert wrong(undocumented) == {}


@dataclass
class BareData:
    x: int


class Bare: ...


def bare() -> None: ...


@pytest.mark.parametrize("thing", [BareData, Bare, bare])
def test_a_missing_docstring_is_seen(thing: object) -> None:
    assert not is_documented(thing)


def test_a_function_left_out_of_the_list_is_seen() -> None:
    module = ModuleType("made_up")
    exec("def offered(): ...\ndef _own(): ...", vars(module))  # noqa: S102 - the source is this line's own
    assert own_public_names(module) == {"offered"}


def test_constants_come_before_classes_and_these_before_functions() -> None:
    names = ["make_2", "make_10", "A", "Maker", "LIMIT"]
    assert sorted(names, key=sort_key) == ["LIMIT", "A", "Maker", "make_2", "make_10"]
