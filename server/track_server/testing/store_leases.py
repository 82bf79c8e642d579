"""Leases: which sessions run which trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from track_protocol.errors import ItemNotFound
from track_server.testing.store_support import StoreSuite, begin, id_of, trial

__all__ = ["LeaseTests"]

SID, OTHER = b"s" * 16, b"t" * 16


class LeaseTests(StoreSuite):
    """Part of `StoreContract`."""

    def test_leases_are_found_by_trial_and_by_session(self, store: Any) -> None:
        first, second, third = self._leased(store)
        with store.snapshot() as view:
            assert set(view.leases(id_of(0))) == {first, second}
            assert set(view.leases_of(SID)) == {first, third}
            assert (view.leases(id_of(9)), view.leases_of(b"?" * 16)) == ([], [])

    def test_leases_that_are_not_superseded_are_found_by_status(self, store: Any) -> None:
        first, _, third = self._leased(store)
        self.put(store, lambda tx: tx.update_trial(id_of(1), {"status": {"value": 199, "name": "slow"}}))
        with store.snapshot() as view:
            assert set(view.leases_by_status(100, 199)) == {first, third}
            assert set(view.leases_by_status(101, 101)) == {first}
            assert view.leases_by_status(200, 999) == []

    def test_a_transaction_sees_the_leases_that_it_changed(self, store: Any) -> None:
        first, second, _ = self._leased(store)
        tx = begin(store)
        tx.update_trial(id_of(0), {"status": {"value": 204, "name": "lost"}})
        assert tx.leases_by_status(204, 204) == [first]
        tx.drop_lease(id_of(0), SID)
        assert (tx.leases(id_of(0)), tx.leases_of(OTHER)) == ([second], [second])
        tx.rollback()

    def test_putting_a_lease_again_replaces_it(self, store: Any) -> None:
        self._leased(store)
        lease = self.lease_type(id_of(0), SID, 3, True)
        self.put(store, lambda tx: tx.put_lease(lease))
        with store.snapshot() as view:
            assert lease in view.leases(id_of(0))
            assert len(view.leases(id_of(0))) == 2

    def test_dropping_a_lease_again_does_no_harm(self, store: Any) -> None:
        _, second, _ = self._leased(store)
        for _ in range(2):
            self.put(store, lambda tx: tx.drop_lease(id_of(0), SID))
        self.put(store, lambda tx: tx.drop_lease(id_of(9), SID))
        with store.snapshot() as view:
            assert view.leases(id_of(0)) == [second]

    def test_a_lease_of_no_trial_is_refused(self, store: Any) -> None:
        tx = begin(store)
        with pytest.raises(ItemNotFound):
            tx.put_lease(self.lease_type(id_of(0), SID, None, False))
        tx.rollback()

    def test_leases_are_there_after_reopening(self, store: Any, path: Path) -> None:
        first, second, third = self._leased(store)
        again = self.reopened(store, path)
        try:
            with again.snapshot() as view:
                assert set(view.leases(id_of(0))) == {first, second}
                assert view.leases(id_of(1)) == [third]
        finally:
            again.close()

    def test_leases_that_were_saved_and_then_changed_are_there_after_reopening(
        self, store: Any, path: Path
    ) -> None:
        _, second, _ = self._leased(store)
        self.save(store)
        self.put(store, lambda tx: tx.drop_lease(id_of(0), SID))
        again = self.reopened(store, path)
        try:
            with again.snapshot() as view:
                assert view.leases(id_of(0)) == [second]
        finally:
            again.close()

    def _leased(self, store: Any) -> tuple[Any, Any, Any]:
        """Two leases of a running trial, of which the second is superseded, and one of another trial."""
        running = {"value": 101, "name": "Running"}
        leases = (
            self.lease_type(id_of(0), SID, None, False),
            self.lease_type(id_of(0), OTHER, 0, True),
            self.lease_type(id_of(1), SID, 1, False),
        )
        self.put(
            store,
            *(lambda tx, number=number: tx.add_trial(trial(number, status=running)) for number in (0, 1)),
            *(lambda tx, lease=lease: tx.put_lease(lease) for lease in leases),
        )
        return leases
