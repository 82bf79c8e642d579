"""A blob in memory: its parts as they came."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

from track_server.storage.contract import Blob
from track_server.storage.memory_versions import Grown

__all__ = ["KeptBlob", "new_blob"]


@dataclass(frozen=True, slots=True)
class KeptBlob:
    """The bytes of one blob at one moment; appending makes the next one and shares the parts.

    Attributes:
        known: what is known of it.
        parts: its bytes, in order.
        ends: offset behind the last byte of each part.
    """

    known: Blob
    parts: Grown[bytes]
    ends: Grown[int]

    def append(self, data: bytes, time: float) -> KeptBlob:
        """The blob with `data` behind its bytes, touched at `time`."""
        stored = self.known.stored + len(data)
        known = replace(self.known, stored=stored, time=time)
        return (
            KeptBlob(known, self.parts.and_(data), self.ends.and_(stored))
            if data
            else replace(self, known=known)
        )

    def cut(self, stored: int) -> KeptBlob:
        """The first bytes of the blob, in a list of their own: whoever reads the others goes on."""
        index = bisect_right(self.ends.items, stored, 0, self.ends.count)
        parts, ends = self.parts.items[:index], self.ends.items[:index]
        begin = ends[-1] if ends else 0
        begun = KeptBlob(replace(self.known, stored=begin), Grown.of(*parts), Grown.of(*ends))
        return begun.append(self.data(begin, stored - begin), self.known.time)

    def data(self, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes from `offset` on."""
        stop = min(offset + limit, self.known.stored)
        index = bisect_right(self.ends.items, offset, 0, self.ends.count)
        found, at = [], offset
        while at < stop:
            part, end = self.parts.items[index], self.ends.items[index]
            begin = end - len(part)
            found.append(part[at - begin : stop - begin])
            at, index = end, index + 1
        return b"".join(found)


def new_blob(digest: str, size: int, time: float) -> KeptBlob:
    """A blob before its first byte."""
    return KeptBlob(Blob(digest, size, 0, time), Grown.of(), Grown.of())
