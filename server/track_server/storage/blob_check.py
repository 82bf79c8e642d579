"""Whether blobs are what their digests say, and whether what media refer to is there; on any store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final, Protocol

from track_protocol.errors import StoreCorrupt
from track_protocol.model.media import blob_of
from track_protocol.wire.columns import Column, unpack
from track_server.storage.contract import Blob

__all__ = ["fault_of", "missing_in"]

_AT_ONCE: Final = 2**20


class _Blobs(Protocol):
    def blob(self, digest: str) -> Blob | None:
        """See `track_server.storage.contract.View.blob`."""

    def blob_data(self, digest: str, offset: int, limit: int) -> bytes:
        """See `track_server.storage.contract.View.blob_data`."""


def fault_of(view: _Blobs, blob: Blob) -> str | None:
    """What is wrong with a blob; None if nothing is, or if it is not whole yet."""
    digest, size, stored = blob.digest, blob.size, blob.stored
    if not 0 <= stored <= size:
        return f"blob {digest} has {stored} bytes of {size}"
    found, at = hashlib.sha256(), 0
    try:
        while at < stored:
            data = view.blob_data(digest, at, _AT_ONCE)
            if not data:
                return f"blob {digest} lacks its bytes from {at} on"
            found.update(data)
            at += len(data)
    except StoreCorrupt as error:
        return str(error)
    return f"blob {digest} has another SHA-256" if stored == size and found.hexdigest() != digest else None


def missing_in(values: Column, view: _Blobs) -> Iterator[str]:
    """What some documents of media, the values of a series, refer to and is not there."""
    for number, value in enumerate(unpack(values)):
        digest = blob_of(value) if isinstance(value, dict) else None
        blob = None if digest is None else view.blob(digest)
        if digest is not None and (blob is None or not blob.whole or blob.size != value.get("size")):
            yield f"point {number} refers to the blob {digest}, which is not there as a whole"
