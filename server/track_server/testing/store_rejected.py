"""Quarantined records, which can never be stored."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from track_protocol.model.rejected import Rejected
from track_server.methods.rejected import POINTS
from track_server.storage.contract import FIRST_REJECTED, MAX_REJECTED
from track_server.testing.store_support import StoreSuite, begin, id_of, trial

__all__ = ["RejectedTests", "rejected"]

SID = b"s" * 16


def rejected(*runs: tuple[int, int], **fields: Any) -> Rejected:
    """A rejected record, as the engine gives it to a store."""
    known: dict[str, Any] = {
        "session": SID,
        "user": "ann",
        "runs": runs or ((1, 1),),
        "method": POINTS,
        "trial": id_of(0),
        "names": ("loss", "accuracy"),
        "points": 2,
        "code": "bad-value",
        "reason": "the name is too long",
        "time": 1.7e9,
        "content": b"\x00\xff content",
        "size": 10,
    }
    return Rejected(**(known | fields))


def _put(record: Rejected, tx: Any) -> None:
    tx.put_rejected(record)


class RejectedTests(StoreSuite):
    """Part of `StoreContract`."""

    def test_what_was_quarantined_reads_as_it_was(self, store: Any) -> None:
        plain = rejected((4, 6), (8, 8), (2**40, 2**62))
        call = rejected((9, 9), method="add_trial_tags", trial=None, names=(), content=b"", size=2**40)
        self.put(store, lambda tx: tx.put_rejected(plain), lambda tx: tx.put_rejected(call))
        with store.snapshot() as view:
            assert view.rejected(None, 0, 10) == [plain, call]

    def test_nothing_is_quarantined_in_a_new_store(self, store: Any) -> None:
        with store.snapshot() as view:
            assert view.rejected(None, 0, 10) == []
            assert view.rejected_of(SID, 1, 100) == []

    def test_what_was_quarantined_is_paged_in_its_order(self, store: Any) -> None:
        stored = [rejected((seq, seq)) for seq in range(1, 8)]
        for record in stored:
            self.put(store, partial(_put, record))
        with store.snapshot() as view:
            assert [view.rejected(None, start, 3) for start in (0, 3, 6, 9)] == [
                stored[:3],
                stored[3:6],
                stored[6:],
                [],
            ]
            assert view.rejected(id_of(0), 2, 2) == stored[2:4]
            assert view.rejected(None, 2**63 - 1, 256) == []

    def test_what_was_quarantined_of_one_trial_is_found(self, store: Any) -> None:
        other = rejected((2, 2), trial=id_of(1))
        records = (rejected(), other, rejected((3, 3), trial=None))
        self.put(store, lambda tx: [tx.put_rejected(each) for each in records])
        with store.snapshot() as view:
            assert view.rejected(id_of(1), 0, 10) == [other]
            assert view.rejected(id_of(7), 0, 10) == []

    def test_what_was_quarantined_is_found_by_its_session_and_any_of_its_numbers(self, store: Any) -> None:
        first, second = rejected((3, 5), (9, 9)), rejected((11, 12))
        unknown = rejected((3, 12), session=b"t" * 16)
        self.put(store, lambda tx: [tx.put_rejected(each) for each in (first, unknown, second)])
        with store.snapshot() as view:
            assert view.rejected_of(SID, 1, 100) == [first, second]
            assert view.rejected_of(SID, 9, 11) == [first, second]
            assert view.rejected_of(SID, 12, 12) == [second]
            assert view.rejected_of(SID, 1, 2) == []

    def test_of_a_session_that_is_rejected_for_ever_the_first_and_the_newest_are_retained(
        self, store: Any
    ) -> None:
        unknown = rejected(session=b"t" * 16)
        last = MAX_REJECTED + 10
        flood = [rejected((seq, seq), content=b"", size=0) for seq in range(1, last + 1)]
        self.put(store, lambda tx: [tx.put_rejected(each) for each in (unknown, *flood)])
        stored = [*flood[:FIRST_REJECTED], *flood[FIRST_REJECTED + 10 :]]
        with store.snapshot() as view:
            assert view.rejected_of(SID, 1, last) == stored
            assert view.rejected(None, 0, 2 * last) == [unknown, *stored]
            assert view.rejected(id_of(0), 0, 2 * last) == [unknown, *stored]

    def test_of_rejected_records_that_are_not_retained_the_numbers_are(self, store: Any) -> None:
        last = MAX_REJECTED + 10
        first = FIRST_REJECTED + 1
        codes = {first + 3: "not-found"}
        flood = [rejected((2 * seq, 2 * seq + 1), code=codes.get(seq, "bad-value")) for seq in range(last)]
        flood[first + 7] = rejected((2 * first + 14, 2 * first + 14))
        for part in (flood[: first + 5], flood[first + 5 : -3], flood[-3:]):
            self.put(store, *[partial(_put, each) for each in part])
        with store.snapshot() as view:
            at = 2 * first
            assert view.thinned_of(SID, 1, 2**62) == [
                (at - 2, at + 5, "bad-value"),
                (at + 6, at + 7, "not-found"),
                (at + 8, at + 14, "bad-value"),
                (at + 16, at + 17, "bad-value"),
            ]
            assert view.thinned_of(SID, at + 7, at + 8) == [
                (at + 6, at + 7, "not-found"),
                (at + 8, at + 14, "bad-value"),
            ]
            assert view.thinned_of(SID, at + 15, at + 15) == view.thinned_of(b"t" * 16, 1, 2**62) == []

    def test_a_transaction_sees_what_it_quarantined_and_takes_it_back(self, store: Any) -> None:
        tx = begin(store)
        tx.put_rejected(rejected())
        assert tx.rejected_of(SID, 1, 1) == [rejected()]
        tx.rollback()
        with store.snapshot() as view:
            assert view.rejected(None, 0, 10) == view.rejected_of(SID, 1, 1) == []
            assert view.rejected(id_of(0), 0, 10) == []

    def test_a_snapshot_does_not_see_what_is_quarantined_later(self, store: Any) -> None:
        self.put(store, lambda tx: tx.put_rejected(rejected()))
        with store.snapshot() as view:
            self.put(store, lambda tx: tx.put_rejected(rejected((2, 2))))
            assert view.rejected(None, 0, 10) == view.rejected_of(SID, 1, 9) == [rejected()]

    def test_what_was_quarantined_is_there_after_reopening(self, store: Any, path: Path) -> None:
        stored = [rejected((1, 4)), rejected((5, 5), trial=None, reason="ünstorable: \u2028 {}")]
        self.put(store, lambda tx: tx.add_trial(trial()), lambda tx: tx.put_rejected(stored[0]))
        self.put(store, lambda tx: tx.put_rejected(stored[1]))
        again = self.reopened(store, path)
        try:
            with again.snapshot() as view:
                assert view.rejected(None, 0, 10) == view.rejected_of(SID, 1, 9) == stored
                assert view.rejected(id_of(0), 0, 10) == stored[:1]
        finally:
            again.close()
