"""The folder of one spool: whose it is, who holds it, and which segments it has.

::

    lock              held by the process that writes or sends it; the system releases it when that process
    dies spool.json        what does not change: the session, the server, the program that made it
    state.json        how far the server had confirmed it when it was last looked at
    00000001.segment  records, see `segments`
    damaged/          bytes that were found to be none
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from track.process.files import OwnedFile, replace_file, sync_folder
from track.process.private import entries, make_entry, make_folder, open_private, opened_folder, read_private
from track_protocol.errors import SpoolCorrupt, SpoolError, SpoolInUse

__all__ = [
    "Checkpoint",
    "SpoolFolder",
    "SpoolMetadata",
    "is_held",
    "read_checkpoint",
    "read_metadata",
    "segments_in",
    "spool_error",
    "spools_in",
]

_FORMAT: Final = 1
_LOCK: Final = "lock"
_METADATA: Final = "spool.json"
_STATE: Final = "state.json"
_PART: Final = ".part"
_DAMAGED: Final = "damaged"
_SEGMENT: Final = ".segment"
_SESSION: Final = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class SpoolMetadata:
    """Whose records a spool holds.

    Attributes:
        session: under which the server knows them, in hexadecimal digits.
        server: ``socket://NAME@HOST:PORT`` and options, without secrets; empty if it is unknown.
        program: what made them.
        host, pid: where it ran.
        made: when, in seconds since the epoch.
    """

    session: str
    server: str
    program: str
    host: str
    pid: int
    made: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a spool had come.

    Attributes:
        acked: the last record that the server had confirmed.
        generation: of the server's store; None before the server was reached.
        problem: the failure that prevented sending; None if there was none.
    """

    acked: int = 0
    generation: str | None = None
    problem: str | None = None


class SpoolFolder:
    """A spool's folder, held by this process until `close`.

    Args:
        path: of the folder.
        lock: its lock file, which is held.
        metadata: whose records it has.
    """

    def __init__(self, path: Path, lock: OwnedFile, metadata: SpoolMetadata) -> None:
        self.path = path
        self.metadata = metadata
        self._lock = lock

    @classmethod
    def create(cls, root: Path, metadata: SpoolMetadata) -> SpoolFolder:
        """A new folder in `root`, for this user only.

        Raises:
            SpoolError: it cannot be made.
        """
        path = root / metadata.session
        try:
            make_folder(root)
            with opened_folder(root, is_root=True) as descriptor:
                make_entry(path, descriptor, may_exist=False)
        except OSError as error:
            raise spool_error(path, "made", error) from error
        lock = None
        try:
            lock = _locked(path, new=True)
            _replace(path / _METADATA, {"format": _FORMAT, **asdict(metadata)}, durably=True)
            sync_folder(root)
        except OSError as error:
            # An incomplete folder would cause a failure when there is room again.
            with contextlib.suppress(OSError):
                for name in (_LOCK, _METADATA, Path(_METADATA).with_suffix(_PART).name):
                    (path / name).unlink(missing_ok=True)
                path.rmdir()
            if lock is not None:
                lock.close()
            raise spool_error(path, "made", error) from error
        return cls(path, lock, metadata)

    @classmethod
    def open(cls, path: Path) -> SpoolFolder:
        """Take over a folder that no process holds.

        Raises:
            SpoolInUse: a process holds it.
            SpoolCorrupt: it does not say whose it is.
            SpoolError: it cannot be used.
        """
        try:
            lock = _locked(path)
        except BlockingIOError:
            raise SpoolInUse(f"{path} is in use by another process, which sends it") from None
        except FileNotFoundError:
            raise SpoolInUse(f"{path} no longer exists: another process has just sent it") from None
        except OSError as error:
            raise spool_error(path, "opened", error) from error
        try:
            return cls(path, lock, read_metadata(path))
        except BaseException:
            lock.close()
            raise

    @property
    def is_there(self) -> bool:
        """Whether its path still leads to it: it may have been deleted or moved."""
        try:
            if not self._lock.is_ours:
                self._lock = _locked(self.path)  # the program has closed it, and the folder may still be ours
            return _is_same(self._lock, self.path / _LOCK)
        except OSError:
            return False

    # -- what is in it ---------------------------------------------------------------------------

    def segments(self) -> list[Path]:
        """Its segments, oldest first."""
        return segments_in(self.path)

    def segment(self, number: int) -> Path:
        """The path of a segment."""
        return self.path / f"{number:08d}.segment"

    def checkpoint(self) -> Checkpoint:
        """How far it had come, see `read_checkpoint`."""
        return read_checkpoint(self.path)

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write the progress, for readers of the folder; the server's number is authoritative.

        Raises:
            OSError: it cannot be written.
        """
        _replace(self.path / _STATE, asdict(checkpoint), durably=False)

    def quarantine(self, name: str, data: bytes) -> Path | None:
        """Store damaged bytes for inspection; None if they are stored already.

        Raises:
            SpoolError: they cannot be.
        """
        target = self.path / _DAMAGED / name
        try:
            with opened_folder(self.path) as folder:
                make_entry(target.parent, folder)
            with open(open_private(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                file.write(data)
        except FileExistsError:
            return None
        except OSError as error:
            raise spool_error(target, "written", error) from error
        return target

    # -- its end ---------------------------------------------------------------------------------

    def remove(self) -> None:
        """Delete it with all its files except damaged bytes, and release it."""
        metadata = [] if (self.path / _DAMAGED).exists() else [self.path / _METADATA]
        for path in [*self.segments(), self.path / _STATE, *metadata]:
            path.unlink(missing_ok=True)
        if metadata:
            shutil.rmtree(self.path, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Release it; harmless when repeated."""
        self._lock.close()


