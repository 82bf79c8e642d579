"""Looking after stores from outside: checking, backing up, restoring; a server may be at work on them."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from track_protocol.errors import ItemNotFound, StoreCorrupt, StoreError, StoreFull, StoreReadOnly, UsageError

__all__ = ["Checked", "Copier", "Keeper", "Restored", "back_up", "check", "copy_verified", "restore"]


_COMPANIONS: Final = ("-wal", "-shm", "-journal", ".lock")
"""What is appended to a store's name for the files beside it."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of a store has seen.

    Attributes:
        generation: identifies the store's history; None when it could not be read.
        trials: how many there are.
        series: how many there are.
        points: of all series, as far as they can be read.
        findings: one line for each damage; none if the store is sound.
        rejected: how many records were set aside because they can never be stored.
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


class Copier(Protocol):
    """Reads the files of one kind of store, of any version that this software knows."""

    def check(self, path: Path) -> Checked:
        """Read everything and compare it; whoever uses the store goes on with it meanwhile."""

    def copy(self, path: Path, target: Path) -> None:
        """Write one committed state of a store to a new file that needs no companion, durably."""


class Keeper(Copier, Protocol):
    """Knows the files of one kind of store, and changes none that is in use."""

    @property
    def companion(self) -> str:
        """What is appended to the main file's name for the file of recent changes."""

    def main(self, path: Path) -> Path:
        """The file that holds the store which users know by `path`."""

    def renew(self, part: Path, path: Path) -> str:
        """Give what becomes the store at `path` a new generation, durably; returns it."""

    def finish(self, path: Path) -> None:
        """Complete a store that was restored."""

    def settle(self, path: Path) -> None:
        """Bring the main file up to date and leave the companion with nothing that counts.

        Raises:
            StoreInUse: somebody has the store open.
        """

    def held(self, path: Path) -> AbstractContextManager[None]:
        """Keep everybody else out of the store.

        Raises:
            StoreInUse: somebody has it open.
        """


def check(keeper: Keeper, path: Path) -> Checked:
    """Check a store; damage that hinders reading at all is a finding too.

    Raises:
        ItemNotFound: there is no such store.
        StoreError: it is something else, or it cannot be read.
    """
    _find_store(keeper, path)
    return _checked(keeper, path)


def back_up(keeper: Keeper, path: Path, target: Path) -> Checked:
    """Copy a store, also one that is in use, to a new file; it gets its name once it was found sound.

    Only its owner may read the file.

    Args:
        keeper: knows that kind of store.
        path: of the store.
        target: the new file.

    Raises:
        ItemNotFound: there is no such store.
        UsageError: the target exists, or is a name that the store's own files have.
        StoreFull: there is no room for it.
        StoreCorrupt: the copy is damaged as the store is; there is no backup.
        StoreError: the store cannot be read, or the target not be written.
    """
    _find_store(keeper, path)
    _refuse_existing(target)
    _refuse_own((path, keeper.main(path)), target)
    return copy_verified(keeper, path, target)


def copy_verified(copier: Copier, path: Path, target: Path) -> Checked:
    """Copy a store to a new file; see `back_up`."""
    part = _beside(target)
    try:
        _make_private(part)
        with _telling_of_room(f"no space is left for the backup {target}"):
            copier.copy(path, part)
        seen = _sound(copier, part, f"{path} is damaged, so there is no backup")
        _name(part, target)
    finally:
        with suppress(OSError):  # what hinders it was told by what failed before
            part.unlink(missing_ok=True)
    return seen


