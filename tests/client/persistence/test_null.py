"""The null store answers from memory as a store does."""

from __future__ import annotations

import math
from typing import Any

import pytest

from track.persistence.null import NullProtocol
from track_protocol.errors import BadArguments
from track_protocol.model.entities import Project, Trial


@pytest.fixture
def protocol() -> NullProtocol:
    protocol = NullProtocol()
    values: list[Any] = ["text", 2, math.nan, None, 1]
    for number, value in enumerate(values):
        parameters = {} if value is None else {"lr": value}
        protocol.new_trial(Trial(name=str(number), parameters=parameters))
    return protocol


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("parameters.lr", ["4", "1", "2", "0", "3"]),
        ("-parameters.lr", ["1", "4", "2", "0", "3"]),
        ("created", ["0", "1", "2", "3", "4"]),
        ("-created", ["4", "3", "2", "1", "0"]),
    ],
)
def test_trials_come_in_the_order_of_a_store(protocol: NullProtocol, order: str, names: list[str]) -> None:
    # Numbers, then what is no number, then texts, then what lacks the value, in both directions.
    assert [trial.name for trial in protocol.fetch_trials({}, order=[order])] == names


def test_a_page_is_a_part_of_that_order(protocol: NullProtocol) -> None:
    page = protocol.fetch_trials({}, start=1, limit=2, order=["-created"])
    assert [trial.name for trial in page] == ["3", "2"]


def test_a_table_is_that_of_a_store(protocol: NullProtocol) -> None:
    project = protocol.new_project(Project(name="p"))
    (first, *_), query = protocol.fetch_trials({}), {"parameters.lr": {"$exists": True}}
    protocol.add_project_trial(project, first)
    table = protocol.fetch_table(query, ["name", "project", "project_id", "seen"], ["-parameters.lr"], 1, 3)
    assert table["total"] == 4
    assert table["columns"][0] == ["4", "2", "0"]
    assert table["columns"][1:] == [[None, None, "p"], [None, None, project.uid], [None] * 3]
    assert protocol.fetch_rows([first, b"x" * 16], ["name"])["columns"] == [["0"]]


def test_what_a_table_cannot_have_is_refused(protocol: NullProtocol) -> None:
    for method, arguments in (
        (protocol.fetch_table, {"columns": ["oops"]}),
        (protocol.fetch_table, {"limit": 10_001}),
        (protocol.fetch_rows, {"trials": [], "columns": ["oops"]}),
        (protocol.fetch_groups_of, {"by": ["oops"]}),
    ):
        with pytest.raises(BadArguments):
            method(**arguments)


def test_fields_and_groups_are_those_of_a_store(protocol: NullProtocol) -> None:
    fields = protocol.fetch_fields({})
    (rate,) = fields["fields"]
    assert (rate["name"], rate["numbers"], rate["texts"], rate["nonfinite"]) == ("parameters.lr", 3, 1, 1)
    assert (fields["total"], fields["statuses"], fields["series"]) == (5, {"CreatedGroup": 5}, [])
    (group,) = protocol.fetch_groups_of({}, ["status"], ["parameters.lr"])
    assert (group["by"], group["count"], group["measures"][0]["mean"]) == (["CreatedGroup"], 5, 1.5)


def test_changes_are_not_known(protocol: NullProtocol) -> None:
    now = protocol.fetch_changes()
    assert now["known"]
    assert not protocol.fetch_changes(now["cursor"])["known"]


def test_a_trial_is_renamed_and_loses_tags(protocol: NullProtocol) -> None:
    trial = protocol.new_trial(Trial(name="t", tags={"a": 1, "b": 2}, description="d"))
    assert trial is not None
    protocol.rename_trial(trial, "new", "")
    protocol.remove_trial_tags(trial, ["a", "c"])
    assert (trial.name, trial.description, trial.tags) == ("new", None, {"b": 2})


def test_metadata_of_a_project_is_merged(protocol: NullProtocol) -> None:
    project = protocol.new_project(Project(name="p"))
    protocol.set_project_metadata(project, a=1)
    found = protocol.get_project(Project(name="p"))
    assert found is not None
    assert found.metadata == {"a": 1}
