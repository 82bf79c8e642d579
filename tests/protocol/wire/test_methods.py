from __future__ import annotations

from pathlib import Path

import pytest

import track_protocol.wire.methods as module
from track_protocol.errors import BadArguments, UnknownMethod
from track_protocol.wire.methods import METHODS, Access, Method, method_named
from track_protocol.wire.roles import Role
from track_protocol.wire.schema import CHECKS, REQUIRED, Parameter

every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@every_method
def test_a_method_is_found_by_its_name(method: Method) -> None:
    assert method_named(method.name) is method


@every_method
def test_a_method_has_a_summary_of_one_sentence(method: Method) -> None:
    assert method.summary.endswith(".")
    assert "\n" not in method.summary


@every_method
def test_each_parameter_has_a_known_type_and_a_name_of_its_own(method: Method) -> None:
    assert {parameter.type.rstrip("?") for parameter in method.parameters} <= set(CHECKS)
    assert len({parameter.name for parameter in method.parameters}) == len(method.parameters)


@every_method
def test_a_default_fits_its_own_type(method: Method) -> None:
    for parameter in method.parameters:
        if parameter.default is not REQUIRED:
            parameter.check(method.name, parameter.default)


@every_method
def test_only_reading_is_open_to_readers(method: Method) -> None:
    assert (method.role is Role.READER) == (method.access is Access.READ)
    assert method.role <= Role.WRITER


@every_method
def test_what_updates_an_item_names_it_first(method: Method) -> None:
    if method.updates is not None:
        assert method.access is Access.LOG
        assert method.parameters[0].name == method.updates


@pytest.mark.parametrize(
    "name",
    ["", "Commit", "commit ", "__init__", "__class__", "check", "_session", "log_metrics\0", "x" * 100_000],
)
def test_a_name_outside_the_table_is_no_method(name: str) -> None:
    with pytest.raises(UnknownMethod, match="there are: add_group_trial, "):
        method_named(name)


def test_the_message_about_an_unknown_method_is_short() -> None:
    with pytest.raises(UnknownMethod) as refused:
        method_named("x" * 100_000)
    assert len(str(refused.value)) < 1000


def test_a_method_of_another_access_is_unknown() -> None:
    with pytest.raises(UnknownMethod) as refused:
        method_named("log_trial_start", within=(Access.READ, Access.WRITE))
    assert "log_trial_finish" not in str(refused.value)
    assert "new_trial" in str(refused.value)


def test_arguments_are_checked_and_completed() -> None:
    assert method_named("new_trial").check({"trial": {}}) == {"trial": {}, "auto_increment": False}


def test_wrong_arguments_are_refused_with_the_methods_name() -> None:
    with pytest.raises(BadArguments, match="new_trial: argument 'trial'"):
        method_named("new_trial").check({"trial": 1})


# -- the reference in DESIGN.md --------------------------------------------------------------------

DESIGN = Path(module.__file__).with_name("DESIGN.md").read_text(encoding="utf-8")


def _reference() -> str:
    rows = ["| call | access | role | arguments | |", "| --- | --- | --- | --- | --- |"]
    for method in METHODS.values():
        arguments = ", ".join(_argument(parameter) for parameter in method.parameters)
        rows.append(
            f"| `{method.name}` | {method.access.value} | {method.role} | {arguments} | {method.summary} |"
        )
    return "\n".join(rows)


def _argument(parameter: Parameter) -> str:
    default = "" if parameter.default is REQUIRED else f" = {parameter.default!r}"
    return f"{parameter.name}: {parameter.type}{default}"


def test_the_reference_lists_every_method_as_it_is() -> None:
    shown = DESIGN.split("<!-- METHODS -->\n")[1].split("\n<!-- end of METHODS -->")[0]
    assert shown == _reference()
