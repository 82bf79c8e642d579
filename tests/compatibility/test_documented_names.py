"""Every documented name is where the documents have it, and takes what they say it takes.

The names are in ``names/*.txt``, one a line, with the documented signature where there is one.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from every_case import every

NAMES: Final = Path(__file__).parent / "names"
MISSING: Final = object()


def documented() -> list[str]:
    """The lines of the tables, without what explains them."""
    lines = [line.strip() for file in sorted(NAMES.glob("*.txt")) for line in file.read_text().splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def resolve(dotted: str) -> Any:
    """The object of a dotted name: a module, or what is in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith(parts[0]):
                raise
            continue
        for part in parts[length:]:
            found = attribute(found, part)
        return found
    raise AssertionError(f"{dotted} cannot be imported")


def attribute(owner: Any, name: str) -> Any:
    """An attribute of a module or class; what only objects of a data class have is its field."""
    fields = (
        {each.name: each for each in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else {}
    )
    found = getattr(owner, name, fields.get(name, MISSING))
    assert found is not MISSING, f"{owner} has no {name}"
    return found


def parameters_of(signature: str) -> tuple[list[tuple[str, Any]], bool, bool]:
    """Names and defaults of a written signature, and whether it has ``*args`` and ``**kwargs``."""
    (function,) = ast.parse(f"def f{signature}: pass").body
    assert isinstance(function, ast.FunctionDef)
    given = function.args
    defaults = [MISSING] * (len(given.args) - len(given.defaults))
    defaults += [ast.literal_eval(each) for each in given.defaults]
    names = [each.arg for each in given.args]
    return list(zip(names, defaults, strict=True)), given.vararg is not None, given.kwarg is not None


def differences(found: Any, signature: str) -> Iterator[str]:
    """What a call as the documents have it would meet."""
    actual = inspect.signature(found)
    wanted, has_args, has_kwargs = parameters_of(signature)
    kinds = {each.kind for each in actual.parameters.values()}
    takes_any = inspect.Parameter.VAR_KEYWORD in kinds
    if has_args and inspect.Parameter.VAR_POSITIONAL not in kinds:
        yield "it takes no *args"
    if has_kwargs and not takes_any:
        yield "it takes no **kwargs"
    for name, default in wanted:
        parameter = actual.parameters.get(name)
        if parameter is None:
            yield f"it takes no {name}"
        elif default is not MISSING and default is not ... and parameter.default != default:
            yield f"{name} is {parameter.default!r} by default, and not {default!r}"
        elif default is ... and parameter.default is inspect.Parameter.empty:
            yield f"{name} has no default"
    required = [name for name, default in wanted if default is MISSING]
    try:
        actual.bind(*required)
        actual.bind(*(name for name, _ in wanted))
    except TypeError as error:
        yield f"called with positions: {error}"


@every(documented())
def test_a_documented_name_exists_with_the_documented_signature(line: str) -> None:
    name, bracket, rest = line.partition("(")
    found = resolve(name)
    if bracket:
        assert list(differences(found, f"({rest}")) == []


def of_two(a: int, b: int = 2, *, c: int = 3) -> None:
    """For the tests of the test."""


@pytest.mark.parametrize(
    ("signature", "difference"),
    [
        ("(a, b=2)", []),
        ("(a, b=...)", []),
        ("(a, b=3)", ["b is 2 by default, and not 3"]),
        ("(a, d)", ["it takes no d"]),
        ("(b=2)", ["called with positions: missing a required argument: 'a'"]),
        ("(a, b, c)", ["called with positions: too many positional arguments"]),
        ("(a, *args)", ["it takes no *args"]),
        ("(a, **kwargs)", ["it takes no **kwargs"]),
    ],
)
def test_another_signature_is_detected(signature: str, difference: list[str]) -> None:
    assert list(differences(of_two, signature)) == difference


@pytest.mark.parametrize("name", ["track.structure.Missing", "track.missing.module", "track.Trial.missing"])
def test_a_missing_name_is_detected(name: str) -> None:
    with pytest.raises(AssertionError):
        resolve(name)
