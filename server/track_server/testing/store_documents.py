"""Projects, groups and trials: put, found, updated, linked."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from track_protocol.query.parse import parse_query
from track_protocol.wire.batch import CHRONO, METRIC
from track_server.testing.store_support import StoreSuite, begin, group, id_of, project, same, trial

__all__ = ["DocumentTests"]

RICH = {
    "text": "naïve 😀 \x00 \"quoted\" 'single' \\",
    "numbers": [0, -1, 2**63 - 1, -(2**63), 0.1, -0.0, 1e300, 5e-324],
    "odd numbers": [math.nan, math.inf, -math.inf],
    "flags": [True, False, None],
    "nested": {"list": [1, [2, {"three": (3, (4,))}]], "tuple": (1, "two", None), "empty": [{}, [], ()]},
    "bytes": b"\x00\xff",
    "other keys": {1: "int", 2.5: "float", False: "bool", (1, "a"): "tuple"},
    "$float": "nan",
    "$dollar": {"$in": [1]},
    "": "empty key",
    "a.b": "dotted key",
}
"""Everything that a plain value may hold."""


class DocumentTests(StoreSuite):
    """Part of `StoreContract`."""

    def test_what_is_not_there_is_none(self, store: Any) -> None:
        with store.snapshot() as view:
            assert view.project("p") is None
            assert view.group("g") is None
            assert view.trial(id_of(0)) is None
            assert view.trial_id("hash0_0") is None
            assert view.trial_fields(id_of(0)) is None
            assert (view.project_fields("p"), view.group_fields("g")) == (None, None)
            assert view.revisions("hash0") == []
            assert view.points(id_of(0), "metric", "loss", 0, 10) is None
            assert view.session(b"s" * 16) is None
            assert view.trials(parse_query({})) == []

    def test_whether_there_is_a_project_or_a_group_is_reported_within_its_transaction_too(
        self, store: Any
    ) -> None:
        reported = []
        for put in (lambda tx: tx.put_project(project()), lambda tx: tx.put_group(group())):
            self.put(store, put, lambda tx: reported.append((tx.project_fields("p"), tx.group_fields("g"))))
        assert reported == [(project("p"), None), (project("p"), group("g"))]
        with store.snapshot() as view:
            assert (view.project_fields("p"), view.group_fields("g")) == (project("p"), group("g"))
            assert (view.project_fields("g"), view.group_fields("p")) == (None, None)

    def test_a_project_reads_back_with_empty_lists(self, store: Any) -> None:
        self.put(store, lambda tx: tx.put_project(project(description="why", metadata={"a": 1})))
        with store.snapshot() as view:
            assert view.project("p") == project(description="why", metadata={"a": 1}, groups=[], trials=[])

    def test_a_group_reads_back_with_an_empty_list(self, store: Any) -> None:
        self.put(store, lambda tx: tx.put_group(group(project_id="p", metadata={"a": 1})))
        with store.snapshot() as view:
            assert view.group("g") == group(project_id="p", metadata={"a": 1}, trials=[])

    def test_a_trial_reads_back_with_empty_series(self, store: Any) -> None:
        given = trial(parameters={"lr": 0.1}, tags={"t": True}, errors=["boom"], project_id="p", group_id="g")
        self.put(store, lambda tx: tx.add_trial(given))
        assert self.read_trial(store) == {**given, "metrics": {}, "chronos": {}, "media": {}}

    def test_putting_a_project_again_replaces_it_in_its_place(self, store: Any) -> None:
        self.put(store, lambda tx: tx.put_project(project("a")), lambda tx: tx.put_project(project("b")))
        self.put(store, lambda tx: tx.put_project(project("a", name="new")))
        with store.snapshot() as view:
            assert view.project("a")["name"] == "new"
        assert self.found(store, {}, kind="project") == ["a", "b"]

    def test_putting_a_group_again_keeps_its_trials(self, store: Any) -> None:
        self.put(
            store,
            lambda tx: tx.put_group(group()),
            lambda tx: tx.add_trial(trial()),
            lambda tx: tx.link("g", id_of(0)),
        )
        self.put(store, lambda tx: tx.put_group(group(metadata={"new": 1}, trials=["ignored"])))
        with store.snapshot() as view:
            assert view.group("g") == group(metadata={"new": 1}, trials=["hash0_0"])

    def test_given_lists_and_series_are_ignored(self, store: Any) -> None:
        self.put(
            store,
            lambda tx: tx.put_project(project(groups=["x"], trials=["y"])),
            lambda tx: tx.put_group(group(trials=["z"])),
            lambda tx: tx.add_trial(trial() | {"metrics": {"m": 1}, "chronos": {"c": 2}}),
        )
        with store.snapshot() as view:
            assert (view.project("p")["groups"], view.project("p")["trials"]) == ([], [])
            assert view.group("g")["trials"] == []
            assert (view.trial(id_of(0))["metrics"], view.trial(id_of(0))["chronos"]) == ({}, {})

    def test_a_project_lists_its_groups_and_trials_in_order_of_insertion(self, store: Any) -> None:
        self.put(
            store,
            lambda tx: tx.put_project(project()),
            lambda tx: tx.put_group(group("z", project_id="p")),
            lambda tx: tx.put_group(group("a", project_id="p")),
            lambda tx: tx.put_group(group("m", project_id="other")),
            lambda tx: tx.add_trial(trial(2, project_id="p")),
            lambda tx: tx.add_trial(trial(1)),
            lambda tx: tx.add_trial(trial(0, project_id="p")),
        )
        self.put(store, lambda tx: tx.update_trial(id_of(1), {"project_id": "p"}))
        with store.snapshot() as view:
            assert view.project("p")["groups"] == ["z", "a"]
            assert view.project("p")["trials"] == ["hash2_0", "hash1_0", "hash0_0"]

    def test_a_trial_that_moves_leaves_its_old_project(self, store: Any) -> None:
        self.put(
            store,
            lambda tx: tx.put_project(project("old")),
            lambda tx: tx.put_project(project("new")),
            lambda tx: tx.add_trial(trial(project_id="old")),
        )
        self.put(store, lambda tx: tx.update_trial(id_of(0), {"project_id": "new"}))
        with store.snapshot() as view:
            assert view.project("old")["trials"] == []
            assert view.project("new")["trials"] == ["hash0_0"]

    def test_a_group_lists_linked_trials_once_in_order_of_linking(self, store: Any) -> None:
        self.put(
            store,
            lambda tx: tx.put_group(group()),
            lambda tx: tx.put_group(group("other")),
            lambda tx: tx.add_trial(trial(0)),
            lambda tx: tx.add_trial(trial(1)),
            lambda tx: tx.link("g", id_of(1)),
            lambda tx: tx.link("g", id_of(0)),
            lambda tx: tx.link("g", id_of(1)),
            lambda tx: tx.link("other", id_of(0)),
        )
        self.put(store, lambda tx: tx.link("g", id_of(0)))
        with store.snapshot() as view:
            assert view.group("g")["trials"] == ["hash1_0", "hash0_0"]
            assert view.group("other")["trials"] == ["hash0_0"]

    def test_a_trial_is_found_by_uid(self, store: Any) -> None:
        self.put(store, lambda tx: tx.add_trial(trial(7)))
        with store.snapshot() as view:
            assert view.trial_id("hash7_0") == id_of(7)
            assert view.trial_fields(id_of(7)) is not None

    def test_revisions_come_lowest_first_whatever_the_order_of_insertion(self, store: Any) -> None:
        tx = begin(store)
        for number, revision in ((1, 10), (2, 0), (3, 2)):
            tx.add_trial(trial(number, hash="same", revision=revision))
        tx.add_trial(trial(4))
        tx.commit()
        with store.snapshot() as view:
            assert view.revisions("same") == [id_of(2), id_of(3), id_of(1)]
            assert (view.newest_revision("same"), view.newest_revision("other")) == (10, None)

    def test_an_update_replaces_the_fields_given_and_no_other(self, store: Any) -> None:
        self.put(store, lambda tx: tx.add_trial(trial(parameters={"lr": 1}, tags={"a": 1})))
        changes = {"parameters": {"bs": 2}, "status": {"value": 302, "name": "Completed"}, "errors": ["e"]}
        self.put(store, lambda tx: tx.update_trial(id_of(0), changes))
        assert self.read_trial(store) == {
            **trial(parameters={"lr": 1}, tags={"a": 1}),
            **changes,
            "metrics": {},
            "chronos": {},
            "media": {},
        }

    def test_an_updated_hash_and_uid_are_found_and_the_old_ones_are_not(self, store: Any) -> None:
        self.put(store, lambda tx: tx.add_trial(trial()))
        changes = {"uid": "new_3", "hash": "new", "revision": 3}
        self.put(store, lambda tx: tx.update_trial(id_of(0), changes))
        with store.snapshot() as view:
            assert (view.trial_id("new_3"), view.trial_id("hash0_0")) == (id_of(0), None)
            assert (view.revisions("new"), view.revisions("hash0")) == ([id_of(0)], [])

    def test_an_updated_trial_keeps_its_points_and_its_place(self, store: Any) -> None:
        self.log(store, [1], [0.5])
        self.put(store, lambda tx: tx.add_trial(trial(1)))
        self.put(store, lambda tx: tx.update_trial(id_of(0), {"name": "renamed"}))
        assert self.read_points(store) == ([1], [100.0], [0.5])
        assert self.found(store, {}) == ["hash0_0", "hash1_0"]

    def test_every_plain_value_reads_back_exactly(self, store: Any) -> None:
        self.put(
            store,
            lambda tx: tx.put_project(project(metadata=RICH)),
            lambda tx: tx.put_group(group(metadata=RICH)),
            lambda tx: tx.add_trial(trial(parameters=RICH, metadata=RICH, tags=RICH, errors=[RICH["text"]])),
        )
        with store.snapshot() as view:
            assert same(view.project("p")["metadata"], RICH)
            assert same(view.group("g")["metadata"], RICH)
            read = view.trial(id_of(0))
        assert same([read["parameters"], read["metadata"], read["tags"]], [RICH, RICH, RICH])
        assert read["errors"] == [RICH["text"]]

    def test_a_trials_own_fields_are_read_without_its_series(self, store: Any) -> None:
        self.put(
            store,
            lambda tx: tx.add_trial(trial(parameters=RICH, metadata=RICH, tags=RICH, errors=["text"])),
            lambda tx: tx.append_points(id_of(0), METRIC, "loss", None, self.points([0], [0.5])),
            lambda tx: tx.append_points(id_of(0), CHRONO, "epoch", None, self.points([0], [0.5])),
        )
        with store.snapshot() as view:
            document, own = view.trial(id_of(0)), view.trial_fields(id_of(0))
        assert (list(document.pop("metrics")), list(document.pop("chronos"))) == (["loss"], ["epoch"])
        assert document.pop("media") == {}
        assert same(own, document)

    def test_what_was_returned_may_be_changed_afterwards(self, store: Any) -> None:
        self.put(
            store,
            lambda tx: tx.put_group(group(metadata={"list": [1]})),
            lambda tx: tx.add_trial(trial(parameters={"list": [1]})),
            lambda tx: tx.link("g", id_of(0)),
        )
        with store.snapshot() as view:
            view.trial_fields(id_of(0))["parameters"]["list"].append(2)
            for document in (view.trial(id_of(0)), *view.trials(parse_query({}))):
                document["parameters"]["list"].append(2)
                document["metrics"]["made up"] = {}
            view.group("g")["metadata"]["list"].append(2)
            view.group("g")["trials"].clear()
            assert view.trial(id_of(0))["parameters"] == {"list": [1]}
            assert view.trial(id_of(0))["metrics"] == {}
            assert view.group("g") == group(metadata={"list": [1]}, trials=["hash0_0"])

    def test_documents_are_there_after_reopening(self, store: Any, path: Path) -> None:
        self.put(
            store,
            lambda tx: tx.put_project(project(metadata=RICH)),
            lambda tx: tx.put_group(group(project_id="p", metadata=RICH)),
            lambda tx: tx.add_trial(trial(1, project_id="p", parameters=RICH)),
            lambda tx: tx.add_trial(trial(0, hash="hash1", revision=1)),
            lambda tx: tx.link("g", id_of(0)),
            lambda tx: tx.link("g", id_of(1)),
        )
        before = _everything(store)
        again = self.reopened(store, path)
        try:
            assert same(_everything(again), before)
            with again.snapshot() as view:
                assert view.revisions("hash1") == [id_of(1), id_of(0)]
        finally:
            again.close()


def _everything(store: Any) -> list[Any]:
    with store.snapshot() as view:
        return [
            view.projects(parse_query({}, "project")),
            view.groups(parse_query({}, "group")),
            view.trials(parse_query({})),
        ]
