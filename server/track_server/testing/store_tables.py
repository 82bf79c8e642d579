"""Tables of trials: columns, summaries of fields, groups."""

from __future__ import annotations

import math
from typing import Any, Final

import pytest

from track_protocol.query.columns import parse_columns, parse_table_order
from track_protocol.query.parse import parse_query
from track_server.testing.store_support import StoreSuite, begin, group, id_of, project, same, trial

__all__ = ["TableTests"]

_COMPLETED: Final = {"value": 302, "name": "Completed"}
_LABELLED: Final = 'loss{split="val"}'

TRIALS: Final = [
    trial(
        0,
        status=_COMPLETED,
        project_id="p",
        group_id="g",
        parameters={"lr": 0.1, "opt": {"name": "sgd"}, "big": 2**60 + 1},
        tags={"seed": 1, "it's": 'a "quote"'},
        metadata={"heartbeat": 500.5, "run": {"host": "a"}},
        started=20.5,
        ended=30.0,
    ),
    trial(
        1,
        name=None,
        project_id="q",
        parameters={"lr": 1, "opt": {"name": "adam"}, "opt.name": "own", "größe": "ü"},
        tags={"seed": 1.0},
        metadata={"heartbeat": 50.5},
    ),
    trial(2, group_id="h", parameters={"lr": math.nan, "flag": True, "$odd": {"a b": 1}}, tags={"seed": "1"}),
    trial(3, group_id="none", parameters={"lr": None, "list": [1, math.inf], "lower": -math.inf}),
]

COLUMNS: Final[list[tuple[str, list[Any]]]] = [
    ("id", [id_of(n) for n in range(4)]),
    ("uid", [each["uid"] for each in TRIALS]),
    ("hash", [each["hash"] for each in TRIALS]),
    ("revision", [0, 0, 0, 0]),
    ("name", ["trial 0", None, "trial 2", "trial 3"]),
    ("description", [None, None, None, None]),
    ("status", ["Completed", *["CreatedGroup"] * 3]),
    ("status.value", [302, 0, 0, 0]),
    ("created", [50.0] * 4),
    ("started", [20.5, None, None, None]),
    ("ended", [30.0, None, None, None]),
    ("duration", [9.5, None, None, None]),
    ("project_id", ["p", "q", None, None]),
    ("project", ["project p", "q", None, None]),
    ("group_id", ["g", None, "h", "none"]),
    ("group", ["group g", None, "h", "none"]),
    ("seen", [500.5, 301.0, None, 100.0]),
    ("parameters.lr", [0.1, 1, math.nan, None]),
    ("parameters.opt.name", ["sgd", "own", None, None]),
    ("parameters.opt", [{"name": "sgd"}, {"name": "adam"}, None, None]),
    ("parameters.big", [2**60 + 1, None, None, None]),
    ("parameters.größe", [None, "ü", None, None]),
    ("parameters.flag", [None, None, True, None]),
    ("parameters.$odd.a b", [None, None, 1, None]),
    ("parameters.list", [None, None, None, [1, math.inf]]),
    ("parameters.lower", [None, None, None, -math.inf]),
    ("tags.it's", ['a "quote"', None, None, None]),
    ("tags.seed", [1, 1.0, "1", None]),
    ("metadata.run.host", ["a", None, None, None]),
    ("tags", [each["tags"] for each in TRIALS]),
    ("metrics.loss", [0.25, 0.5, None, "text"]),
    ("metrics.loss.min", [0.25, 0.5, None, -7.0]),
    ("metrics.loss.mean", [0.5, 0.5, None, None]),
    ("metrics.loss.sd", [0.25, 0.0, None, None]),
    ("metrics.loss.count", [2, 2, None, 1]),
    ("metrics.loss.last_step", [1, 8, None, None]),
    (f"metrics.{_LABELLED}", [0.125, None, None, None]),
    (f"metrics.{_LABELLED}.max", [0.125, None, None, None]),
    ("chronos.epoch", [None, 3.0, None, None]),
    ("metrics.nowhere.max", [None] * 4),
]

