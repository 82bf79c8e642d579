"""The rows of a list of trials: no more is fetched than is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from track import Project, Trial
from track.commands import trial_rows
from track.commands.fields import Names
from track.commands.trial_rows import default_rows, documents_in_order, listed_rows
from track.persistence import get_protocol
from track.persistence.protocol import Protocol


@pytest.fixture
def protocol() -> Iterator[Protocol]:
    protocol = get_protocol("ephemeral:")
    for number in range(5):
        project = protocol.new_project(Project(name=f"p{number % 2}"))
        given = Trial(name=f"t{number}", parameters={"n": number, "same": 1}, project_id=project.uid)
        trial = protocol.new_trial(given)
        assert trial is not None
        protocol.log_trial_metrics(trial, step=0, loss=number / 2)
    protocol.flush()
    yield protocol
    protocol.close()


@pytest.mark.parametrize(
    ("limit", "names"), [(None, "01234"), (4, "0123"), (0, ""), (9, "01234"), (2, "01"), (3, "012")]
)
def test_rows_are_fetched_page_by_page(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch, limit: int | None, names: str
) -> None:
    monkeypatch.setattr(trial_rows, "MAX_ROWS", 2)
    found = listed_rows(protocol, {}, ("name", "parameters.n"), ["created"], limit)
    assert [list(row) for row in found.rows] == [[f"t{number}", int(number)] for number in names]
    assert (len(found.ids), found.total) == (len(names), 5)


def test_documents_come_in_the_order_of_a_computed_column(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_rows, "MAX_ROWS", 2)
    found = documents_in_order(protocol, {}, ["-project", "-created"], 4, Names(protocol))
    assert [each["name"] for each in found] == ["t3", "t1", "t4", "t2"]


def test_default_columns_are_what_differs_and_the_first_metrics(protocol: Protocol) -> None:
    columns, listed = default_rows(protocol, {"parameters.n": {"$lt": 4}}, ["created"], 2)
    names = [column.name for column in columns]
    assert names == ["uid", "name", "status", "params.n", "metrics.loss", "created", "duration", "project"]
    rows = [dict(zip(names, row, strict=True)) for row in listed.rows]
    assert [(row["name"], row["params.n"], row["metrics.loss"]) for row in rows] == [
        ("t0", 0, 0.0),
        ("t1", 1, 0.5),
    ]
    assert listed.total == 4


def test_a_trial_that_is_deleted_meanwhile_has_no_metrics(protocol: Protocol) -> None:
    fetch_fields = protocol.fetch_fields

    def deleting(query: Any) -> dict[str, Any]:
        fields = fetch_fields(query)
        protocol.delete_trial(protocol.fetch_trials({"name": "t1"})[0], force=True)
        return fields

    protocol.fetch_fields = deleting  # type: ignore[method-assign, assignment] # a race put in
    columns, listed = default_rows(protocol, {}, ["created"], 3)
    at = [column.name for column in columns].index("metrics.loss")
    assert [row[at] for row in listed.rows] == [0.0, None, 1.0]
