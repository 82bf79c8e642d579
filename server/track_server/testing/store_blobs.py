"""Blobs, who uses them, and the media that refer to them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from track_server.testing.store_support import StoreSuite, begin, id_of, trial

__all__ = ["BlobTests"]

DIGEST = "ab" * 32
OTHER = "cd" * 32


def _add(tx: Any, *parts: bytes, digest: str = DIGEST, size: int = 10, time: float = 100.0) -> None:
    for part in parts:
        tx.add_blob_data(digest, size, part, time)


def _add_at(time: float, part: bytes, tx: Any) -> None:
    _add(tx, part, time=time)


def _use(trial: bytes, tx: Any) -> None:
    tx.use_blob(DIGEST, trial)


class BlobTests(StoreSuite):
    """Part of `StoreContract`."""

    def test_what_was_never_put_is_unknown(self, store: Any) -> None:
        with store.snapshot() as view:
            assert view.blob(DIGEST) is None
            assert view.blob_data(DIGEST, 0, 10) == b""
            assert view.unused_blobs(1e12, 10) == []

    def test_a_blob_grows_part_by_part(self, store: Any) -> None:
        for number, part in enumerate((b"0123", b"456", b"789")):
            self.put(store, partial(_add_at, 100.0 + number, part))
        with store.snapshot() as view:
            known = view.blob(DIGEST)
            assert (known.digest, known.size, known.stored, known.time) == (DIGEST, 10, 10, 102.0)
            assert known.is_complete

    @pytest.mark.parametrize(
        ("offset", "limit", "found"),
        [
            (0, 10, b"0123456789"),
            (0, 100, b"0123456789"),
            (0, 4, b"0123"),
            (4, 3, b"456"),
            (3, 5, b"34567"),
            (9, 1, b"9"),
            (10, 5, b""),
            (11, 5, b""),
            (2, 0, b""),
        ],
    )
    def test_any_bytes_of_a_blob_can_be_read(self, store: Any, offset: int, limit: int, found: bytes) -> None:
        self.put(store, lambda tx: _add(tx, b"0123", b"456"), lambda tx: _add(tx, b"789"))
        with store.snapshot() as view:
            assert view.blob_data(DIGEST, offset, limit) == found

    def test_an_incomplete_blob_has_the_bytes_that_came(self, store: Any) -> None:
        self.put(store, lambda tx: _add(tx, b"0123"))
        with store.snapshot() as view:
            assert (view.blob(DIGEST).stored, view.blob(DIGEST).is_complete) == (4, False)
            assert view.blob_data(DIGEST, 2, 100) == b"23"

    def test_a_blob_may_be_empty(self, store: Any) -> None:
        self.put(store, lambda tx: _add(tx, b"", size=0))
        with store.snapshot() as view:
            assert view.blob(DIGEST).is_complete
            assert view.blob_data(DIGEST, 0, 10) == b""

    def test_a_transaction_sees_what_it_put_and_takes_it_back(self, store: Any) -> None:
        self.put(store, lambda tx: _add(tx, b"0123"))
        tx = begin(store)
        _add(tx, b"456")
        assert (tx.blob(DIGEST).stored, tx.blob_data(DIGEST, 0, 10)) == (7, b"0123456")
        tx.rollback()
        self.put(store, lambda tx: _add(tx, b"abc"))
        with store.snapshot() as view:
            assert view.blob_data(DIGEST, 0, 10) == b"0123abc"

    @pytest.mark.parametrize("length", range(7))
    def test_the_end_of_a_blob_can_be_cut_off(self, store: Any, length: int) -> None:
        self.put(store, lambda tx: _add(tx, b"0123", b"456"))
        with store.snapshot() as before:
            self.put(store, lambda tx: tx.cut_blob(DIGEST, length), lambda tx: _add(tx, b"abc"))
            assert before.blob_data(DIGEST, 0, 10) == b"0123456"
        with store.snapshot() as view:
            assert view.blob(DIGEST).stored == length + 3
            assert view.blob_data(DIGEST, 0, 10) == b"0123456"[:length] + b"abc"

    def test_a_cut_is_taken_back_with_its_transaction(self, store: Any) -> None:
        self.put(store, lambda tx: _add(tx, b"0123", b"456"))
        tx = begin(store)
        tx.cut_blob(DIGEST, 2)
        _add(tx, b"xy")
        tx.rollback()
        self.put(store, lambda tx: _add(tx, b"789"))
        with store.snapshot() as view:
            assert view.blob_data(DIGEST, 0, 10) == b"0123456789"

    def test_a_snapshot_does_not_see_what_comes_later(self, store: Any) -> None:
        self.put(store, lambda tx: _add(tx, b"0123"))
        with store.snapshot() as view:
            self.put(store, lambda tx: _add(tx, b"456"), lambda tx: _add(tx, b"", digest=OTHER, size=0))
            assert (view.blob(DIGEST).stored, view.blob_data(DIGEST, 0, 10)) == (4, b"0123")
            assert view.blob(OTHER) is None

    def test_a_blob_that_was_dropped_can_come_again(self, store: Any) -> None:
        self.put(store, lambda tx: tx.add_trial(trial()), lambda tx: _add(tx, b"0123"))
        self.put(store, lambda tx: tx.use_blob(DIGEST, id_of(0)), lambda tx: tx.drop_blob(DIGEST))
        with store.snapshot() as view:
            assert view.blob(DIGEST) is None
            assert view.blob_data(DIGEST, 0, 10) == b""
        self.put(store, lambda tx: tx.drop_blob(DIGEST), lambda tx: _add(tx, b"abc", size=3))
        with store.snapshot() as view:
            assert (view.blob(DIGEST).is_complete, view.blob_data(DIGEST, 0, 10)) == (True, b"abc")
            assert view.unused_blobs(200.0, 10) == [DIGEST]

    def test_a_blob_is_unused_until_a_trial_uses_it_and_once_none_does(self, store: Any) -> None:
        def unused(before: float = 200.0, limit: int = 10) -> list[str]:
            with store.snapshot() as view:
                return sorted(view.unused_blobs(before, limit))

        self.put(store, lambda tx: tx.add_trial(trial(0)), lambda tx: tx.add_trial(trial(1)))
        self.put(store, lambda tx: _add(tx, b"0"), lambda tx: _add(tx, b"1", digest=OTHER, time=150.0))
        assert (unused(), unused(150.0), unused(100.0)) == ([DIGEST, OTHER], [DIGEST], [])
        assert len(unused(limit=1)) == 1
        for number in (0, 1, 1):
            self.put(store, partial(_use, id_of(number)))
        assert unused() == [OTHER]
        self.put(store, lambda tx: tx.delete_trial(id_of(0)))
        assert unused() == [OTHER]
        self.put(store, lambda tx: tx.delete_trial(id_of(1)))
        assert unused() == [DIGEST, OTHER]

    def test_a_trial_reports_its_media_without_their_content(self, store: Any) -> None:
        value = {"text": "first words"}
        self.log(store, [0, 7], [value, value], kind="text", name="sample")
        self.log(store, [None], [{"digest": DIGEST, "size": 10}], kind="graph", name="model")
        self.log(store, [1], [0.5])
        document = self.read_trial(store)
        assert document["media"] == {
            "text": {"sample": {"count": 2, "first_step": 0, "last_step": 7, "last_time": 101.0}},
            "graph": {"model": {"count": 1, "first_step": None, "last_step": None, "last_time": 100.0}},
        }
        assert (list(document["metrics"]), list(document["chronos"])) == (["loss"], [])
        assert self.read_points(store, kind="text", name="sample")[2] == [value, value]

    def test_a_trial_without_media_says_so(self, store: Any) -> None:
        self.log(store, [1], [0.5])
        assert self.read_trial(store)["media"] == {}

    def test_blobs_and_media_are_there_after_reopening(self, store: Any, path: Path) -> None:
        value = {"digest": DIGEST, "size": 10}
        self.log(store, [3], [value], kind="graph", name="model")
        self.put(
            store,
            lambda tx: _add(tx, b"01234", b"wrong"),
            lambda tx: tx.cut_blob(DIGEST, 5),
            lambda tx: _add(tx, b"\x00\xff789"),
            lambda tx: _add(tx, b"x", digest=OTHER),
        )
        self.put(store, lambda tx: tx.use_blob(DIGEST, id_of(0)))
        again = self.reopened(store, path)
        try:
            with again.snapshot() as view:
                assert view.blob_data(DIGEST, 0, 10) == b"01234\x00\xff789"
                assert (view.blob(DIGEST).time, view.blob(DIGEST).is_complete) == (100.0, True)
                assert (view.blob(OTHER).stored, view.blob(OTHER).is_complete) == (1, False)
                assert view.unused_blobs(200.0, 10) == [OTHER]
                assert view.trial(id_of(0))["media"]["graph"]["model"]["count"] == 1
            assert self.read_points(again, kind="graph", name="model") == ([3], [100.0], [value])
        finally:
            again.close()
