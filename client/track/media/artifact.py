"""Files: read in parts, so that their size does not matter to the memory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from track_protocol.errors import BadValue
from track_protocol.model.media import FILE, MAX_BLOB_BYTES, Media

__all__ = ["artifact"]


def artifact(path: str | os.PathLike[str]) -> Media:
    """A file as it is now.

    Args:
        path: where it is; it has to stay as it is until it is logged.

    Raises:
        BadValue: there is no such file, it cannot be read, or it is too large.
    """
    file = Path(os.fsdecode(path))
    try:
        size = file.stat().st_size
        if not file.is_file():
            raise BadValue(f"{file} is no file: give one, or pack a folder into an archive first")
        if size > MAX_BLOB_BYTES:
            raise BadValue(f"{file} has {size:,} bytes, more than {MAX_BLOB_BYTES:,}: keep it elsewhere")
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            size = content.tell()
    except OSError as error:
        raise BadValue(f"{file} cannot be read ({error.strerror}): check the path") from None
    return Media(FILE, {"name": file.name, "digest": digest, "size": size}, file)