def restore(keeper: Keeper, backup: Path, path: Path) -> Restored:
    """Put a backup in the place of a store that nobody has open, which is kept beside it.

    Raises:
        ItemNotFound: there is no such backup.
        UsageError: the backup is the store itself.
        StoreInUse: somebody has the store open.
        StoreCorrupt: the backup is damaged; nothing is changed.
        StoreFull: there is no room for it; nothing is changed.
        StoreError: the backup is no store of this kind, or the store's folder takes no writes.
    """
    _find(backup, "backup")
    path = Path(os.path.realpath(path))
    if os.path.realpath(backup) == str(path):
        raise UsageError(f"{backup} is the store itself: give the path of a backup")
    main = keeper.main(path)
    with keeper.held(path):
        pass  # before minutes are spent on reading the backup
    seen = _sound(keeper, backup, f"{backup} is damaged, and nothing was changed")
    part = _beside(main)
    try:
        with _telling_of_room(f"no space is left to restore {path}, and nothing was changed"):
            if main.exists():
                keeper.settle(path)
        with keeper.held(path):
            with _telling_of_room(f"no space is left to restore {path}, and nothing was changed"):
                _make_private(part)
                keeper.copy(backup, part)
                _sound(keeper, part, f"{backup} was copied with damage, and nothing was changed")
                generation = keeper.renew(part, path)
            model = next((file for file in (main, path) if file.exists()), main.parent)
            _as_owned_as(model, part, main.with_name(f"{main.name}.lock"))
            aside = _exchange(part, main, keeper.companion)
        keeper.finish(path)
    finally:
        with suppress(OSError):  # what hinders it was told by what failed before
            part.unlink(missing_ok=True)
    return Restored(seen, generation, aside)


@contextmanager
def _telling_of_room(what: str) -> Iterator[None]:
    """A server goes on by itself once there is room; a command has to be given again."""
    try:
        yield
    except StoreFull as error:
        raise StoreFull(f"{what}: free some on its disk, then try again ({error})") from error


def _exchange(part: Path, path: Path, companion: str) -> Path | None:
    """Give `part` the store's name and the store's files names of their own."""
    changes = path.with_name(path.name + companion)
    moment = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    name = path.with_name(f"{path.name}.replaced-{moment}")
    there = {path: name, changes: name.with_name(name.name + companion)}
    kept = {file: aside for file, aside in there.items() if file.exists()}
    for file, aside in kept.items():
        os.link(file, aside)
    if kept:
        _sync(path.parent)
    # Before the exchange: changes of the old store must never be applied to the new one.
    changes.unlink(missing_ok=True)
    _sync(path.parent)
    part.replace(path)
    _sync(path.parent)
    return name if kept else None


def _checked(copier: Copier, path: Path) -> Checked:
    try:
        return copier.check(path)
    except StoreCorrupt as error:
        return Checked(findings=(str(error),))


def _sound(copier: Copier, path: Path, otherwise: str) -> Checked:
    seen = _checked(copier, path)
    if seen.findings:
        more = f" (and {len(seen.findings) - 1} more)" if len(seen.findings) > 1 else ""
        raise StoreCorrupt(f"{otherwise}: {seen.findings[0]}{more}; 'track check' lists everything")
    return seen


def _find_store(keeper: Keeper, path: Path) -> None:
    main = keeper.main(path)
    _find(main if main.exists() and not path.exists() else path, "store")


def _find(path: Path, what: str) -> None:
    if not path.exists():
        raise ItemNotFound(f"there is no {what} {path}: check the path")
    if not path.is_file():  # opening a pipe would wait for somebody to write to it
        raise StoreError(f"{path} is not a file: give the path of a {what}")


def _refuse_existing(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} exists and is not overwritten: give a new name")


def _refuse_own(files: tuple[Path, Path], target: Path) -> None:
    """A copy that has the name of a store's log would be taken for it."""
    taken = {os.path.realpath(file) + suffix for file in files for suffix in _COMPANIONS}
    if os.path.realpath(target) in {*taken, os.path.realpath(files[1])}:
        raise UsageError(f"{target} is a name that belongs to the store {files[0]} itself: give another name")


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.part")


def _make_private(part: Path) -> None:
    """An empty file that nobody else may read, whatever is written to it later."""
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
    _sync(target.parent)


def _as_owned_as(model: Path, *files: Path) -> None:
    """What root restores belongs to whoever runs the server."""
    if os.geteuid() == 0:
        owner = model.stat()
        for file in files:
            os.chown(file, owner.st_uid, owner.st_gid)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
