"""Blobs: large contents, kept once under their SHA-256, and gone when nothing refers to them any more.

A blob comes in parts, in order, as calls of one session or of several; each byte is kept once, and the whole
is compared with its digest when the last one is here.  A blob is used by the trials whose media refer to it
(`track_server.handlers.media`).  One that no trial uses is kept for a week after it was last offered, since
what refers to it may still be on its way, on the disk of a machine that is away; then it is removed.
"""

from __future__ import annotations

import hashlib
import time
from typing import Final

from track_protocol.errors import BadArguments, BadValue, ItemNotFound
from track_protocol.media import MAX_BLOB_BYTES, PART_BYTES
from track_server.store import Blob, Store, Transaction, View

__all__ = ["KEPT_UNUSED", "Sweeper", "fetch_blob", "put_blob", "whole_blob"]

KEPT_UNUSED: Final = 7 * 24 * 3600.0
"""Seconds for which a blob is kept that nothing refers to."""

_SWEEP_EVERY: Final = 600.0
_SWEPT_AT_ONCE: Final = 16
_PAGE: Final = 262_144
_HASHED_AT_ONCE: Final = 2**20


def put_blob(tx: Transaction, digest: str, size: int, offset: int, data: bytes) -> None:
    """Keep those bytes of a part that are not here yet.

    Raises:
        BadArguments: the part is too large, or does not lie in the blob.
        BadValue: the blob is too large, lacks what is before the part, or has another digest; in that case
            nothing of it is kept.
    """
    if size > MAX_BLOB_BYTES:
        raise BadValue(f"a blob of {size:,} bytes is larger than {MAX_BLOB_BYTES:,}: keep it elsewhere")
    if len(data) > PART_BYTES:
        raise BadArguments(
            f"put_blob: a part of {len(data):,} bytes is larger than {PART_BYTES:,}: divide it"
        )
    if offset + len(data) > size or not (data or size == 0):
        raise BadArguments(f"put_blob: {len(data):,} bytes at {offset:,} are no part of {size:,} bytes")
    known = tx.blob(digest) or Blob(digest, size, -1, 0.0)
    if known.size != size:
        raise BadValue(f"the blob {digest} has {known.size:,} bytes here, not {size:,}: give its own digest")
    stored, now = max(known.stored, 0), time.time()
    if offset > stored:
        raise BadValue(f"the blob {digest} ends at {stored:,}, before the part at {offset:,}: send all of it")
    if known.whole:
        if offset == 0:
            tx.add_blob_data(digest, size, b"", now)
        return
    new = data[stored - offset :]
    if new or known.stored < 0:
        tx.add_blob_data(digest, size, new, now)
    if stored + len(new) == size and _digest_of(tx, digest, size) != digest:
        tx.drop_blob(digest)
        raise BadValue(f"the {size:,} bytes sent as {digest} have another SHA-256: they were dropped")


def fetch_blob(view: View, digest: str, offset: int, limit: int) -> bytes:
    """A page of a whole blob; empty behind its end.

    Raises:
        ItemNotFound: it is not here, or not whole.
    """
    whole_blob(view, digest)
    return view.blob_data(digest, offset, min(limit, _PAGE))


def whole_blob(view: View, digest: str) -> Blob:
    """What is known of a blob that is here as a whole.

    Raises:
        ItemNotFound: it is not.
    """
    blob = view.blob(digest)
    if blob is None or not blob.whole:
        there = "is not here" if blob is None else f"has {blob.stored:,} of {blob.size:,} bytes here"
        raise ItemNotFound(f"the blob {digest} {there}: send all of it first")
    return blob


def _digest_of(view: View, digest: str, size: int) -> str:
    found = hashlib.sha256()
    for offset in range(0, size, _HASHED_AT_ONCE):
        found.update(view.blob_data(digest, offset, _HASHED_AT_ONCE))
    return found.hexdigest()


class Sweeper:
    """Removes blobs that nothing has referred to for a while; belongs to the thread that writes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked = time.monotonic()

    def sweep(self) -> None:
        """Look every ten minutes, and remove some.

        Raises:
            StoreError: the store could not be changed; nothing was removed.
        """
        if time.monotonic() - self._looked >= _SWEEP_EVERY and not self.remove(time.time()):
            self._looked = time.monotonic()

    def remove(self, now: float) -> bool:
        """Remove some of what is unused by a time, in seconds since the epoch; whether there was any."""
        with self._store.snapshot() as view:
            if not view.unused_blobs(now - KEPT_UNUSED, 1):
                return False
        tx = self._store.begin()
        try:
            for digest in tx.unused_blobs(now - KEPT_UNUSED, _SWEPT_AT_ONCE):
                tx.drop_blob(digest)
            tx.commit()
        except BaseException:
            tx.rollback()
            raise
        return True
