from __future__ import annotations

import dataclasses
import datetime
import inspect
import math
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from track_protocol.errors import BadValue, UsageError
from track_protocol.model.entities import (
    LOST,
    CustomStatus,
    Project,
    Status,
    Trial,
    TrialGroup,
    new_id,
    status,
)


def hash_of(**parameters: Any) -> str:
    return Trial(name="t", version="v", parameters=parameters).hash


def defaults_of(kind: type) -> dict[str, Any]:
    made = kind()
    return {name: getattr(made, name) for name in inspect.signature(kind).parameters}


def test_a_project_is_built_from_the_documented_fields() -> None:
    assert list(defaults_of(Project).items()) == [
        ("_uid", None),
        ("name", None),
        ("description", None),
        ("metadata", {}),
        ("groups", set()),
        ("trials", set()),
        ("tags", {}),
    ]


def test_a_group_is_built_from_the_documented_fields() -> None:
    assert list(defaults_of(TrialGroup).items()) == [
        ("_uid", None),
        ("name", None),
        ("description", None),
        ("metadata", {}),
        ("trials", set()),
        ("project_id", None),
    ]


def test_a_trial_is_built_from_the_documented_fields_and_an_id() -> None:
    assert list(defaults_of(Trial).items()) == [
        ("_hash", None),
        ("revision", 0),
        ("name", None),
        ("description", None),
        ("tags", {}),
        ("version", None),
        ("group_id", None),
        ("project_id", None),
        ("parameters", {}),
        ("metadata", {}),
        ("metrics", {}),
        ("chronos", {}),
        ("status", Status.CreatedGroup),
        ("errors", []),
        ("id", None),
        ("media", {}),
        ("created", None),
        ("started", None),
        ("ended", None),
    ]


def test_the_id_is_keyword_only_and_not_in_the_repr() -> None:
    field = {field.name: field for field in dataclasses.fields(Trial)}["id"]
    assert (field.kw_only, field.repr) == (True, False)


def test_the_statuses_have_the_documented_values() -> None:
    assert {known.name: known.value for known in Status} == {
        "CreatedGroup": 0,
        "RunningGroup": 100,
        "Running": 101,
        "ErrorGroup": 200,
        "Interrupted": 201,
        "Exception": 202,
        "Broken": 203,
        "FinishedGroup": 300,
        "Suspended": 301,
        "Completed": 302,
    }


@pytest.mark.parametrize("known", [*Status, LOST])
def test_a_known_status_is_found_by_name_by_value_and_by_both(known: Status | CustomStatus) -> None:
    found = [status(known.name), status(value=known.value), status(known.name, known.value)]
    assert found == [known, known, known]


@pytest.mark.parametrize(("name", "value"), [("Paused", 310), ("Paused", 302), ("Completed", 7)])
def test_another_pair_is_a_custom_status(name: str, value: int) -> None:
    assert status(name, value) == CustomStatus(name, value)


@pytest.mark.parametrize(("name", "value"), [(None, None), ("Paused", None), (None, 310)])
def test_half_a_custom_status_is_refused(name: str | None, value: int | None) -> None:
    with pytest.raises(UsageError, match="needs both"):
        status(name, value)


def test_a_trial_is_known_by_hash_and_revision() -> None:
    trial = Trial(name="t", revision=2)
    assert trial.uid == f"{trial.hash}_2"


def test_the_hash_is_sha_256_in_hexadecimal() -> None:
    assert (len(hash_of()), set(hash_of()) - set("0123456789abcdef")) == (64, set())


def test_the_hash_of_a_trial_never_changes_between_versions() -> None:
    parameters = {"lr": 0.1, "n": [1, None, True], "who": "é", "k": {b"x": math.nan, 5: -(2**70)}}
    trial = Trial(name="t", version="v", parameters=parameters)
    assert trial.hash == "70335bdc48f997ae3bda088bb55dee544322f538ab6bee05b341d7ea138c8dcc"


def test_the_hash_ignores_the_order_of_keys() -> None:
    assert hash_of(a=1, b={"c": 2, "d": 3}) == hash_of(b={"d": 3, "c": 2}, a=1)


def test_the_hash_depends_on_the_order_of_a_list() -> None:
    assert hash_of(a=[1, 2]) != hash_of(a=[2, 1])


@pytest.mark.parametrize("other", [Trial(name="a"), Trial(version="a"), Trial(parameters={"a": 1})])
def test_the_hash_covers_name_version_and_parameters(other: Trial) -> None:
    assert other.hash != Trial().hash


@pytest.mark.parametrize(
    "other",
    [
        Trial(description="a"),
        Trial(project_id="a"),
        Trial(group_id="a"),
        Trial(tags={"a": 1}),
        Trial(revision=1),
    ],
)
def test_the_hash_ignores_every_other_field(other: Trial) -> None:
    assert other.hash == Trial().hash


def test_a_name_and_a_version_hash_differently() -> None:
    assert Trial(name="a").hash != Trial(version="a").hash


def test_values_that_look_alike_have_different_hashes() -> None:
    alike = [
        1,
        1.0,
        True,
        "1",
        b"1",
        [1],
        [[1]],
        {1: 1},
        {"1": 1},
        {1: "1"},
        None,
        0,
        0.0,
        False,
        "",
        [],
        {},
        "None",
    ]
    assert len({hash_of(a=value) for value in alike}) == len(alike)


