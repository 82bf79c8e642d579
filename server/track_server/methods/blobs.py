"""Blobs: large contents, stored once under their SHA-256, and deleted when nothing refers to them any more.

A blob comes in parts, in order, as calls of one session or of several; each byte is stored once, and the
entire is compared with its digest when the last one is here.  What came before that may be wrong, as of a
file that was changed while it was sent: other bytes, or another size, replace it.

A blob is used by the trials whose media refer to it (`track_server.methods.media`).  One that no trial uses
stays for a week after it was last offered, since what refers to it may still be on its way, on the disk of
a machine that is disconnected; then it is removed.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import replace
from typing import Any, Final

from track_protocol.errors import BadArguments, BadValue, ItemNotFound
from track_protocol.model.media import MAX_BLOB_BYTES, PART_BYTES
from track_server.storage.contract import Blob, Store, View
from track_server.storage.unit_of_work import UnitOfWork, begin

__all__ = ["UNUSED_RETENTION_S", "BlobCollector", "fetch_blob", "put_blob", "whole_blob"]

UNUSED_RETENTION_S: Final = 7 * 24 * 3600.0
"""Seconds for which an unreferenced blob stays."""

_LOOK_INTERVAL_S: Final = 600.0
_MAX_REMOVED: Final = 1
"""Blobs that go in one transaction: one of 1 GiB takes about half a second."""
_PAGE: Final = 262_144
_HASHED_AT_ONCE: Final = 2**20
_MAX_SUMS: Final = 1_024


class _Sums(threading.local):
    """SHA-256 of what is here of blobs that are coming in, of the thread that writes them.

    Reading all of a large blob again with its last part would hold up everybody for seconds.  A sum is that
    of one state of a blob, known by the count and the time of its bytes: after a rollback, or a write of
    another process, there is none.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, float, Any]] = {}

    def take(self, blob: Blob) -> Any:
        """The hash of the stored bytes, to continue with; None if it is not known."""
        if blob.stored <= 0:
            return hashlib.sha256()
        stored, at, found = self._sums.pop(blob.digest, (0, 0.0, None))
        return found if (stored, at) == (blob.stored, blob.time) else None

    def put(self, digest: str, stored: int, at: float, found: Any) -> None:
        """Cache the hash of the first bytes; of very many blobs, only the newest ones."""
        while len(self._sums) >= _MAX_SUMS:
            del self._sums[next(iter(self._sums))]
        self._sums[digest] = stored, at, found


_sums: Final = _Sums()


def put_blob(tx: UnitOfWork, digest: str, size: int, offset: int, data: bytes) -> None:
    """Store those bytes of a part that are not stored yet.

    Raises:
        BadArguments: the part is too large, or exceeds the blob.
        BadValue: the blob is too large, lacks what is before the part, or has another digest; in that case
            nothing of it is stored.
    """
    if size > MAX_BLOB_BYTES:
        raise BadValue(
            f"a blob of {size:,} bytes is larger than {MAX_BLOB_BYTES:,}: store it outside Track, and log "
            "its path"
        )
    if len(data) > PART_BYTES:
        raise BadArguments(
            f"put_blob: a part of {len(data):,} bytes is larger than {PART_BYTES:,}: divide it"
        )
    if offset + len(data) > size or not (data or size == 0):
        raise BadArguments(f"put_blob: {len(data):,} bytes at {offset:,} exceed its {size:,} bytes")
    known = tx.blob(digest) or Blob(digest, size, -1, 0.0)
    if known.size != size:
        if known.is_complete or offset:
            raise BadValue(
                f"the blob {digest} has {known.size:,} bytes here, not {size:,}: give its own digest"
            )
        tx.drop_blob(digest)
        known = Blob(digest, size, -1, 0.0)
    stored = max(known.stored, 0)
    if offset > stored:
        raise BadValue(f"the blob {digest} ends at {stored:,}, before the part at {offset:,}: send all of it")
    if known.is_complete:
        if offset == 0:
            tx.add_blob_data(digest, size, b"", time.time())
        return
    known = _agreed(tx, known, offset, data)
    new = data[max(known.stored, 0) - offset :]
    if new or known.stored < 0:
        _append(tx, known, new)


def _agreed(tx: UnitOfWork, known: Blob, offset: int, data: bytes) -> Blob:
    """The blob without bytes that are not those of a part: they were not compared with the digest yet."""
    common = min(known.stored - offset, len(data))
    if common <= 0 or tx.blob_data(known.digest, offset, common) == data[:common]:
        return known
    tx.cut_blob(known.digest, offset)
    return replace(known, stored=offset)


def _append(tx: UnitOfWork, known: Blob, data: bytes) -> None:
    digest, size, now = known.digest, known.size, time.time()
    stored = max(known.stored, 0) + len(data)
    found = _sums.take(known)
    tx.add_blob_data(digest, size, data, now)
    if found is not None:
        found.update(data)
    if stored < size:
        if found is not None:
            _sums.put(digest, stored, now, found)
    elif (found or _sum_of(tx, digest, size)).hexdigest() != digest:
        tx.drop_blob(digest)
        raise BadValue(f"the {size:,} bytes sent as {digest} have another SHA-256: they were dropped")


def fetch_blob(view: View, digest: str, offset: int, limit: int) -> bytes:
    """A page of a complete blob; empty after its end.

    Raises:
        ItemNotFound: it is missing or incomplete.
    """
    whole_blob(view, digest)
    return view.blob_data(digest, offset, min(limit, _PAGE))


def whole_blob(view: View | UnitOfWork, digest: str) -> Blob:
    """The record of a complete blob.

    Raises:
        ItemNotFound: it is not.
    """
    blob = view.blob(digest)
    if blob is None or not blob.is_complete:
        there = "is not here" if blob is None else f"has {blob.stored:,} of {blob.size:,} bytes here"
        raise ItemNotFound(f"the blob {digest} {there}: send all of it first")
    return blob


def _sum_of(view: View | UnitOfWork, digest: str, size: int) -> Any:
    found = hashlib.sha256()
    for offset in range(0, size, _HASHED_AT_ONCE):
        found.update(view.blob_data(digest, offset, _HASHED_AT_ONCE))
    return found


class BlobCollector:
    """Removes blobs that nothing has referred to for a while; belongs to the thread that writes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked = time.monotonic()

    def collect(self) -> None:
        """Look every ten minutes, and remove some.

        Raises:
            StoreError: the store could not be changed; nothing was removed.
        """
        if time.monotonic() - self._looked >= _LOOK_INTERVAL_S and not self.remove(time.time()):
            self._looked = time.monotonic()

    def remove(self, now: float) -> bool:
        """Remove some of what is unused by a time, in seconds since the epoch; whether there was any."""
        with self._store.snapshot() as view:
            if not view.unused_blobs(now - UNUSED_RETENTION_S, 1):
                return False
        tx = begin(self._store)
        try:
            for digest in tx.unused_blobs(now - UNUSED_RETENTION_S, _MAX_REMOVED):
                tx.drop_blob(digest)
            tx.commit()
        except BaseException:
            tx.rollback()
            raise
        return True