def read_metadata(path: Path) -> SpoolMetadata:
    """Whose records the spool at `path` holds; it may be in use.

    If ``spool.json`` is damaged, the folder's name is still the session; the server is empty then.

    Raises:
        SpoolCorrupt: neither says.
        SpoolError: it cannot be read, or is of a newer version.
    """
    file = path / _METADATA
    try:
        said = json.loads(read_private(file))
        version = said.pop("format")
        if version == _FORMAT:
            return _checked(SpoolMetadata(**said))
    except OSError as error:
        raise spool_error(file, "read", error) from error
    except (ValueError, KeyError, TypeError, AttributeError):
        return _metadata_by_name(path)
    if type(version) is int and version > _FORMAT:
        raise SpoolError(f"{path} was written by a newer version of this software: update it")
    return _metadata_by_name(path)


def _checked(metadata: SpoolMetadata) -> SpoolMetadata:
    texts = (metadata.session, metadata.server, metadata.program, metadata.host)
    if not all(isinstance(text, str) for text in texts) or len(bytes.fromhex(metadata.session)) != 16:
        raise ValueError(metadata)
    if type(metadata.pid) is not int or type(metadata.made) not in (int, float):
        raise ValueError(metadata)
    return metadata


def _metadata_by_name(path: Path) -> SpoolMetadata:
    try:
        return _checked(SpoolMetadata(path.name, "", "an unknown program", "", 0, path.stat().st_mtime))
    except ValueError:
        raise SpoolCorrupt(
            f"{path / _METADATA} is damaged, so the owner of its records is unknown: run 'track doctor'"
        ) from None


def read_checkpoint(path: Path) -> Checkpoint:
    """How far a spool had come when it was last looked at; nothing, if that cannot be read."""
    try:
        said = json.loads(read_private(path / _STATE))
        return Checkpoint(int(said["acked"]), said["generation"], said["problem"])
    except (OSError, ValueError, KeyError, TypeError):
        return Checkpoint()


def segments_in(path: Path) -> list[Path]:
    """The segments of the spool at `path`, oldest first; none if it was removed.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return [entry for entry in entries(path) if entry.suffix == _SEGMENT]
    except FileNotFoundError:
        return []


def spools_in(root: Path) -> Iterator[Path]:
    """The folders of spools in `root`, oldest first; `root` may be one itself.

    What has the name of a spool and is a link, or a folder that others may write to, is among them: opening
    it says why it is not used.  What may not be looked into, as another user's private folder, is left out.

    Raises:
        SpoolError: the folder cannot be read.
    """
    try:
        with opened_folder(root, is_root=True) as descriptor:
            names = os.listdir(descriptor)
            if _METADATA in names:
                yield root.resolve()
                return
            found = sorted(_spools_among(names, descriptor))
    except FileNotFoundError:
        return
    except OSError as error:
        raise spool_error(root, "read", error) from error
    yield from (root / name for _, name in found)


def _spools_among(names: list[str], folder: int) -> Iterator[tuple[float, str]]:
    """Those of some names in a folder that are spools, each with the time of its last change."""
    for name in names:
        # One that is just being removed, or is another user's, must not hide the others.
        with contextlib.suppress(OSError):
            found = os.lstat(name, dir_fd=folder)
            if stat.S_ISLNK(found.st_mode) and not _SESSION.fullmatch(name):
                continue
            if stat.S_ISDIR(found.st_mode):
                os.lstat(f"{name}/{_LOCK}", dir_fd=folder)
            elif not stat.S_ISLNK(found.st_mode):
                continue
            yield found.st_mtime, name


def spool_error(path: Path, done: str, error: OSError) -> SpoolError:
    """The error for a spool that the system does not let a process use."""
    return SpoolError(
        f"{path} could not be {done} ({error.strerror or error}): make room or give access to it, or set "
        "TRACK_SPOOL to another folder"
    )


def is_held(path: Path) -> bool:
    """Whether a process writes or sends the spool at `path`.

    Raises:
        OSError: that cannot be found out.
    """
    try:
        os.lstat(path / _LOCK)
        _locked(path).close()
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _locked(path: Path, *, new: bool = False) -> OwnedFile:
    """The open file that holds the folder's lock.

    Args:
        path: of the folder.
        new: others hold it only for the time of a check.

    Raises:
        BlockingIOError: another process holds it.
        FileNotFoundError: it was removed meanwhile.
        OSError: the folder cannot be used.
    """
    file = path / _LOCK
    # A copy may lack it; but creating it in a folder that is just being removed would keep that folder.
    create = os.O_CREAT if new or os.path.lexists(path / _METADATA) else 0
    lock = OwnedFile(file, os.O_RDWR | create)
    try:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX | (0 if new else fcntl.LOCK_NB))
        if not _is_same(lock, file):
            raise FileNotFoundError(2, "it was removed", str(file))
    except BaseException:
        lock.close()
        raise
    return lock


def _is_same(file: OwnedFile, path: Path) -> bool:
    mine, there = os.fstat(file.fileno()), os.lstat(path)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _replace(path: Path, content: dict[str, Any], *, durably: bool) -> None:
    data = json.dumps(content, indent=2).encode()
    replace_file(path, data, beside=path.with_suffix(_PART), durably=durably, is_private=True)
