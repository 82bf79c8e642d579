"""A file that is, at every moment and after every power cut, either the old one or the new one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from track_protocol.errors import StoreError, StoreFailed, StoreFull, StoreReadOnly

__all__ = ["create_private", "rewrite", "store_error", "sync_folder", "write_durably"]

_FAILED: Final = frozenset({errno.EIO, errno.ENXIO, errno.ENODEV, errno.EUCLEAN, errno.ESTALE})
"""What a disk that fails answers, as opposed to one that refuses."""

_PIECE: Final = 2**20


def write_durably(path: str | Path, pieces: Iterable[str], temporary: str | Path | None = None) -> int:
    """Replace a file: write beside it, flush to the disk, rename, flush the folder.

    Args:
        path: the file; its permissions stay as they were.
        pieces: the new content, piece by piece.
        temporary: name of the file to write first, in the same folder; one that is there is
            overwritten.  By default the name is this process's own.

    Returns:
        how many bytes were written.

    Raises:
        StoreReadOnly: the file or its folder does not take writes.
        StoreFull: the disk is full.
        StoreFailed: the disk fails.
        StoreError: it cannot be written for another reason.
    """
    target = Path(os.path.realpath(path))
    beside = Path(temporary or target.with_name(f".{target.name}.{os.getpid()}.tmp"))
    try:
        size = _write(beside, pieces, target)
        os.replace(beside, target)
        sync_folder(target.parent)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink()
        if isinstance(error, OSError):
            raise store_error(target, "written", error) from error
        raise
    return size


def _write(path: Path, pieces: Iterable[str], model: Path) -> int:
    with suppress(FileNotFoundError):
        path.unlink()
    # A new file, so that nobody who could lay a link there has another file overwritten by it.
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
        if model.exists():  # before there is anything to read in it
            os.fchmod(file.fileno(), model.stat().st_mode & 0o7777)
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def create_private(path: Path) -> None:
    """Make an empty file that nobody else may read, whatever the umask; one that is there stays as it is.

    Raises:
        StoreReadOnly, StoreFull, StoreFailed, StoreError: it cannot be made.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise store_error(path, "created", error) from error


def rewrite(path: str | Path) -> None:
    """Make durable what a file seems to hold, by writing it once more, through a descriptor of its own.

    After a flush that failed, Linux takes the pages for written, and lets everybody read from memory what the
    disk never got; flushing again then succeeds and does nothing.  Only a new write makes it try again.
    Nobody else may write to the file meanwhile.

    Args:
        path: the file; one that is not there is as durable as can be.

    Raises:
        StoreFailed, StoreFull, StoreReadOnly, StoreError: it could not be.
    """
    path = Path(path)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise store_error(path, "opened", error) from error
    try:
        _rewrite(descriptor)
    except OSError as error:
        raise store_error(path, "written", error) from error
    finally:
        os.close(descriptor)


def _rewrite(descriptor: int) -> None:
    size, offset = os.fstat(descriptor).st_size, 0
    # A length that was not flushed is not written again either, unless it changes.
    os.ftruncate(descriptor, size + 1)
    while offset < size:
        piece = os.pread(descriptor, min(_PIECE, size - offset), offset)
        if not piece:
            raise OSError(errno.EIO, "it ends too early")
        offset += os.pwrite(descriptor, piece, offset)
    os.ftruncate(descriptor, size)
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def store_error(path: Path, done: str, error: OSError) -> StoreError:
    """The error for a file that could not be read or written.

    Args:
        path: the file.
        done: what was to be done to it, as a participle.
        error: what the system said.
    """
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreReadOnly(
            f"{path} cannot be {done}: {error.strerror}: allow this user to write it and its folder, "
            "or choose another place"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(
            f"{path} cannot be {done}: {error.strerror}: free some space, and writing goes on by itself"
        )
    if error.errno in _FAILED:
        return StoreFailed(
            f"{path} cannot be {done}: {error.strerror}: the disk fails; check it and the system's log"
        )
    return StoreError(f"{path} cannot be {done}: {error.strerror}: check the path and the disk")