def test_parts_cannot_be_shifted_between_neighbours() -> None:
    assert hash_of(a=["bc", "d"]) != hash_of(a=["b", "cd"])


@pytest.mark.parametrize(
    ("value", "same"),
    [
        (np.float64(0.5), 0.5),
        (np.int32(4), 4),
        (np.array([1, 2]), [1, 2]),
        ((1, 2), [1, 2]),
        ({2, 1}, [1, 2]),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (datetime.date(2020, 1, 10), "2020-01-10"),
        (Status.Running, 101),
    ],
)
def test_a_foreign_value_hashes_as_its_plain_form(value: Any, same: Any) -> None:
    assert hash_of(a=value) == hash_of(a=same)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_have_a_stable_hash(value: float) -> None:
    assert hash_of(a=value) == hash_of(a=float(str(value)))


def test_an_unknown_object_hashes_without_its_address() -> None:
    assert hash_of(a=object()) == hash_of(a=object())


def test_a_function_hashes_by_its_name() -> None:
    assert hash_of(a=math.sqrt) != hash_of(a=math.sin)


def test_a_hash_is_the_same_in_another_process() -> None:
    code = (
        "from track_protocol.model.entities import Trial;"
        "print(Trial(name='t', version='v', parameters={'a': {'x', 'y', 'z'}}).hash)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert other == hash_of(a={"x", "y", "z"})


def test_parameters_with_a_cycle_have_no_hash() -> None:
    parameters: dict[str, Any] = {}
    parameters["self"] = parameters
    with pytest.raises(BadValue, match="cycle"):
        Trial(parameters=parameters).compute_hash()


def test_the_hash_is_fixed_once_it_was_read() -> None:
    trial = Trial(parameters={"lr": 0.1})
    before = trial.hash
    trial.parameters["lr"] = 0.2
    assert (trial.hash, trial.compute_hash() == before) == (before, False)


def test_the_hash_waits_until_it_is_read() -> None:
    trial = Trial()
    trial.parameters["lr"] = 0.1
    assert trial.hash == Trial(parameters={"lr": 0.1}).hash


def test_a_given_hash_is_not_computed() -> None:
    assert Trial(_hash="abc", revision=1).uid == "abc_1"


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=5), st.integers() | st.floats() | st.text(max_size=5), max_size=5))
def test_equal_parameters_have_equal_hashes(parameters: dict[str, Any]) -> None:
    backwards = dict(reversed(parameters.items()))
    assert hash_of(p=parameters) == hash_of(p=backwards)


def test_trials_of_one_uid_are_one_member_of_a_set() -> None:
    assert len({Trial(name="t"), Trial(name="t"), Trial(name="t", revision=1)}) == 2


def test_a_trial_stays_in_its_set_when_its_revision_changes() -> None:
    trial = Trial(name="t")
    trials = {trial}
    trial.revision = 3
    assert trial in trials


def test_projects_and_groups_are_set_members_by_uid() -> None:
    members = {
        Project(name="a"),
        Project(name="a"),
        TrialGroup(name="a"),
        TrialGroup(name="a", project_id="p"),
    }
    assert len(members) == 3


def test_objects_of_different_kinds_are_never_equal() -> None:
    assert Project(_uid="a") != TrialGroup(_uid="a")


def test_the_uid_of_a_project_is_fixed_once_it_was_read() -> None:
    project = Project(name="a")
    before = project.uid
    project.name = "b"
    assert (project.uid, project.compute_uid() == before) == (before, False)


def test_a_given_uid_is_not_recomputed() -> None:
    assert (Project(_uid="p").uid, TrialGroup(_uid="g").uid) == ("p", "g")


def test_each_id_is_new_and_has_16_bytes() -> None:
    ids = {new_id() for _ in range(100)}
    assert (len(ids), {len(each) for each in ids}) == (100, {16})


def test_a_project_is_known_by_its_name() -> None:
    assert Project(name="digits").uid == "digits"


def test_the_tags_of_a_project_are_in_its_metadata() -> None:
    project = Project(name="p", metadata={"k": 1}, tags={"team": "vision"})
    assert project.metadata == {"k": 1, "tags": {"team": "vision"}}
    assert Project(name="p", metadata=project.metadata).tags == {"team": "vision"}


def test_a_status_is_text_in_small_letters() -> None:
    assert (str(Status.Running), f"{Status.Completed}") == ("running", "completed")


def test_a_custom_status_equals_its_name() -> None:
    reserved = CustomStatus("reserved", 2)
    assert reserved == "reserved"
    assert reserved != "new"
    assert (reserved == CustomStatus("reserved", 2), reserved == CustomStatus("reserved", 3)) == (True, False)
    assert hash(reserved) == hash("reserved")


def test_the_name_of_a_known_status_may_be_in_small_letters_but_a_custom_one_stays() -> None:
    assert status("running") is Status.Running
    assert status("running", 5) == CustomStatus("running", 5)


def test_the_uid_of_a_trial_is_its_hash_and_its_revision() -> None:
    trial = Trial(name="t")
    trial.uid = "abc_def_3"
    assert (trial.hash, trial.revision) == ("abc_def", 3)
    trial.hash = "new"
    assert trial.uid == "new_3"
    with pytest.raises(UsageError, match="'abc' is not the uid of a trial"):
        trial.uid = "abc"
