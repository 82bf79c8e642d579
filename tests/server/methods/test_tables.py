"""Tables of trials, as a session asks for them."""

from __future__ import annotations

from typing import Any

import pytest

from engine_calls import Caller, points
from track_protocol.errors import BadArguments, BadQuery
from track_protocol.query.columns import MAX_CELLS, MAX_COLUMNS, MAX_ROWS


def test_a_table_has_the_rows_of_a_page_and_counts_all_that_match(ann: Caller) -> None:
    for number in range(5):
        id = ann.new_trial(name=f"trial {number}", parameters={"n": number})["id"]
        ann.log(points(id, loss=[float(-number), 1.0]))
    query = {"parameters.n": {"$gt": 0}}
    columns = ["name", "metrics.loss.min"]
    page = ann.read("fetch_table", query=query, columns=columns, order=["metrics.loss.min"], start=1, limit=2)
    assert page["total"] == 4
    assert page["columns"] == [["trial 3", "trial 2"], [-3.0, -2.0]]
    rows = ann.read("fetch_rows", trials=[*reversed(page["ids"]), b"x" * 16], columns=["name"])
    assert rows == {"total": 2, "ids": page["ids"][::-1], "columns": [["trial 2", "trial 3"]]}


def test_a_table_has_a_hundred_rows_unless_said_otherwise(ann: Caller) -> None:
    for _ in range(101):
        ann.new_trial()
    table = ann.read("fetch_table", query={}, columns=["revision"])
    assert (table["total"], table["columns"]) == (101, [list(range(100))])


def test_what_came_last_is_seen(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.logged("log_trial_start", trial=id, time=7.0)
    assert ann.read("fetch_table", query={}, columns=["seen"])["columns"] == [[7.0]]
    ann.log(points(id, loss=[1.0]))
    newest = ann.trial(id)["metadata"]["heartbeat"]
    assert ann.read("fetch_table", query={}, columns=["seen"])["columns"] == [[newest]]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"columns": ["nmae"]}, "columns: a trial has no attribute 'nmae': did you mean 'name'"),
        ({"columns": ["metrics"]}, "columns: 'metrics' is not a series"),
        ({"columns": ["uid.x"]}, "columns: 'uid.x' does not exist"),
        ({"columns": ["uid"] * (MAX_COLUMNS + 1)}, f"columns has 257 names: give at most {MAX_COLUMNS}"),
        ({"columns": "uid"}, "argument 'columns' must be a list of strings"),
        ({"columns": ["uid"], "order": ["-lr"]}, "order: a trial has no attribute 'lr'"),
        ({"columns": ["uid"], "order": ["tags"]}, "order: 'tags' as one value has no order"),
        ({"columns": ["uid"], "order": ["uid"] * 9}, "order has 9 names: give at most 8"),
        ({"columns": ["uid"], "limit": MAX_ROWS + 1}, "limit of 10,001 rows: ask for at most 10,000 at once"),
        ({"columns": ["uid"] * 21, "limit": MAX_ROWS}, f"ask for at most {MAX_CELLS:,} values at once"),
        ({"columns": ["uid"], "start": -1}, "argument 'start' must be an integer, 0 or more"),
    ],
)
def test_a_table_that_cannot_be_answered_is_refused_with_the_reason(
    ann: Caller, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadArguments, match=reason):
        ann.read("fetch_table", query={}, **arguments)


@pytest.mark.parametrize("ids", [[b"short"], ["0" * 32], b"x" * 16, [None]])
def test_rows_of_what_are_no_ids_are_refused(ann: Caller, ids: Any) -> None:
    with pytest.raises(BadArguments, match="argument 'trials' must be a list of trials' 16-byte ids"):
        ann.read("fetch_rows", trials=ids, columns=["uid"])


def test_too_many_rows_of_ids_are_refused(ann: Caller) -> None:
    with pytest.raises(BadArguments, match="trials of 10,001 rows"):
        ann.read("fetch_rows", trials=[b"x" * 16] * (MAX_ROWS + 1), columns=[])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"by": ["uid"] * 9, "measures": []}, "by has 9 names: give at most 8"),
        ({"by": [], "measures": ["uid"] * 17}, "measures has 17 names: give at most 16"),
        ({"by": ["oops"], "measures": []}, "by: a trial has no attribute 'oops'"),
        ({"by": [], "measures": [], "limit": 1_001}, "limit is 1,001: give at most 1,000"),
    ],
)
def test_groups_that_cannot_be_made_are_refused(ann: Caller, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadArguments, match=reason):
        ann.read("fetch_groups_of", query={}, **arguments)


def test_a_query_with_a_fault_is_refused_everywhere(ann: Caller) -> None:
    wrong = {"status": {"$grater": 1}}
    others: dict[str, Any]
    for method, others in (
        ("fetch_table", {"columns": []}),
        ("fetch_fields", {}),
        ("fetch_groups_of", {"by": [], "measures": []}),
    ):
        with pytest.raises(BadQuery):
            ann.read(method, query=wrong, **others)


def test_groups_are_answered_largest_first(ann: Caller) -> None:
    for number in range(5):
        ann.new_trial(parameters={"opt": "sgd" if number < 2 else "adam", "lr": number})
    found = ann.read("fetch_groups_of", query={}, by=["parameters.opt"], measures=["parameters.lr"])
    assert [(each["by"], each["count"]) for each in found] == [(["adam"], 3), (["sgd"], 2)]
    assert found[0]["measures"][0]["mean"] == 3.0


def test_fields_are_answered(ann: Caller) -> None:
    id = ann.new_trial(parameters={"lr": 0.5})["id"]
    ann.log(points(id, loss=[1.0]))
    fields = ann.read("fetch_fields", query={})
    (rate,) = [each for each in fields["fields"] if each["name"] == "parameters.lr"]
    assert (rate["count"], rate["values"], rate["min"]) == (1, [0.5], 0.5)
    assert [(each["kind"], each["name"], each["trials"]) for each in fields["series"]] == [
        ("metric", "loss", 1)
    ]
    assert fields["statuses"] == {"CreatedGroup": 1}


def test_what_others_change_is_told_since_a_moment(ann: Caller) -> None:
    before = ann.read("fetch_changes")
    assert (before["known"], before["trials"]) == (True, [])
    id = ann.new_trial()["id"]
    ann.call("new_project", project={"uid": "p"})
    after = ann.read("fetch_changes", cursor=before["cursor"])
    assert (after["trials"], after["projects"], after["more"]) == ([id], ["p"], False)
    ann.call("delete_trial", trial=id, force=True)
    assert ann.read("fetch_changes", cursor=after["cursor"])["deleted"] == [id]
    assert not ann.read("fetch_changes", cursor="of another store:7")["known"]
    with pytest.raises(BadArguments, match="limit is 10,001"):
        ann.read("fetch_changes", limit=10_001)
