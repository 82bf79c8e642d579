from __future__ import annotations

from typing import Any

import pytest

from track_protocol.errors import BadArguments
from track_protocol.model.documents import (
    check_document,
    group_from_document,
    group_to_document,
    project_from_document,
    project_to_document,
    status_to_document,
    trial_from_document,
    trial_to_document,
)
from track_protocol.model.entities import CustomStatus, Project, Status, Trial, TrialGroup


def a_trial() -> Trial:
    return Trial(
        revision=1,
        name="final_trial_2",
        description="almost graduating",
        tags={"workers": 8},
        version="a8c3",
        group_id="g",
        project_id="p",
        parameters={"lr": 0.1},
        metadata={"gpu": "V100"},
        status=Status.Running,
        errors=["out of memory"],
        id=bytes(range(16)),
    )


def without(document: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != key}


def test_a_trial_document_has_the_agreed_keys() -> None:
    trial = a_trial()
    assert trial_to_document(trial) == {
        "id": bytes(range(16)),
        "uid": trial.uid,
        "hash": trial.hash,
        "revision": 1,
        "name": "final_trial_2",
        "description": "almost graduating",
        "version": "a8c3",
        "tags": {"workers": 8},
        "parameters": {"lr": 0.1},
        "metadata": {"gpu": "V100"},
        "errors": ["out of memory"],
        "project_id": "p",
        "group_id": "g",
        "status": {"value": 101, "name": "Running"},
        "metrics": {},
        "chronos": {},
        "media": {},
        "created": None,
        "started": None,
        "ended": None,
    }


def test_a_trial_round_trips_through_its_document() -> None:
    document = trial_to_document(a_trial())
    assert trial_to_document(trial_from_document(document)) == document


def test_the_times_of_a_trial_round_trip_through_its_document() -> None:
    document = trial_to_document(a_trial()) | {"created": 1.0, "started": 2.0, "ended": 3.0}
    found = trial_from_document(document)
    assert (found.created, found.started, found.ended) == (1.0, 2.0, 3.0)
    assert trial_to_document(found) == document


def test_points_never_travel_in_a_document() -> None:
    trial = Trial(metrics={"loss": {0: 1.0}}, chronos={"runtime": 2.0})
    document = trial_to_document(trial)
    assert (document["metrics"], document["chronos"]) == ({}, {})


def test_summaries_in_a_document_are_not_read_as_points() -> None:
    document = {**trial_to_document(a_trial()), "metrics": {"loss": {"count": 3}}}
    assert trial_from_document(document).metrics == {}


def test_a_trial_reads_its_points_from_the_mappings_it_is_given() -> None:
    metrics, chronos = {"loss": {0: 1.0}}, {"runtime": 2.0}
    trial = trial_from_document(trial_to_document(a_trial()), metrics=metrics, chronos=chronos)
    assert (trial.metrics is metrics, trial.chronos is chronos) == (True, True)


def test_a_document_shares_no_container_with_its_trial() -> None:
    trial = a_trial()
    trial_to_document(trial)["tags"]["new"] = 1
    assert trial.tags == {"workers": 8}


def test_a_trial_without_a_status_is_created() -> None:
    assert trial_to_document(Trial(status=None))["status"] == {"value": 0, "name": "CreatedGroup"}


def test_a_group_round_trips_through_its_document() -> None:
    group = TrialGroup(name="idea", description="d", metadata={"a": 1}, trials={"t2", "t1"}, project_id="p")
    document = group_to_document(group)
    assert document == {
        "uid": group.uid,
        "name": "idea",
        "description": "d",
        "metadata": {"a": 1},
        "project_id": "p",
        "trials": ["t1", "t2"],
    }
    assert group_to_document(group_from_document(document)) == document


def test_a_project_round_trips_through_its_document() -> None:
    project = Project(name="paper", description="d", metadata={"a": 1}, groups={"g"}, trials={"t2", "t1"})
    document = project_to_document(project)
    assert document == {
        "uid": project.uid,
        "name": "paper",
        "description": "d",
        "metadata": {"a": 1},
        "groups": ["g"],
        "trials": ["t1", "t2"],
    }
    assert project_to_document(project_from_document(document)) == document


def test_members_that_are_objects_become_uids() -> None:
    group, trial = TrialGroup(name="g"), Trial(name="t")
    document = project_to_document(Project(name="p", groups={group}, trials={trial}))
    assert (document["groups"], document["trials"]) == ([group.uid], [trial.uid])


@pytest.mark.parametrize("status", [*Status, CustomStatus("Paused", 310)])
def test_a_status_round_trips_through_its_document(status: Status | CustomStatus) -> None:
    document = trial_to_document(Trial(status=status))
    assert document["status"] == status_to_document(status)
    assert trial_from_document(document).status == status


