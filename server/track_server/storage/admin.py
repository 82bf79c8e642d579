"""Looking after stores from outside: checking, backing up, restoring; a server may be at work on them."""

from __future__ import annotations

import datetime
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from track_protocol.errors import ItemNotFound, StoreCorrupt, StoreError, StoreFull, StoreReadOnly, UsageError
from track_server.storage.durable_files import sync_folder

__all__ = ["Checked", "Restored", "StoreAdmin", "back_up", "check", "copied_before_migration", "restore"]

_log = logging.getLogger(__name__)

_SIDECARS: Final = ("-wal", "-shm", "-journal", ".lock")
"""What is appended to a store's name for the files beside it."""
_LOG: Final = "-wal"
"""The same for what was written last."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of a store has seen.

    Attributes:
        generation: identifies the store's history; None when it could not be read.
        trials: how many there are.
        series: how many there are.
        points: of all series, as far as they can be read.
        findings: one line for each damage; none if the store is undamaged.
        rejected: number of quarantined records, which can never be stored.
    """

    generation: str | None = None
    trials: int = 0
    series: int = 0
    points: int = 0
    findings: tuple[str, ...] = ()
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has done.

    Attributes:
        checked: the backup, whose generation is not that of the restored store.
        generation: the new one of the restored store.
        aside: where the replaced store is, None if there was none.
    """

    checked: Checked
    generation: str
    aside: Path | None


class StoreAdmin(Protocol):
    """Knows the files of one kind of store, and changes none that is in use."""

    def check(self, path: Path) -> Checked:
        """Read everything and compare it; the store stays in use meanwhile."""

    def copy(self, path: Path, target: Path) -> None:
        """Write one committed state of a store to an empty file, a SQLite store without a log, durably."""

    def main(self, path: Path) -> Path:
        """The file that holds the store which users know by `path`."""

    def renew(self, part: Path, path: Path) -> str:
        """Give what becomes the store at `path` a new generation, durably; returns it."""

    def finish(self, path: Path) -> None:
        """Complete a store that was restored."""

    def checkpoint(self, path: Path) -> None:
        """Bring the main file up to date and leave its log with nothing that counts.

        Raises:
            StoreInUse: another process has the store open.
        """

    def held(self, path: Path) -> AbstractContextManager[None]:
        """Lock every other process out of the store.

        Raises:
            StoreInUse: another process has it open.
        """


def check(admin: StoreAdmin, path: Path) -> Checked:
    """Check a store; damage that prevents reading is a finding too.

    Raises:
        ItemNotFound: there is no such store.
        StoreError: it is something else, or it cannot be read.
    """
    _find_store(admin, path)
    return _checked(admin, path)


def back_up(admin: StoreAdmin, path: Path, target: Path) -> Checked:
    """Copy a store, also one that is in use, to a new file; it gets its name once it was found undamaged.

    Only its owner may read the file.

    Args:
        admin: knows that kind of store.
        path: of the store.
        target: the new file.

    Raises:
        ItemNotFound: there is no such store.
        UsageError: the target exists, or is a name that the store's own files have.
        StoreFull: there is no room for it.
        StoreCorrupt: the copy is damaged as the store is; there is no backup.
        StoreError: the store cannot be read, or the target not be written.
    """
    _find_store(admin, path)
    _refuse_existing(target)
    _refuse_own((path, admin.main(path)), target)
    return _copy_verified(admin, path, target)


def _copy_verified(admin: StoreAdmin, path: Path, target: Path) -> Checked:
    """Copy a store to a new file; see `back_up`."""
    part = _beside(target)
    try:
        _make_private(part)
        with _telling_of_room(f"no space is left for the backup {target}"):
            admin.copy(path, part)
        seen = _sound(admin, part, f"{path} is damaged, so there is no backup")
        _name(part, target)
    finally:
        with suppress(OSError):  # the error before names the cause
            part.unlink(missing_ok=True)
    return seen


def restore(admin: StoreAdmin, backup: Path, path: Path) -> Restored:
    """Replace a closed store with a backup; the old store stays beside it.

    Raises:
        ItemNotFound: there is no such backup.
        UsageError: the backup is the store itself.
        StoreInUse: another process has the store open.
        StoreCorrupt: the backup is damaged; nothing is changed.
        StoreFull: there is no room for it; nothing is changed.
        StoreError: the backup is not a store of this kind, or the store's folder is not writable.
    """
    _find(backup, "backup")
    path = Path(os.path.realpath(path))
    if os.path.realpath(backup) == str(path):
        raise UsageError(f"{backup} is the store itself: give the path of a backup")
    main = admin.main(path)
    with admin.held(path):
        pass  # before minutes are spent on reading the backup
    seen = _sound(admin, backup, f"{backup} is damaged, and nothing was changed")
    part = _beside(main)
    try:
        with _telling_of_room(f"no space is left to restore {path}, and nothing was changed"):
            if main.exists():
                admin.checkpoint(path)
        with admin.held(path):
            with _telling_of_room(f"no space is left to restore {path}, and nothing was changed"):
                _make_private(part)
                admin.copy(backup, part)
                _sound(admin, part, f"{backup} was copied with damage, and nothing was changed")
                generation = admin.renew(part, path)
            model = next((file for file in (main, path) if file.exists()), main.parent)
            _as_owned_as(model, part, main.with_name(f"{main.name}.lock"))
            aside = _exchange(part, main)
        admin.finish(path)
    finally:
        with suppress(OSError):  # the error before names the cause
            part.unlink(missing_ok=True)
    return Restored(seen, generation, aside)


@contextmanager
def _telling_of_room(what: str) -> Iterator[None]:
    """A server resumes by itself once there is space; a command must be repeated."""
    try:
        yield
    except StoreFull as error:
        raise StoreFull(f"{what}: free some on its disk, then try again ({error})") from error


def _exchange(part: Path, path: Path) -> Path | None:
    """Give `part` the store's name and the store's files names of their own."""
    changes = path.with_name(path.name + _LOG)
    moment = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    name = path.with_name(f"{path.name}.replaced-{moment}")
    there = {path: name, changes: name.with_name(name.name + _LOG)}
    renamed = {file: aside for file, aside in there.items() if file.exists()}
    for file, aside in renamed.items():
        os.link(file, aside)
    if renamed:
        sync_folder(path.parent)
    # Before the exchange: changes of the old store must never be applied to the new one.
    changes.unlink(missing_ok=True)
    sync_folder(path.parent)
    part.replace(path)
    sync_folder(path.parent)
    return name if renamed else None


def _checked(admin: StoreAdmin, path: Path) -> Checked:
    try:
        return admin.check(path)
    except StoreCorrupt as error:
        return Checked(findings=(str(error),))


def _sound(admin: StoreAdmin, path: Path, otherwise: str) -> Checked:
    seen = _checked(admin, path)
    if seen.findings:
        more = f" (and {len(seen.findings) - 1} more)" if len(seen.findings) > 1 else ""
        raise StoreCorrupt(f"{otherwise}: {seen.findings[0]}{more}; 'track check' lists everything")
    return seen


def _find_store(admin: StoreAdmin, path: Path) -> None:
    main = admin.main(path)
    _find(main if main.exists() and not path.exists() else path, "store")


def _find(path: Path, what: str) -> None:
    if not path.exists():
        raise ItemNotFound(f"there is no {what} {path}: check the path")
    if not path.is_file():  # opening a pipe would wait for a writer
        raise StoreError(f"{path} is not a file: give the path of a {what}")


def _refuse_existing(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} exists and is not overwritten: give a new name")


def _refuse_own(files: tuple[Path, Path], target: Path) -> None:
    """A copy that has the name of a store's log would be taken for it."""
    taken = {os.path.realpath(file) + suffix for file in files for suffix in _SIDECARS}
    if os.path.realpath(target) in {*taken, os.path.realpath(files[1])}:
        raise UsageError(f"{target} is the name of a file of the store {files[0]} itself: give another name")


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.part")


