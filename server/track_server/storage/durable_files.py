"""Files that are, at every moment and after every power cut, either the old ones or the new ones."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from track_protocol.errors import StoreError, StoreFailed, StoreFull, StoreReadOnly

__all__ = [
    "create_private",
    "give_to_owner",
    "locked",
    "replace_file",
    "rewrite",
    "store_error",
    "sync",
    "sync_file",
    "sync_folder",
]

_FAILED: Final = frozenset({errno.EIO, errno.ENXIO, errno.ENODEV, errno.EUCLEAN, errno.ESTALE})
"""What a disk that fails answers, as opposed to one that refuses."""

_PIECE: Final = 2**20
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)


def replace_file(
    path: str | Path,
    pieces: Iterable[bytes],
    *,
    mode: int | None = 0o600,
    unfinished: Path | None = None,
) -> None:
    """Replace a file atomically and durably: write beside it, flush to the disk, rename, flush the folder.

    What root writes belongs to the owner of the folder, so that a server that is not root's can use it.

    Args:
        path: the file.
        pieces: the new content, piece by piece.
        mode: its permissions, whatever the umask; None for those that it has, 0600 if it is not there yet.
        unfinished: name of the file to write first, in the same folder; one that is there is overwritten.  By
            default the name is unique.

    Raises:
        StoreReadOnly: the file or its folder does not take writes.
        StoreFull: the disk is full.
        StoreFailed: the disk fails.
        StoreError: it cannot be written for another reason.
    """
    target = Path(os.path.realpath(path))
    beside = unfinished or target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        _write(beside, pieces, _mode_of(target) if mode is None else mode)
        os.replace(beside, target)
        sync_folder(target.parent)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink()
        if isinstance(error, OSError):
            raise store_error(target, "written", error) from error
        raise


def _write(path: Path, pieces: Iterable[bytes], mode: int) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
    # A new file, so that a link that was laid there cannot make this overwrite another file.
    with open(_create(path), "wb") as file:
        os.fchmod(file.fileno(), mode)
        give_to_owner(file.fileno(), path.parent)
        file.writelines(pieces)
        file.flush()
        sync(file.fileno())


def _mode_of(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o7777
    except FileNotFoundError:
        return 0o600


def _create(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a lock file, waiting for its holder; the file itself stays for ever.

    Raises:
        StoreReadOnly, StoreError: the lock file cannot be made, or is a link.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise store_error(path, "opened", error) from error
    try:
        give_to_owner(descriptor, path.parent)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def give_to_owner(descriptor: int, folder: Path) -> None:
    """Let a file that root has made belong to the owner of its folder."""
    if os.geteuid() == 0:
        owner = folder.stat()
        if owner.st_uid:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def create_private(path: Path) -> None:
    """Make an empty file that only its owner may read, whatever the umask; one that is there stays as it is.

    Raises:
        StoreReadOnly, StoreFull, StoreFailed, StoreError: it cannot be made.
    """
    try:
        os.close(_create(path))
    except FileExistsError:
        return
    except OSError as error:
        raise store_error(path, "created", error) from error


def rewrite(path: str | Path) -> None:
    """Make durable what a file seems to hold, by writing it again, through a descriptor of its own.

    After a flush that failed, Linux takes the pages for written, and lets everybody read from memory what the
    disk never got; flushing again then succeeds and does nothing.  Only a new write makes it try again.
    No other process may write to the file meanwhile.

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
    sync(descriptor)


def sync(descriptor: int) -> None:
    """Flush a file or a folder to the disk, and not only to the disk's own memory.

    On macOS `os.fsync` ends at that memory; ``F_FULLFSYNC`` flushes it too, but not all file systems know it.
    """
    if _FULL_SYNC is not None:
        with suppress(OSError):
            fcntl.fcntl(descriptor, _FULL_SYNC)
            return
    os.fsync(descriptor)


def sync_file(path: Path) -> None:
    """Flush a file to the disk."""
    _sync_path(path, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    _sync_path(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync_path(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        sync(descriptor)
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
            f"{path} cannot be {done}: {error.strerror}: free some space; writing then resumes by itself"
        )
    if error.errno in _FAILED:
        return StoreFailed(
            f"{path} cannot be {done}: {error.strerror}: the disk failed: check it, and the system's log"
        )
    return StoreError(f"{path} cannot be {done}: {error.strerror}: check the path and the disk")