ORDERS: Final[list[tuple[list[str], list[int]]]] = [
    ([], [0, 1, 2, 3]),
    (["-created"], [3, 2, 1, 0]),
    (["parameters.lr"], [0, 1, 2, 3]),
    (["-parameters.lr"], [1, 0, 2, 3]),
    (["status", "-created"], [0, 3, 2, 1]),
    (["-status"], [1, 2, 3, 0]),
    (["tags.seed", "-created"], [1, 0, 2, 3]),
    (["seen"], [3, 1, 0, 2]),
    (["-project"], [1, 0, 2, 3]),
    (["group"], [0, 2, 3, 1]),
    (["-metrics.loss.min"], [1, 0, 3, 2]),
    (["parameters.opt.name"], [1, 0, 2, 3]),
]


class TableTests(StoreSuite):
    """Part of `StoreContract`."""

    @pytest.fixture
    def tabled(self, store: Any) -> Any:
        """A store with projects, a group and four trials, three of them with series."""
        tx = begin(store)
        for document in (project("p"), project("q", name=None)):
            tx.put_project(document)
        tx.put_group(group("g"))
        for document in TRIALS:
            tx.add_trial(document)
        tx.commit()
        self.log(store, [0, 1], [0.75, 0.25], number=0)
        self.log(store, [3], [0.125], number=0, name=_LABELLED)
        self.log(store, [7, 8], [0.5, 0.5], number=1, first_time=300.0)
        self.log(store, [None, None], [2.0, 4.0], number=1, kind="chrono", name="epoch")
        self.log(store, [None], ["text"], number=3)
        self.log(store, [None], [-7.0], number=3, name="loss.min")
        return store

    def _table(self, store: Any, columns: list[str], order: list[str], **page: Any) -> Any:
        with store.snapshot() as view:
            return view.table(parse_query({}), parse_columns(columns), parse_table_order(order), **page)

    @pytest.mark.parametrize(("name", "values"), COLUMNS, ids=[name for name, _ in COLUMNS])
    def test_a_column_has_the_value_of_each_trial(self, tabled: Any, name: str, values: list[Any]) -> None:
        table = self._table(tabled, [name], [])
        assert (table.total, table.ids) == (4, [id_of(n) for n in range(4)])
        assert same(table.columns, [values]), table.columns

    @pytest.mark.parametrize(("order", "expected"), ORDERS)
    def test_rows_come_in_the_order_that_was_asked(
        self, tabled: Any, order: list[str], expected: list[int]
    ) -> None:
        table = self._table(tabled, ["uid", "hash"], order)
        uids, hashes = ([TRIALS[number][field] for number in expected] for field in ("uid", "hash"))
        assert table.columns == [uids, hashes]

    @pytest.mark.parametrize(("start", "limit"), [(0, 2), (1, 2), (3, 2), (4, 2), (9, 1), (0, 4), (0, 0)])
    def test_a_page_has_its_rows_and_the_number_of_all(self, tabled: Any, start: int, limit: int) -> None:
        table = self._table(tabled, ["uid"], [], start=start, limit=limit)
        assert table.total == 4
        assert table.ids == [id_of(n) for n in range(4)][start : start + limit]
        assert list(map(len, table.columns)) == [len(table.ids)]

    def test_rows_of_ids_come_in_their_order_without_deleted_ones(self, tabled: Any) -> None:
        self.put(tabled, lambda tx: tx.delete_trial(id_of(2)))
        ids = [id_of(n) for n in (3, 2, 0, 9)]
        with tabled.snapshot() as view:
            table = view.table_rows(ids, parse_columns(["uid", "tags.seed"]))
            assert (table.total, table.ids) == (2, [id_of(3), id_of(0)])
            assert table.columns == [["hash3_0", "hash0_0"], [None, 1]]
            assert view.table(parse_query({}), parse_columns([])).total == 3

    def test_fields_are_summarised(self, tabled: Any) -> None:
        with tabled.snapshot() as view:
            fields = view.fields(parse_query({}))
        assert (fields["total"], fields["more"]) == (4, False)
        assert fields["statuses"] == {"Completed": 1, "CreatedGroup": 3}
        named = {each.pop("name"): each for each in fields["fields"]}
        assert same(
            named["parameters.lr"],
            {"count": 4, "numbers": 3, "texts": 0, "booleans": 0, "others": 1, "nonfinite": 1}
            | {"min": 0.1, "max": 1, "values": [0.1, 1, math.nan], "differs": True},
        )
        assert set(named) == {
            *("parameters.lr", "parameters.opt.name", "parameters.big", "parameters.größe"),
            *("parameters.flag", "parameters.$odd.a b", "parameters.list", "parameters.lower"),
            *("tags.seed", "tags.it's", "metadata.heartbeat", "metadata.run.host"),
        }
        assert named["parameters.flag"]["booleans"] == 1
        assert sorted(named["parameters.opt.name"]["values"]) == ["adam", "own", "sgd"]
        assert (named["tags.seed"]["values"], named["tags.seed"]["texts"]) == ([1, "1"], 1)
        assert (named["parameters.lower"]["nonfinite"], named["parameters.lower"]["min"]) == (1, None)

    def test_series_of_all_kinds_are_counted(self, tabled: Any) -> None:
        tx = begin(tabled)
        tx.append_points(id_of(2), "image", "sample", None, self.points([0], [{"digest": "d"}]))
        tx.rewind(id_of(1), 7)
        tx.commit()
        with tabled.snapshot() as view:
            series = view.fields(parse_query({}))["series"]
        found = {(each["kind"], each["name"]): each["trials"] for each in series}
        assert found == {
            ("metric", "loss"): 3,
            ("metric", _LABELLED): 1,
            ("metric", "loss.min"): 1,
            ("chrono", "epoch"): 1,
            ("image", "sample"): 1,
        }

    def test_what_all_trials_have_alike_does_not_differ(self, tabled: Any) -> None:
        with tabled.snapshot() as view:
            fields = view.fields(parse_query({"project_id": {"$ne": None}}))
        differ = {each["name"]: each["differs"] for each in fields["fields"]}
        assert fields["total"] == 2
        assert not differ["tags.seed"]
        assert differ["parameters.lr"]
        assert differ["parameters.big"]

    def test_trials_are_grouped_by_values_that_are_equal(self, tabled: Any) -> None:
        with tabled.snapshot() as view:
            groups = view.trial_groups(
                parse_query({}),
                parse_columns(["tags.seed"]),
                parse_columns(["metrics.loss.min", "parameters.lr"]),
                2,
            )
        assert [(each["by"], each["count"]) for each in groups] == [([1], 2), (["1"], 1)]
        loss, rate = groups[0]["measures"]
        assert loss == {"count": 2, "min": 0.25, "max": 0.5, "mean": 0.375, "sd": 0.125}
        assert (rate["count"], rate["min"], rate["max"], rate["mean"]) == (2, 0.1, 1.0, 0.55)
        assert groups[1]["measures"][1] == {"count": 0, "min": None, "max": None, "mean": None, "sd": None}

    def test_trials_that_are_grouped_by_nothing_are_one_group(self, tabled: Any) -> None:
        with tabled.snapshot() as view:
            (whole,) = view.trial_groups(parse_query({}), (), parse_columns(["metrics.loss.count"]), 9)
        assert (whole["by"], whole["count"], whole["measures"][0]["max"]) == ([], 4, 2.0)

    def test_an_empty_store_has_empty_tables(self, store: Any) -> None:
        with store.snapshot() as view:
            table = view.table(parse_query({}), parse_columns(["uid", "metrics.loss.min"]))
            assert (table.total, table.ids, table.columns) == (0, [], [[], []])
            fields = view.fields(parse_query({}))
            assert (fields["total"], fields["fields"], fields["series"]) == (0, [], [])
            assert view.trial_groups(parse_query({}), parse_columns(["uid"]), (), 9) == []
