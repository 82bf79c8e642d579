"""Rows of chunks, and what is said of damaged ones."""

from __future__ import annotations

from track_protocol.errors import StoreCorrupt
from track_protocol.wire.columns import Column
from track_server.storage.chunks import BadChunk, decode_chunk

__all__ = ["damaged_chunk", "read_chunk"]


def read_chunk(path: str, series: int, seq: int, data: bytes) -> tuple[Column, Column, Column]:
    """Steps, times and values of a chunk row.

    Raises:
        StoreCorrupt: the bytes are not those that were written.
    """
    try:
        return decode_chunk(data)
    except BadChunk as error:
        raise damaged_chunk(path, series, seq, error) from None


def damaged_chunk(path: str, series: int, seq: int, error: BadChunk) -> StoreCorrupt:
    """What to raise when the bytes of a chunk row are not those that were written."""
    return StoreCorrupt(
        f"{path}: the chunk of series {series} from point {seq} on is damaged ({error}): restore a backup"
    )
