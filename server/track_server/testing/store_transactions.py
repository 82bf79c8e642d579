"""Transactions, snapshots, sessions, and what outlives a close."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from track_protocol.query.parse import parse_query
from track_protocol.wire.batch import METRIC
from track_server.testing.store_support import StoreSuite, begin, group, id_of, project, same, trial

__all__ = ["TransactionTests"]

SID = b"s" * 16


class TransactionTests(StoreSuite):
    """Part of `StoreContract`."""

    # -- transactions ----------------------------------------------------------------------------

    def test_a_transaction_reads_its_own_writes(self, store: Any) -> None:
        tx = begin(store)
        tx.put_project(project())
        tx.put_group(group(project_id="p"))
        tx.add_trial(trial(project_id="p"))
        tx.link("g", id_of(0))
        tx.append_points(id_of(0), METRIC, "loss", None, self.points([0, 1], [0.5, 0.25]))
        tx.update_trial(id_of(0), {"name": "renamed"})
        tx.put_session(self.session_type(SID, "ann", 1, 5, (5, b"reply")))
        assert tx.project("p") == project(groups=["g"], trials=["hash0_0"])
        assert tx.group("g") == group(project_id="p", trials=["hash0_0"])
        assert (tx.trial(id_of(0))["name"], tx.trial(id_of(0))["metrics"]["loss"]["last"]) == (
            "renamed",
            0.25,
        )
        assert tx.trial_fields(id_of(0))["name"] == "renamed"
        assert tx.has_trial(id_of(0))
        assert tx.trial_id("hash0_0") == id_of(0)
        assert tx.newest_revision("hash0") == 0
        assert [document["uid"] for document in tx.trials(parse_query({"name": "renamed"}))] == ["hash0_0"]
        assert len(tx.points(id_of(0), METRIC, "loss", 0, 10)) == 2
        assert tx.session(SID).last_seq == 5
        tx.rollback()

    def test_nothing_of_a_transaction_that_is_rolled_back_remains(self, store: Any) -> None:
        self._fill(store)
        before = self._everything(store)
        tx = begin(store)
        self._change_everything(tx)
        tx.rollback()
        assert same(self._everything(store), before)

    def test_what_was_rolled_back_can_be_done_again(self, store: Any) -> None:
        self._fill(store)
        for end in ("rollback", "commit"):
            tx = begin(store)
            self._change_everything(tx)
            getattr(tx, end)()
        assert self.read_points(store)[0] == [0, 1, 2]
        assert self.read_points(store, number=9)[0] == [2]
        with store.snapshot() as view:
            assert view.group("g")["trials"] == ["hash0_0", "hash9_0"]
            assert view.project("p")["trials"] == ["hash9_0"]

    def test_a_rolled_back_transaction_is_not_there_after_reopening(self, store: Any, path: Path) -> None:
        self._fill(store)
        before = self._everything(store)
        tx = begin(store)
        self._change_everything(tx)
        tx.rollback()
        again = self.reopened(store, path)
        try:
            assert same(self._everything(again), before)
        finally:
            again.close()

    def test_a_transaction_that_changes_nothing_can_be_committed(self, store: Any) -> None:
        begin(store).commit()
        self._fill(store)
        before = self._everything(store)
        begin(store).commit()
        assert same(self._everything(store), before)

    # -- snapshots -------------------------------------------------------------------------------

    def test_a_snapshot_does_not_see_an_open_transaction(self, store: Any) -> None:
        self._fill(store)
        before = self._everything(store)
        tx = begin(store)
        self._change_everything(tx)
        assert same(self._everything(store), before)
        tx.commit()
        assert not same(self._everything(store), before)

    def test_a_snapshot_stays_as_it_was_while_others_commit(self, store: Any) -> None:
        self._fill(store)
        with store.snapshot() as view:
            before = self._seen(view)
            self.put(store, self._change_everything)
            self.put(store, lambda tx: tx.update_trial(id_of(0), {"name": "and again"}))
            assert same(self._seen(view), before)
        with store.snapshot() as view:
            assert view.trial(id_of(0))["name"] == "and again"

    def test_snapshots_of_different_moments_are_open_together(self, store: Any) -> None:
        self.log(store, [0], [1.0])
        with store.snapshot() as first:
            self.log(store, [1], [2.0])
            with store.snapshot() as second:
                self.log(store, [2], [3.0])
                counts = [view.trial(id_of(0))["metrics"]["loss"]["count"] for view in (first, second)]
        assert counts == [1, 2]
        assert len(self.read_points(store)[0]) == 3

    def test_a_snapshot_stays_as_it_was_through_maintenance(self, store: Any) -> None:
        for step in range(100):
            self.log(store, [step], [step / 4])
        with store.snapshot() as view:
            while store.maintain(1.0):
                pass
            assert len(view.points(id_of(0), METRIC, "loss", 0, 1_000)) == 100

    def test_readers_in_other_threads_see_complete_transactions(self, store: Any) -> None:
        self.put(store, lambda tx: tx.add_trial(trial(0)), lambda tx: tx.add_trial(trial(1)))
        torn: list[tuple[int, int]] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                with store.snapshot() as view:
                    counts = [
                        view.trial(id_of(number))["metrics"].get("loss", {}).get("count", 0)
                        for number in (0, 1)
                    ]
                if counts[0] != counts[1]:
                    torn.append((counts[0], counts[1]))

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        try:
            for step in range(50):
                tx = begin(store)
                for number in (0, 1):
                    tx.append_points(id_of(number), METRIC, "loss", None, self.points([step], [1.0]))
                tx.commit()
        finally:
            done.set()
            for reader in readers:
                reader.join()
        assert torn == []

    # -- sessions --------------------------------------------------------------------------------

    def test_a_session_reads_back_as_it_was_put(self, store: Any) -> None:
        states = [
            self.session_type(SID, "ann", 1, 0, None),
            self.session_type(b"t" * 16, "bob", 2, 2**40, (2**40, b"\x00\xff")),
        ]
        tx = begin(store)
        for state in states:
            tx.put_session(state)
        tx.commit()
        with store.snapshot() as view:
            assert [view.session(SID), view.session(b"t" * 16)] == states

    def test_putting_a_session_again_replaces_it(self, store: Any) -> None:
        self.put(store, lambda tx: tx.put_session(self.session_type(SID, "ann", 1, 5, (5, b"old"))))
        state = self.session_type(SID, "ann", 2, 9, None)
        self.put(store, lambda tx: tx.put_session(state))
        with store.snapshot() as view:
            assert view.session(SID) == state

    def test_sessions_are_there_after_reopening(self, store: Any, path: Path) -> None:
        state = self.session_type(SID, "ann", 3, 7, (7, b"\x00reply"))
        self.put(store, lambda tx: tx.put_session(state))
        again = self.reopened(store, path)
        try:
            with again.snapshot() as view:
                assert view.session(SID) == state
        finally:
            again.close()

    # -- the store itself ------------------------------------------------------------------------

    def test_the_generation_stays_for_the_life_of_a_store(self, store: Any, path: Path) -> None:
        generation = store.generation
        assert generation
        self._fill(store)
        self.save(store)
        assert store.generation == generation
        again = self.reopened(store, path)
        try:
            assert again.generation == generation
        finally:
            again.close()

    def test_two_stores_have_different_generations(self, store: Any, tmp_path: Path) -> None:
        other = self.open_store(tmp_path / "other")
        try:
            assert other.generation != store.generation
        finally:
            other.close()

    def test_saving_changes_nothing_that_can_be_seen(self, store: Any) -> None:
        self._fill(store)
        before = self._everything(store)
        self.save(store)
        assert same(self._everything(store), before)
        self.log(store, [9], [9.0])
        assert self.read_points(store)[0] == [0, 1, 9]

    def test_a_store_that_was_saved_and_written_to_again_reopens_with_everything(
        self, store: Any, path: Path
    ) -> None:
        self._fill(store)
        self.save(store)
        self.put(store, self._change_everything)
        before = self._everything(store)
        again = self.reopened(store, path)
        try:
            assert same(self._everything(again), before)
        finally:
            again.close()

    def test_closing_again_does_no_harm(self, store: Any) -> None:
        self._fill(store)
        store.close()
        store.close()

    # -- what the tests change and compare -------------------------------------------------------

    def _fill(self, store: Any) -> None:
        self.put(
            store,
            lambda tx: tx.put_project(project()),
            lambda tx: tx.put_group(group(metadata={"a": 1})),
            lambda tx: tx.add_trial(trial(0, parameters={"lr": 0.5})),
            lambda tx: tx.add_trial(trial(1)),
            lambda tx: tx.link("g", id_of(0)),
            lambda tx: tx.append_points(id_of(0), METRIC, "loss", None, self.points([0, 1], [1.0, 2.0])),
            lambda tx: tx.put_session(self.session_type(SID, "ann", 1, 5, None)),
            lambda tx: tx.put_lease(self.lease_type(id_of(0), SID, None, False)),
            lambda tx: tx.put_lease(self.lease_type(id_of(1), SID, 1, False)),
        )

    def _change_everything(self, tx: Any) -> None:
        tx.put_project(project(name="renamed"))
        tx.put_project(project("new"))
        tx.put_group(group(metadata={"a": 2}, project_id="p"))
        tx.put_group(group("new"))
        tx.add_trial(trial(9, project_id="p"))
        tx.update_trial(id_of(0), {"name": "renamed", "uid": "other_4", "hash": "other", "revision": 4})
        tx.update_trial(id_of(0), {"uid": "hash0_0", "hash": "hash0", "revision": 0})
        tx.link("g", id_of(9))
        # The mean of the others, so that no last digit depends on what was added up first.
        tx.append_points(id_of(0), METRIC, "loss", None, self.points([2], [1.5]))
        tx.append_points(id_of(9), METRIC, "loss", None, self.points([2], [3.0]))
        tx.append_points(id_of(0), METRIC, "new", None, self.points([2], [3.0]))
        tx.put_session(self.session_type(SID, "ann", 2, 6, (6, b"x")))
        tx.put_session(self.session_type(b"n" * 16, "new", 1, 1, None))
        tx.put_lease(self.lease_type(id_of(0), SID, 2, True))
        tx.put_lease(self.lease_type(id_of(9), b"n" * 16, None, False))
        tx.drop_lease(id_of(1), SID)

    def _everything(self, store: Any) -> list[Any]:
        with store.snapshot() as view:
            return self._seen(view)

    def _seen(self, view: Any) -> list[Any]:
        sessions = [view.session(sid) for sid in (SID, b"n" * 16)]
        points = [
            view.points(id_of(number), METRIC, name, 0, 100) for number in (0, 9) for name in ("loss", "new")
        ]
        return [
            view.projects(parse_query({}, "project")),
            view.groups(parse_query({}, "group")),
            view.trials(parse_query({})),
            [view.trial_id(uid) for uid in ("hash0_0", "hash9_0", "other_4")],
            [view.revisions(hash) for hash in ("hash0", "hash9", "other")],
            [view.newest_revision(hash) for hash in ("hash0", "hash9", "other")],
            [
                points and [list(column) for column in (points.steps, points.times, points.values)]
                for points in points
            ],
            sessions,
            [set(view.leases(id_of(number))) for number in (0, 1, 9)],
            [set(view.leases_of(sid)) for sid in (SID, b"n" * 16)],
            set(view.leases_by_status(0, 999)),
        ]
