"""Who may open a store: one server, or any number of embedded processes.

The lock is `flock` on ``<store>.lock``, which the kernel releases when its holder dies, however it
dies; the file itself stays, because deleting it could delete another process's.  It
says who holds it exclusively, for the message that others get.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import weakref
from pathlib import Path
from typing import Any, Final

from track_protocol.errors import StoreError, StoreInUse, StoreReadOnly
from track_server.storage.durable_files import give_to_owner

__all__ = ["StoreLock", "check_local", "check_owner", "filesystem_of"]

_NETWORK: Final = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"ocfs2", "orangefs", "panfs", "pvfs2", "smb2", "smb3", "smbfs", "wekafs"}
    | {"fuse.ceph", "fuse.glusterfs", "fuse.juicefs", "fuse.s3fs", "fuse.smbnetfs", "fuse.sshfs"}
)
_READ_ONLY: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
_MOUNTS: Final = Path("/proc/self/mountinfo")
_LOCKS: Final = Path("/proc/locks")


class StoreLock:
    """Held from construction to `release`.

    Args:
        path: the store's main file, which need not exist.
        exclusive: for a server; otherwise shared with other embedded processes.
        served_as: URI or address under which others reach the holder, for their message.
        named: the file by which users know the store; the main file by default.

    Raises:
        StoreInUse: a process holds it that cannot share.
        StoreReadOnly: the lock file cannot be written.
        StoreError: the folder is missing or on a network file system.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        exclusive: bool,
        served_as: str | None = None,
        *,
        named: Path | None = None,
    ) -> None:
        # One store has one lock, whatever links lead to it.
        store = os.path.realpath(path)
        self._store = store if named is None else str(named)
        check_local(store)
        check_owner(Path(self._store))
        check_owner(Path(store))
        self._fd = _open(store)
        try:
            self._acquire(exclusive, served_as)
        except BaseException:
            self.release()
            raise
        _held.add(self)

    def release(self) -> None:
        """Give it up; harmless when repeated."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            _held.discard(self)
            os.close(fd)

    def _acquire(self, exclusive: bool, served_as: str | None) -> None:
        try:
            fcntl.flock(self._fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreInUse(_in_use(self._store, self._fd, exclusive)) from None
        except OSError as error:
            why = f"{self._store} cannot be locked ({error.strerror})"
            raise StoreError(f"{why}: move it to a local disk") from None
        # What a holder that was killed left behind must not be taken for the truth later.
        os.ftruncate(self._fd, 0)
        if exclusive:
            holder = {"pid": os.getpid(), "what": "server" if served_as else "process", "address": served_as}
            os.pwrite(self._fd, json.dumps(holder).encode(), 0)


_held: weakref.WeakSet[StoreLock] = weakref.WeakSet()


def _forget() -> None:
    """In a forked child: close its copies, which would hold the locks beyond the parent's death."""
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget)


def _open(store: str) -> int:
    try:
        descriptor = os.open(f"{store}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        give_to_owner(descriptor, Path(store).parent)
        return descriptor
    except OSError as error:
        if error.errno in _READ_ONLY:
            raise StoreReadOnly(
                f"{store}.lock cannot be written ({error.strerror}): give this user access to the store "
                "and its folder, or choose another place"
            ) from None
        raise StoreError(f"{store}.lock cannot be opened ({error.strerror}): choose another place") from None


def _in_use(store: str, fd: int, exclusive: bool) -> str:
    holder = _recorded(fd)
    pid = holder.get("pid") or _locking_pid(fd)
    who = f"pid {pid}" if pid else "another process"
    address = holder.get("address")
    if address:
        return f"the store {store} is served by {who}: use {address}, or stop that server first"
    if holder or not exclusive:
        return (
            f"the store {store} is in use by {who}: stop it first, or share the store: run "
            "'track server' and open it as socket://HOST:PORT"
        )
    return f"the store {store} is in use by {who}, which opened it directly: let it finish, or stop it first"


def _recorded(fd: int) -> dict[str, Any]:
    """What the exclusive holder wrote; empty when it has not written yet, or there is none."""
    try:
        found = json.loads(os.pread(fd, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _locking_pid(fd: int) -> int | None:
    """A process that holds a lock on the file, as far as the kernel shows it (proc(5), /proc/locks)."""
    inode = os.fstat(fd).st_ino
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}") and int(fields[4]) > 0:
            return int(fields[4])
    return None


def check_local(path: str | os.PathLike[str], mounts: Path = _MOUNTS) -> None:
    """Refuse a place where locks and shared memory do not hold between machines.

    Args:
        path: a file that need not exist, in a folder that must.
        mounts: the kernel's list of what is mounted.

    Raises:
        StoreError: the folder is missing, or on a network file system.
    """
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise StoreError(f"the folder {folder} does not exist: create it, or choose another place")
    kind = filesystem_of(folder, mounts)
    if kind in _NETWORK:
        raise StoreError(
            f"{path} is on a network file system ({kind}), where locks do not protect a store: put it on a "
            "local disk, run `track server` there and let others join by socket://"
        )


def check_owner(path: Path) -> None:
    """Refuse a store of another user, who could read and change what is stored; root may open any.

    Raises:
        StoreError: it is another user's.
    """
    try:
        owner = path.stat().st_uid
    except OSError:
        return  # opening it reports what is wrong
    if os.geteuid() not in (0, owner):
        raise StoreError(
            f"{path} belongs to user {owner}, and this is user {os.geteuid()}: share a store by a server "
            "(`track server`), or make the file your own"
        )


def filesystem_of(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """Type of the file system that holds a folder (proc(5), mountinfo); None when it is not known."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    found, kind = "", None
    for line in lines:
        mounted, _, source = line.partition(" - ")
        point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), mounted.split()[4])
        # A later mount on the same point hides the earlier one.
        if folder.is_relative_to(point) and len(point) >= len(found):
            found, kind = point, source.split()[0]
    return kind
