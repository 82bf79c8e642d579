"""Blobs come in parts, are compared with their digest, and go when nothing refers to them."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from engine_calls import Caller
from track_protocol.errors import BadArguments, BadValue, ItemNotFound
from track_protocol.model.media import MAX_BLOB_BYTES, PART_BYTES
from track_protocol.wire.batch import CallOp
from track_server.engine.engine import Engine
from track_server.methods.blobs import UNUSED_RETENTION_S, BlobCollector, put_blob
from track_server.storage.contract import Store
from track_server.storage.ephemeral import EphemeralStore
from track_server.storage.unit_of_work import begin
from waiting import wait_until

CONTENT = bytes(range(256)) * 400
DIGEST = hashlib.sha256(CONTENT).hexdigest()
HALF = 50_000


@pytest.fixture
def ann() -> Iterator[Caller]:
    engine = Engine(EphemeralStore())
    yield Caller(engine)
    engine.close()


def part(offset: int, data: bytes, digest: str = DIGEST, size: int = len(CONTENT)) -> CallOp:
    return CallOp(0, "put_blob", {"digest": digest, "size": size, "offset": offset, "data": data})


def parts(content: bytes) -> list[CallOp]:
    digest, size = hashlib.sha256(content).hexdigest(), len(content)
    return [
        part(offset, content[offset : offset + HALF], digest, size) for offset in range(0, max(size, 1), HALF)
    ]


def put(caller: Caller, content: bytes) -> str:
    for op in parts(content):
        assert caller.log(op).rejected == []
    return hashlib.sha256(content).hexdigest()


def fetched(caller: Caller, digest: str) -> bytes:
    found = b""
    while page := caller.read("fetch_blob", digest=digest, offset=len(found), limit=60_000):
        found += page
    return found


def refused(caller: Caller, op: CallOp) -> Any:
    (rejection,) = caller.log(op).rejected
    return rejection


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
def test_a_blob_reads_back_as_it_was_put(ann: Caller, content: bytes) -> None:
    assert fetched(ann, put(ann, content)) == content


def test_parts_that_are_here_change_nothing(ann: Caller) -> None:
    first, second, third = parts(CONTENT)
    for op in (first, first, second, first, part(25_000, CONTENT[25_000:75_000]), third, second, third):
        assert ann.log(op).rejected == []
    assert fetched(ann, DIGEST) == CONTENT


def test_parts_of_two_sessions_make_one_blob(ann: Caller) -> None:
    bob = Caller(ann.engine)
    first, second, third = parts(CONTENT)
    for caller, op in ((ann, first), (bob, first), (bob, second), (ann, second), (ann, third), (bob, third)):
        assert caller.log(op).rejected == []
    assert fetched(bob, DIGEST) == CONTENT


def test_a_blob_is_not_read_before_it_is_complete(ann: Caller) -> None:
    ann.log(parts(CONTENT)[0])
    with pytest.raises(ItemNotFound, match="has 50,000 of 102,400 bytes here"):
        ann.read("fetch_blob", digest=DIGEST)
    with pytest.raises(ItemNotFound, match="is not here"):
        ann.read("fetch_blob", digest="0" * 64)


def test_a_part_behind_a_gap_is_refused(ann: Caller) -> None:
    first, second, third = parts(CONTENT)
    assert refused(ann, second).code == BadValue.code
    ann.log(first)
    assert "ends at 50,000, before the part at 100,000" in refused(ann, third).message
    ann.log(second, count=1)
    ann.log(third)
    assert fetched(ann, DIGEST) == CONTENT


def test_content_of_another_digest_is_dropped_and_does_not_stand_in_the_way(ann: Caller) -> None:
    ann.log(part(0, b"?" * HALF))
    ann.log(part(HALF, b"?" * HALF))
    assert "have another SHA-256" in refused(ann, part(2 * HALF, b"?" * 2400)).message
    with pytest.raises(ItemNotFound):
        ann.read("fetch_blob", digest=DIGEST)
    put(ann, CONTENT)
    assert fetched(ann, DIGEST) == CONTENT


@pytest.mark.parametrize("wrong", [0, 1_000, HALF, HALF + 1_000, 80_000])
def test_wrong_bytes_that_came_before_do_not_stand_in_the_way(wrong: int) -> None:
    engine = Engine(EphemeralStore())
    ann, bob = Caller(engine), Caller(engine)
    changed = CONTENT[:wrong] + bytes(90_000 - wrong)
    for offset in range(0, 90_000, HALF):
        assert ann.log(part(offset, changed[offset : offset + HALF])).rejected == []
    put(bob, CONTENT)
    assert fetched(bob, DIGEST) == CONTENT
    engine.close()


def test_a_size_that_lies_does_not_stand_in_the_way(ann: Caller) -> None:
    bob = Caller(ann.engine)
    assert ann.log(part(0, CONTENT[:10], size=11)).rejected == []
    put(bob, CONTENT)
    assert fetched(bob, DIGEST) == CONTENT


def test_a_part_of_another_size_is_refused_in_the_middle(ann: Caller) -> None:
    ann.log(parts(CONTENT)[0])
    assert "50,001" in refused(ann, part(HALF, b"x", size=HALF + 1)).message


class Reads:
    """A transaction that counts the bytes that are read of blobs."""

    def __init__(self, tx: Any) -> None:
        self._tx = tx
        self.nbytes = 0

    def blob_data(self, digest: str, offset: int, limit: int) -> bytes:
        data: bytes = self._tx.blob_data(digest, offset, limit)
        self.nbytes += len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)


def put_part(store: Store, op: CallOp, end: str = "commit") -> int:
    """Put a part in a transaction of its own; how many bytes were read for it."""
    tx = begin(store)
    reads: Any = Reads(tx)
    put_blob(reads, **op.arguments)
    getattr(tx, end)()
    return int(reads.nbytes)


def test_the_last_part_of_a_blob_does_not_read_all_of_it() -> None:
    store = EphemeralStore()
    assert [put_part(store, op) for op in parts(CONTENT)] == [0, 0, 0]


def test_a_sum_is_not_that_of_what_was_taken_back() -> None:
    store = EphemeralStore()
    first, second, third = parts(CONTENT)
    put_part(store, first)
    put_part(store, part(HALF, b"?" * HALF), end="rollback")
    put_part(store, second)
    assert put_part(store, third) == len(CONTENT)
    with store.snapshot() as view:
        assert view.blob(DIGEST).is_complete  # type: ignore[union-attr] # it is there


def test_a_sum_is_not_that_of_bytes_that_another_writer_put_there() -> None:
    store, other = EphemeralStore(), EphemeralStore()
    first, second, third = parts(CONTENT)
    for op in (first, second):
        put_part(store, op)
    for offset in (0, HALF):
        # Each engine has a thread of its own, too.
        thread = threading.Thread(target=put_part, args=(other, part(offset, b"?" * HALF)))
        thread.start()
        thread.join()
    with pytest.raises(BadValue, match="another SHA-256"):
        put_part(other, third)


@pytest.mark.parametrize(
    ("op", "code"),
    [
        (part(0, b"x", size=MAX_BLOB_BYTES + 1), BadValue.code),
        (part(0, b"x" * (PART_BYTES + 1)), BadArguments.code),
        (part(len(CONTENT), b"x"), BadArguments.code),
        (part(0, b""), BadArguments.code),
        (part(-1, b"x"), BadArguments.code),
        (part(2**62, b"x"), BadArguments.code),
        (part(0, b"x", digest=DIGEST.upper()), BadArguments.code),
        (part(0, b"x", digest="../" + DIGEST), BadArguments.code),
        (part(0, b"x", digest=DIGEST + "\n"), BadArguments.code),
    ],
)
def test_what_is_no_part_of_a_blob_is_refused(ann: Caller, op: CallOp, code: str) -> None:
    assert refused(ann, op).code == code
    with pytest.raises(ItemNotFound):
        ann.read("fetch_blob", digest=DIGEST)


def test_a_blob_has_one_size(ann: Caller) -> None:
    put(ann, CONTENT)
    assert "102,400 bytes here, not 5" in refused(ann, part(0, b"x", size=5)).message


# -- what nothing refers to ----------------------------------------------------------------------


def test_what_nothing_refers_to_goes_after_a_week() -> None:
    store = EphemeralStore()
    used, unused = "aa" * 32, "bb" * 32
    now = time.time()
    tx = begin(store)
    document = {"id": b"i" * 16, "uid": "h_0", "hash": "h", "revision": 0, "tags": {}, "parameters": {}}
    document |= {"metadata": {}, "errors": [], "status": {"value": 0, "name": "CreatedGroup"}}
    tx.add_trial(document | dict.fromkeys(("name", "description", "version", "project_id", "group_id")))
    for digest in (used, unused):
        tx.add_blob_data(digest, 4, b"data", now)
    tx.use_blob(used, b"i" * 16)
    tx.commit()
    collector = BlobCollector(store)
    assert not collector.remove(now + UNUSED_RETENTION_S - 1)
    assert collector.remove(now + UNUSED_RETENTION_S + 1)
    assert not collector.remove(now + UNUSED_RETENTION_S + 1)
    with store.snapshot() as view:
        assert (view.blob(used) is None, view.blob(unused) is None) == (False, True)
    store.close()


def test_a_blob_that_is_offered_again_stays_for_another_week(ann: Caller) -> None:
    store = ann.engine.store
    put(ann, CONTENT)
    with store.snapshot() as view:
        first = view.blob(DIGEST)
    put(ann, CONTENT)
    with store.snapshot() as view:
        second = view.blob(DIGEST)
    assert first is not None
    assert second is not None
    assert second.time > first.time


def test_an_engine_looks_for_what_nothing_refers_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("track_server.methods.blobs._LOOK_INTERVAL_S", 0.0)
    store = EphemeralStore()
    tx = begin(store)
    tx.add_blob_data("aa" * 32, 4, b"data", time.time() - UNUSED_RETENTION_S - 1)
    tx.commit()

    def is_gone() -> bool:
        with store.snapshot() as view:
            return view.blob("aa" * 32) is None

    engine = Engine(store)
    wait_until(is_gone, "it was removed")
    engine.close()
