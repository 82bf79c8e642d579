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
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from track.process.files import OwnedFile, replace_file, sync_folder
from track_protocol.errors import SpoolCorrupt, SpoolError, SpoolInUse

__all__ = [
    "Checkpoint",
    "SpoolFolder",
    "SpoolMetadata",
    "is_held",
    "read_checkpoint",
    "read_metadata",
    "spool_error",
    "spools_in",
]

_FORMAT: Final = 1
_LOCK: Final = "lock"
_METADATA: Final = "spool.json"
_STATE: Final = "state.json"
_PART: Final = ".part"
_DAMAGED: Final = "damaged"
_SEGMENTS: Final = "*.segment"


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
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.mkdir(mode=0o700)
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
        return sorted(self.path.glob(_SEGMENTS))

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
            if target.exists():
                return None
            target.parent.mkdir(mode=0o700, exist_ok=True)
            target.write_bytes(data)
        except OSError as error:
            raise spool_error(target, "written", error) from error
        return target

    # -- its end ---------------------------------------------------------------------------------

    def remove(self) -> None:
        """Delete it with all its files except damaged bytes, and release it."""
        whole = [] if (self.path / _DAMAGED).exists() else [self.path / _METADATA]
        for path in [*self.segments(), self.path / _STATE, *whole]:
            path.unlink(missing_ok=True)
        if whole:
            shutil.rmtree(self.path, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Release it; harmless when repeated."""
        self._lock.close()


def read_metadata(path: Path) -> SpoolMetadata:
    """Whose records the spool at `path` holds; it may be in use.

    If ``spool.json`` is damaged, the folder's name still tells the session; the server is empty then.

    Raises:
        SpoolCorrupt: neither says.
        SpoolError: it cannot be read, or is of a newer version.
    """
    file = path / _METADATA
    try:
        said = json.loads(file.read_bytes())
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
        said = json.loads((path / _STATE).read_bytes())
        return Checkpoint(int(said["acked"]), said["generation"], said["problem"])
    except (OSError, ValueError, KeyError, TypeError):
        return Checkpoint()


def spools_in(root: Path) -> Iterator[Path]:
    """The folders of spools in `root`, oldest first; `root` may be one itself.

    Those of other users, whose folders are private, are left out.

    Raises:
        SpoolError: the folder cannot be read.
    """
    try:
        if (root / _METADATA).exists():
            yield root
            return
        entries = list(root.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise spool_error(root, "read", error) from error
    found = []
    for entry in entries:
        # One that is just being removed, or is another user's, must not hide the others.
        with contextlib.suppress(OSError):
            if (entry / _LOCK).exists():
                found.append((entry.stat().st_mtime, entry))
    for _, entry in sorted(found):
        yield entry


def spool_error(path: Path, done: str, error: OSError) -> SpoolError:
    """What to tell when the system does not let a spool be used."""
    return SpoolError(
        f"{path} could not be {done} ({error.strerror or error}): make room or give access to it, or set "
        "TRACK_SPOOL to another folder"
    )


def is_held(path: Path) -> bool:
    """Whether a process writes or sends the spool at `path`.

    Raises:
        OSError: that cannot be found out.
    """
    if not (path / _LOCK).exists():
        return False
    try:
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
    # A copy may have come without it; but one made in a folder that is just being removed would keep that.
    create = os.O_CREAT if new or (path / _METADATA).exists() else 0
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
    mine, there = os.fstat(file.fileno()), os.stat(path)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _replace(path: Path, content: dict[str, Any], *, durably: bool) -> None:
    data = json.dumps(content, indent=2).encode()
    replace_file(path, data, beside=path.with_suffix(_PART), durably=durably)
