"""Deleting trials: every later read misses them, at once and for good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from track_protocol.errors import ItemNotFound
from track_protocol.model.media import TEXT
from track_protocol.wire.batch import CHRONO, METRIC, SUPERSEDED
from track_server.testing.store_support import StoreSuite, begin, group, id_of, project, trial

__all__ = ["DeletingTests"]

SID = b"s" * 16
DIGEST = "0" * 64
SLICE = 0.01


class DeletingTests(StoreSuite):
    """Part of `StoreContract`."""

    def test_a_deleted_trial_is_not_found_for_every_way_of_asking(self, store: Any) -> None:
        self._filled(store)
        self._delete(store)
        with store.snapshot() as view:
            assert (view.trial(id_of(0)), view.trial_fields(id_of(0)), view.trial_id("hash0_0")) == (
                None,
                None,
                None,
            )
            assert (view.revisions("hash0"), view.leases(id_of(0)), view.leases_of(SID)) == ([], [], [])
            assert view.leases_by_status(0, 999) == []
            assert view.unused_blobs(2.0, 9) == [DIGEST]
            assert all(
                view.points(id_of(0), kind, name, 0, 9) is None
                for kind, name in ((METRIC, "loss"), (CHRONO, "epoch"), (SUPERSEDED, "loss"), (TEXT, "note"))
            )
            assert (view.group("g")["trials"], view.project("p")["trials"]) == (["hash1_0"], ["hash1_0"])
        assert self.found(store, {}) == self.found(store, {"metrics.loss": {"$exists": True}}) == ["hash1_0"]

    def test_a_transaction_sees_what_it_deleted_and_may_take_it_back(self, store: Any) -> None:
        self._filled(store)
        tx = begin(store)
        tx.append_points(id_of(0), METRIC, "loss", None, self.points([9], [9.0]))
        tx.delete_trial(id_of(0))
        assert (tx.trial(id_of(0)), tx.points(id_of(0), METRIC, "loss", 0, 9)) == (None, None)
        with pytest.raises(ItemNotFound):
            tx.append_points(id_of(0), METRIC, "loss", None, self.points([1], [1.0]))
        tx.rollback()
        assert self.read_points(store)[2] == [0.0, 1.0]
        self.log(store, [7], [7.0])
        assert self.read_points(store)[2] == [0.0, 1.0, 7.0]

    def test_whoever_reads_already_continues_reading(self, store: Any) -> None:
        self._filled(store)
        with store.snapshot() as view:
            self._delete(store)
            self._collected(store)
            assert view.trial(id_of(0))["metrics"].keys() == {"loss"}
            assert len(view.points(id_of(0), METRIC, "loss", 0, 9)) == 2
        self._collected(store)
        with store.snapshot() as view:
            assert view.trial(id_of(0)) is None

    @pytest.mark.parametrize("collected", [True, False])
    def test_a_trial_that_comes_behind_it_has_nothing_of_it(self, store: Any, collected: bool) -> None:
        self._filled(store)
        self.put(store, lambda tx: tx.add_trial(trial(2)))
        self.log(store, [1], [1.0], number=2)
        for _ in range(3):  # the last one that was added, whose place in a table may be taken again
            self._delete(store, 2)
            if collected:
                self._collected(store)
            self.put(store, lambda tx: tx.add_trial(trial(2)))
            assert self.read_trial(store, 2)["metrics"] == {}
            self.log(store, [5], [5.0], number=2)
            assert self.read_points(store, number=2) == ([5], [100.0], [5.0])
        self._collected(store)
        assert self.read_points(store, number=2) == ([5], [100.0], [5.0])
        assert self.found(store, {}) == ["hash0_0", "hash1_0", "hash2_0"]

    def test_a_trial_that_is_added_again_comes_last(self, store: Any) -> None:
        self._filled(store)
        self._delete(store)
        self._collected(store)
        self.put(store, lambda tx: tx.add_trial(trial(0, project_id="p")), lambda tx: tx.add_trial(trial(5)))
        assert self.found(store, {}) == ["hash1_0", "hash0_0", "hash5_0"]
        with store.snapshot() as view:
            assert view.project("p")["trials"] == ["hash1_0", "hash0_0"]

    def test_the_background_work_comes_to_an_end(self, store: Any) -> None:
        for number in range(5):
            self.log(store, list(range(3_000)), [0.5] * 3_000, number=number)
        self.put(store, *(lambda tx, number=number: tx.delete_trial(id_of(number)) for number in range(5)))
        self._collected(store)
        assert not store.maintain(SLICE)
        assert self.found(store, {}) == []

    def test_a_trial_that_is_not_there_cannot_be_deleted(self, store: Any) -> None:
        self._filled(store)
        self._delete(store)
        tx = begin(store)
        with pytest.raises(ItemNotFound):
            tx.delete_trial(id_of(0))
        tx.rollback()

    @pytest.mark.parametrize("collected", [True, False])
    def test_it_stays_deleted_after_reopening(self, store: Any, path: Path, collected: bool) -> None:
        self._filled(store)
        self._delete(store)
        if collected:
            self._collected(store)
        again = self.reopened(store, path)
        try:
            self._collected(again)
            assert self.found(again, {}) == ["hash1_0"]
            assert self.read_points(again, number=1)[2] == [0.25]
        finally:
            again.close()

    def _filled(self, store: Any) -> None:
        """Two trials in a project and a group, of which the first has all that a trial may have."""
        self.put(
            store,
            lambda tx: tx.put_project(project()),
            lambda tx: tx.put_group(group()),
            *(lambda tx, number=number: tx.add_trial(trial(number, project_id="p")) for number in (0, 1)),
            *(lambda tx, number=number: tx.link("g", id_of(number)) for number in (0, 1)),
            lambda tx: tx.put_lease(self.lease_type(id_of(0), SID, None, False)),
        )
        self.log(store, [0, 1, 2], [0.0, 1.0, 2.0])
        self.log(store, [0], [0.1], kind=CHRONO, name="epoch")
        self.log(store, [0], [{"text": "x"}], kind=TEXT, name="note")
        self.put(
            store,
            lambda tx: tx.rewind(id_of(0), 1),
            lambda tx: tx.add_blob_data(DIGEST, 1, b"x", 1.0),
            lambda tx: tx.use_blob(DIGEST, id_of(0)),
        )
        self.log(store, [0], [0.25], number=1)

    def _delete(self, store: Any, number: int = 0) -> None:
        self.put(store, lambda tx: tx.delete_trial(id_of(number)))

    def _collected(self, store: Any) -> None:
        while store.maintain(SLICE):
            pass
