"""Blobs on their way to the store: in parts, as log calls, before the documents that refer to them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from track.media.parts import parts_of
from track.outbox.drops import DropAccount
from track_protocol.model.media import Media

__all__ = ["BlobSender"]

_REMEMBERED: Final = 600.0
"""Seconds for which a blob that was sent is not sent again: the store may delete it."""

_MAX_CACHED: Final = 16_384


class BlobSender:
    """Sends each content once, or again when it may have got lost.

    Args:
        log: logs a call of that name and those arguments; whether there was room for it.
        losses: of whatever carries the calls.
    """

    def __init__(self, log: Callable[[str, dict[str, Any]], bool], losses: Callable[[], DropAccount]) -> None:
        self._log = log
        self._losses = losses
        self._sent: dict[str, float] = {}
        self._mark: tuple[int, int, int] | None = None

    def send(self, media: Media) -> str | None:
        """Log the content of some media, if it has one.

        Returns:
            why it cannot be stored; None when all of it is on its way.
        """
        if media.content is None:
            return None
        digest, size = media.document["digest"], media.document["size"]
        self._forget()
        at = self._sent.get(digest)
        if at is not None and time.monotonic() - at < _REMEMBERED:
            return None
        try:
            why = self._send(media.content, digest, size)
        except OSError as error:
            why = f"its file can no longer be read ({error.strerror})"
        if why is None:
            if len(self._sent) >= _MAX_CACHED:
                self._sent.clear()
            self._sent[digest] = time.monotonic()
        return why

    def _forget(self) -> None:
        """Forget blobs that a parent process sent, or that were sent before a record was dropped."""
        losses = self._losses()
        mark = os.getpid(), losses.dropped, losses.rejected
        if mark != self._mark:
            self._sent.clear()
            self._mark = mark

    def _send(self, content: bytes | Path, digest: str, size: int) -> str | None:
        offset, seen = 0, hashlib.sha256()
        for part in parts_of(content):
            seen.update(part)
            last = offset + len(part) >= size
            cut = not part and size > 0
            if cut or offset + len(part) > size or (last and seen.hexdigest() != digest):
                break
            arguments = {"digest": digest, "size": size, "offset": offset, "data": part}
            if not self._log("put_blob", arguments):
                return "the queue is full"
            offset += len(part)
        complete = offset == size and seen.hexdigest() == digest
        return None if complete else "its content changed while it was read"
