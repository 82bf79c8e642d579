"""The contract: one declaration of each method, and what follows from it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from contract_reference import CONTRACT, reference
from every_case import every
from track.persistence import get_protocol
from track.persistence.calls import reads, wire_arguments
from track.persistence.null import NullProtocol
from track.persistence.protocol import Protocol
from track.structure import Project, Status, Trial, TrialGroup
from track_protocol.errors import BadArguments
from track_protocol.model.values import MAX_TEXT_BYTES
from track_protocol.security.tokens import new_token
from track_protocol.wire.methods import METHODS, Access
from track_protocol.wire.schema import REQUIRED

REFERENCE = Path(__file__).parents[3] / "client" / "docs" / "methods.md"
SHARED = sorted(set(CONTRACT) & set(METHODS))
MADE_OF_SEVERAL = {"fetch_and_update_trial", "fetch_and_update_group", "log_trial_finish", "log_trial_media"}


def test_the_reference_lists_every_method_as_it_is() -> None:
    assert REFERENCE.read_text("utf-8") == reference(), "run: python tests/support/contract_reference.py"


@pytest.mark.parametrize("name", sorted(set(SHARED) - MADE_OF_SEVERAL))
def test_signature_and_declaration_agree_in_the_names(name: str) -> None:
    needed = {
        each.name
        for each in METHODS[name].parameters
        if each.default is REQUIRED and each.type not in ("time", "values")
    }
    python = inspect.signature(getattr(Protocol, name)).parameters.values()
    assert needed <= {each.name for each in python}
    if any(each.type == "values" for each in METHODS[name].parameters):
        assert any(each.kind is inspect.Parameter.VAR_KEYWORD for each in python)


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("set_group_metadata", (TrialGroup(name="g"),), {"a": 1}),
        ("log_trial_start", (Trial(id=b"x" * 16), 1), {}),
        ("log_trial_finish", (Trial(id=b"x" * 16), ValueError, ValueError("no"), None), {"rank": 0}),
        ("log_trial_metadata", (Trial(id=b"x" * 16),), {"a": 1}),
        ("log_trial_dropped_points", (Trial(id=b"x" * 16), 3, "why"), {}),
        ("set_trial_status", (Trial(id=b"x" * 16), Status.Broken, "why"), {}),
        ("rewind_trial", (Trial(id=b"x" * 16), 3), {}),
        ("get_trial", (Trial(id=b"x" * 16),), {}),
        ("get_trial_group", (TrialGroup(name="g"),), {}),
        ("fetch_trials", ({"status": Status.Running},), {}),
        ("fetch_and_update_trial", ({}, "add_trial_tags"), {"a": 1}),
    ],
)
def test_arguments_are_converted_by_the_declaration(name: str, args: Any, kwargs: Any) -> None:
    method = METHODS[name]
    made = wire_arguments(method, args, kwargs)
    assert method.check(made) | made == method.check(made)


def test_other_arguments_are_refused_by_name() -> None:
    with pytest.raises(BadArguments, match="set_trial_status: missing a required argument: 'status'"):
        wire_arguments(METHODS["set_trial_status"], (Trial(name="t"),), {})


@every(CONTRACT)
def test_a_missing_backend_method_is_named(name: str) -> None:
    with pytest.raises(NotImplementedError, match=f"Protocol does not implement {name}"):
        Protocol("byob:")._call(name)


@every(CONTRACT)
def test_only_fetch_methods_read(name: str) -> None:
    assert reads(name) == (name.startswith(("get_", "fetch_")) and "_update_" not in name)


@pytest.mark.parametrize("name", [name for name in SHARED if METHODS[name].access is Access.LOG])
def test_the_null_store_accepts_every_declared_log_call(name: str) -> None:
    assert callable(getattr(NullProtocol(), name))


def test_an_error_that_is_cut_has_no_part_of_a_token() -> None:
    # Fails when the text is cut before tokens in it are redacted.
    token, protocol = new_token(), get_protocol("ephemeral:")
    protocol.new_project(Project(name="p"))
    trial = protocol.new_trial(Trial(name="t"))
    assert trial is not None
    protocol.set_trial_status(trial, Status.Exception, error=token + "." * (MAX_TEXT_BYTES - 20))
    (stored,) = protocol.fetch_trials({})
    assert stored.errors[0].startswith("*" * 20 + ".")
    protocol.close()