@pytest.mark.parametrize(
    "key",
    sorted(
        set(trial_to_document(Trial()))
        - {"uid", "metrics", "chronos", "media", "created", "started", "ended"}
    ),
)
def test_a_trial_document_that_lacks_a_key_is_refused_by_its_name(key: str) -> None:
    with pytest.raises(BadArguments, match=f"'{key}' is missing"):
        trial_from_document(without(trial_to_document(a_trial()), key))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("revision", True),
        ("revision", "1"),
        ("tags", []),
        ("errors", "a"),
        ("name", 1),
        ("id", "a"),
        ("status", 3),
    ],
)
def test_a_trial_document_with_a_value_of_another_type_is_refused(key: str, value: Any) -> None:
    with pytest.raises(
        BadArguments, match=f"field '{key}' of a trial must be .*, not {type(value).__name__}"
    ):
        trial_from_document({**trial_to_document(a_trial()), key: value})


def test_an_id_of_another_length_is_refused() -> None:
    with pytest.raises(
        BadArguments, match="'id' of a trial must be bytes, 16 bytes long, or None, not bytes"
    ):
        trial_from_document({**trial_to_document(a_trial()), "id": b"short"})


def test_a_status_with_a_value_of_another_type_is_refused() -> None:
    document = trial_to_document(a_trial()) | {"status": {"value": "302", "name": "Completed"}}
    with pytest.raises(BadArguments, match="'status' of a trial must be"):
        trial_from_document(document)


def test_group_and_project_documents_are_checked_too() -> None:
    with pytest.raises(BadArguments, match="group document: 'name' is missing"):
        group_from_document(without(group_to_document(TrialGroup()), "name"))
    with pytest.raises(BadArguments, match="project document: 'name' is missing"):
        project_from_document(without(project_to_document(Project()), "name"))


def test_the_members_of_a_group_or_project_may_be_left_out() -> None:
    assert group_from_document(without(group_to_document(TrialGroup(_uid="g")), "trials")).trials == set()
    project = project_from_document(without(project_to_document(Project(_uid="p")), "groups"))
    assert (project.groups, project.trials) == (set(), set())


@pytest.mark.parametrize("trials", [[["t"]], [{"uid": "t"}], [1]])
def test_members_of_a_document_are_uids(trials: list[Any]) -> None:
    with pytest.raises(BadArguments, match="'trials'"):
        group_from_document({**group_to_document(TrialGroup()), "trials": trials})


FAULTY: list[tuple[str, str, list[Any]]] = [
    *(
        (kind, name, [1, b"x", ["x"]])
        for kind in ("project", "group", "trial")
        for name in ("name", "description")
    ),
    *((kind, "metadata", [None, [], "x"]) for kind in ("project", "group", "trial")),
    *((kind, "uid", [None, 1, b"x"]) for kind in ("project", "group")),
    ("group", "project_id", [1, b"x"]),
    ("trial", "id", [None, "x" * 16, b"x", b"x" * 17]),
    ("trial", "hash", [None, 1, b"x"]),
    ("trial", "revision", [None, "0", 0.0, True, -1, 2**31]),
    ("trial", "version", [1]),
    ("trial", "tags", [None, []]),
    ("trial", "parameters", [None, []]),
    ("trial", "errors", [None, "x", [1], ["x", None], [b"x"]]),
    ("trial", "project_id", [1]),
    ("trial", "group_id", [1]),
    (
        "trial",
        "status",
        [None, {}, 0, {"value": "0", "name": "x"}, {"value": 0, "name": None}, {"value": True, "name": "x"}],
    ),
]
GIVEN: dict[str, dict[str, Any]] = {
    "project": {"uid": "p"},
    "group": {"uid": "g"},
    "trial": {"id": bytes(16), "hash": "h", "revision": 0},
}


@pytest.mark.parametrize("kind", GIVEN)
def test_a_given_document_gets_its_missing_fields(kind: str) -> None:
    checked = check_document(kind, GIVEN[kind])
    assert checked.items() >= GIVEN[kind].items()
    assert check_document(kind, checked | {"trials": [1], "created": "now"}) == checked


@pytest.mark.parametrize(("kind", "field", "values"), FAULTY)
def test_a_field_of_another_type_is_refused_by_its_name(kind: str, field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(BadArguments, match=f"field '{field}' of a {kind} must be"):
            check_document(kind, GIVEN[kind] | {field: value})


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(BadArguments, match="no field 'nmae'"):
        check_document("trial", GIVEN["trial"] | {"nmae": "x"})