def _make_private(part: Path) -> None:
    """An empty file that only its owner may read, whatever is written to it later."""
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileNotFoundError:
        raise StoreError(f"the folder {part.parent} does not exist: create it, or choose another") from None
    except OSError as error:
        raise StoreReadOnly(
            f"{part.parent} cannot be written ({error.strerror}): choose another place"
        ) from error


def _name(part: Path, target: Path) -> None:
    """Rename without overwriting what has appeared meanwhile."""
    try:
        os.link(part, target)
    except FileExistsError:
        _refuse_existing(target)
    except OSError:  # a file system without hard links
        part.rename(target)
    sync_folder(target.parent)


def _as_owned_as(model: Path, *files: Path) -> None:
    """Give what root restores to the user that runs the server."""
    if os.geteuid() == 0:
        owner = model.stat()
        for file in files:
            os.chown(file, owner.st_uid, owner.st_gid)


def copied_before_migration(admin: StoreAdmin, path: Path, found: int, wanted: int) -> Path:
    """Copy a store that is about to be migrated; it must not change meanwhile.

    Args:
        admin: knows that kind of store.
        path: of the store.
        found: its version.
        wanted: the version that it will have.

    Returns:
        the copy, which only its owner may read.

    Raises:
        StoreFull: there is no room for the copy.
        StoreCorrupt: the store is damaged, and a migration might make that worse.
        StoreError: the copy cannot be made for another reason.
    """
    moment = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    target = path.with_name(f"{path.name}.v{found}-{moment}.bak")
    unchanged = f"{path} stays at version {found}"
    _log.warning(
        "%s is of version %d: it is copied (%.1f MB) and the copy checked before it is migrated to version "
        "%d; this may take minutes",
        *(path, found, path.stat().st_size / 1e6, wanted),
    )
    try:
        _copy_verified(admin, path, target)
    except StoreFull as error:
        raise StoreFull(
            f"{unchanged}: no space is left for the copy of it that is made before it is migrated; free some "
            "on its disk, then open it again"
        ) from error
    except OSError as error:
        raise StoreError(
            f"{unchanged}: no copy of it could be made before it is migrated ({error.strerror}); check the "
            f"disk and the folder {path.parent}"
        ) from error
    _log.warning(
        "migrating %s from version %d to %d; the previous version is %s", path, found, wanted, target
    )
    return target
