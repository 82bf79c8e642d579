"""How the file of a SQLite store is recognised, created and opened, and which errors its failures become.

Only failures of the environment are translated: a full disk, a lost file, flipped bits.  An error in a
statement of this software stays what it is, a bug.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import apsw

from track_protocol.errors import (
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreReadOnly,
    StoreTooNew,
)
from track_server.storage.durable_files import create_private, rewrite
from track_server.storage.sqlite.migrations import MIGRATIONS, current_version
from track_server.storage.sqlite.query import register_functions
from track_server.storage.sqlite.wal_check import check_log, frames_read, log_length, refuse_strange_log

__all__ = [
    "APPLICATION_ID",
    "BUSY_MS",
    "CONTENT",
    "check_engine",
    "close_untouched",
    "generation_of",
    "inspect",
    "open_annotator",
    "open_reader",
    "open_writer",
    "restart_change_log",
    "set_generation",
    "store_error",
    "take_step",
    "translated",
    "version_of",
]

APPLICATION_ID: Final = 0x5472616B
"""Marks a SQLite file as ours: "Trak" in its header."""

_OLDEST_SQLITE: Final = (3, 51, 3)
BUSY_MS: Final = 30_000
_PAGE_SIZE: Final = 8192
_HEADER: Final = 100

CONTENT: Final = (
    *("project", "trial_group", "trial", "group_trial", "series", "chunk", "outline", "rejected", "lease"),
    *("blob", "blob_part", "blob_use"),
)
"""The tables of what users have stored; the others say what the store knows of itself and of sessions."""

_MAGIC: Final = b"SQLite format 3\0"

# Memory stays small on purpose: the operating system caches the file, and pages mapped by SQLite
# would count as this process's own.
_SETTINGS: Final = (
    "PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY; PRAGMA foreign_keys=OFF; "
    "PRAGMA fullfsync=ON; PRAGMA checkpoint_fullfsync=ON;"  # of meaning on macOS only
)
_DURABLE: Final = "PRAGMA synchronous=FULL;"
_FLEETING: Final = "PRAGMA synchronous=OFF;"
_WRITER: Final = """
PRAGMA cache_size=-2048;
PRAGMA wal_autocheckpoint=0;
PRAGMA journal_size_limit=33554432;
"""
# SQLite keeps quiet about a checkpoint of its own that fails, so `SqliteStore` makes them.
_READER: Final = "PRAGMA query_only=ON; PRAGMA cache_size=-1024;"

_KNOWN: Final[tuple[tuple[type[apsw.Error], type[StoreError], str], ...]] = (
    (
        apsw.FullError,
        StoreFull,
        "no space is left for {path}: free some on its disk, and writing resumes by itself",
    ),
    (
        apsw.ReadOnlyError,
        StoreReadOnly,
        "{path} cannot be written: give this user access to it and its folder",
    ),
    (apsw.PermissionsError, StoreReadOnly, "{path} cannot be written: give this user access to it"),
    (apsw.NotADBError, StoreCorrupt, "{path} is not a SQLite database: check the path, or restore a backup"),
    (apsw.CorruptError, StoreCorrupt, "{path} is damaged ({error}): restore a backup"),
    (apsw.BusyError, StoreError, "another process has locked {path}: let it finish, then try again"),
    (apsw.CantOpenError, StoreError, "{path} cannot be opened ({error}): check the path and its permissions"),
    (apsw.IOError, StoreFailed, "the disk failed at {path} ({error}): check the disk and the system's log"),
    (apsw.ProtocolError, StoreError, "{path} cannot be locked ({error}): try again"),
    (apsw.NoMemError, StoreError, "no memory is left for {path}: give this process more memory"),
    (
        apsw.InterruptError,
        StoreError,
        "a read of {path} took too long: ask for less, with limit, fields or a narrower filter",
    ),
)


def check_engine() -> None:
    """Refuse a SQLite in which two connections can damage a file.

    Raises:
        StoreError: the SQLite that apsw brought is too old.
    """
    found = apsw.sqlite_lib_version()
    if tuple(map(int, found.split("."))) < _OLDEST_SQLITE:
        needed = ".".join(map(str, _OLDEST_SQLITE))
        raise StoreError(f"SQLite {found} can corrupt a store: install apsw {needed} or newer")


def inspect(path: str) -> None:
    """Check what is at `path` and change nothing; a missing or an empty file is fine.

    Raises:
        StoreCorrupt: it is no database, or a log is there that is not its own.
        StoreTooNew: a newer version of this software wrote it.
        StoreError: it is another program's, or no file.
    """
    logged = log_length(path)
    if Path(path).exists() and not Path(path).is_file():  # opening a pipe would wait for a writer
        raise StoreError(f"{path} is not a file: give the path of a store")
    header = _header(path)
    if not header:
        refuse_strange_log(path, logged, header)
        return
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        raise StoreCorrupt(f"{path} is not a SQLite database: check the path, or restore a backup")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        _refuse_foreign(path)
    else:
        _check_version(path, int.from_bytes(header[60:64], "big"))
        refuse_strange_log(path, logged, header)


def _header(path: str) -> bytes:
    """The first bytes of a file, none if there is none.

    SQLite reads them: opening and closing a database by other means drops the locks that SQLite holds on it
    for the entire process (fcntl(2)), which may have it open already.
    """
    if not os.path.exists(path):
        return b""
    if not os.access(path, os.R_OK, effective_ids=True):
        raise StoreReadOnly(f"{path} cannot be read: give this user access to it")
    with translated(path):
        file = apsw.VFSFile("", path, [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0])
        try:
            return file.xRead(min(_HEADER, file.xFileSize()), 0)
        finally:
            file.xClose()


def _refuse_foreign(path: str) -> None:
    # Immutable: SQLite neither locks nor recovers, so no file appears beside another program's database.
    uri = f"{Path(path).absolute().as_uri()}?immutable=1"
    with translated(path):
        db = apsw.Connection(uri, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        try:
            _check_empty(db, path)
        finally:
            db.close()


def _check_empty(db: apsw.Connection, path: str) -> None:
    if _int(db, "SELECT count(*) FROM sqlite_schema"):
        raise StoreError(f"{path} is the database of another program: choose another path")


def _check_version(path: str, version: int) -> None:
    if version > current_version():
        raise StoreTooNew(
            f"{path} has tables of version {version}, and this Track knows version {current_version()}: "
            "upgrade Track"
        )
    if version < 1:
        raise StoreCorrupt(f"{path} has no tables of Track: restore a backup")


def open_writer(path: str, *, durable: bool = True) -> apsw.Connection:
    """The connection that writes; creates the file and its tables if need be; old tables stay as they are.

    Args:
        path: of the store.
        durable: whether a commit is flushed to the disk before it returns.

    Raises:
        StoreError: as `inspect`, and when the file cannot be written.
    """
    with translated(path):
        create_private(Path(path))
        db = apsw.Connection(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
        try:
            _prepare(db, path, durable)
            _secure_log(db, path)
        except BaseException:
            close_untouched(db)
            raise
    return db


def close_untouched(db: apsw.Connection) -> None:
    """Close a connection, which then leaves the files as they are, even if it is the last one.

    Harmless when repeated.
    """
    with suppress(apsw.ConnectionClosedError):
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        db.close()


def _secure_log(db: apsw.Connection, path: str) -> None:
    """Make sure that the log was read completely, and is on the disk and not only in memory."""
    read = frames_read(db)
    _run(db, "BEGIN IMMEDIATE")  # no other process appends to the log or truncates it
    try:
        check_log(path, db, read)
        rewrite(f"{path}-wal")
    finally:
        _run(db, "ROLLBACK")


def _prepare(db: apsw.Connection, path: str, durable: bool) -> None:
    db.set_busy_timeout(BUSY_MS)
    if db.readonly("main") or not os.access(path, os.W_OK):
        raise StoreReadOnly(f"{path} cannot be written: give this user write access to it and its folder")
    if _int(db, "PRAGMA application_id") != APPLICATION_ID:
        _create(db, path)
    _check_version(path, version_of(db))
    generation_of(db, path)
    _run(db, "PRAGMA journal_mode=WAL;" + _SETTINGS + (_DURABLE if durable else _FLEETING) + _WRITER)
    register_functions(db)


def _create(db: apsw.Connection, path: str) -> None:
    # Before WAL begins, so that the file itself is ours completely or not at all.
    _run(db, f"PRAGMA page_size={_PAGE_SIZE}; PRAGMA auto_vacuum=INCREMENTAL")
    _run(db, "BEGIN IMMEDIATE")
    try:
        # Of two processes that create the same store, the second finds it made.
        if _int(db, "PRAGMA application_id") != APPLICATION_ID:
            _check_empty(db, path)
            for version in range(current_version()):
                take_step(db, version)
            _run(db, f"PRAGMA application_id={APPLICATION_ID}")
            db.execute("INSERT INTO meta VALUES('generation', ?)", (secrets.token_hex(16),))
            restart_change_log(db)
        _run(db, "COMMIT")
    except BaseException:
        if db.in_transaction:  # some failures have ended it already
            _run(db, "ROLLBACK")
        raise


def take_step(db: apsw.Connection, version: int) -> None:
    """Bring the tables from `version` to the next one; to be called within a transaction."""
    for statement in MIGRATIONS[version]:
        _run(db, statement)
    _run(db, f"PRAGMA user_version={version + 1}")


def version_of(db: apsw.Connection) -> int:
    """Of the tables."""
    return _int(db, "PRAGMA user_version")


def generation_of(db: apsw.Connection, path: str) -> str:
    """What identifies the history of the store at `path`.

    Raises:
        StoreCorrupt: the store does not say.
    """
    try:
        found = db.execute("SELECT value FROM meta WHERE key = 'generation'").get
    except apsw.SQLError:
        found = None
    if not isinstance(found, str):
        raise StoreCorrupt(f"{path} lacks tables of Track: restore a backup")
    return found


def set_generation(db: apsw.Connection, generation: str) -> str:
    """Give the history of a store another name; returns it."""
    db.execute("UPDATE meta SET value = ? WHERE key = 'generation'", (generation,))
    restart_change_log(db)
    return generation


def restart_change_log(db: apsw.Connection) -> None:
    """Make readers of the change log read everything again; to be called within a transaction."""
    db.execute("DELETE FROM change_log")
    db.execute("INSERT OR REPLACE INTO meta VALUES('change_log', ?)", (secrets.token_hex(8),))


def open_annotator(path: str) -> apsw.Connection:
    """A connection beside the one that writes, for records that a power cut may take back."""
    with translated(path):
        db = apsw.Connection(path, apsw.SQLITE_OPEN_READWRITE)
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        db.set_busy_timeout(BUSY_MS)
        _run(db, _SETTINGS + _FLEETING + "PRAGMA wal_autocheckpoint=0")
    return db


def open_reader(path: str) -> apsw.Connection:
    """A connection that only reads, for one thread at a time."""
    with translated(path):
        db = apsw.Connection(path, apsw.SQLITE_OPEN_READONLY)
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # it could not write one
        db.set_busy_timeout(BUSY_MS)
        _run(db, _SETTINGS + _READER)
        register_functions(db)
    return db


def _run(db: apsw.Connection, statements: str) -> None:
    db.execute(statements).fetchall()


def _int(db: apsw.Connection, statement: str) -> int:
    return int(db.execute(statement).get)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise SQLite's failures at the store `path` as `StoreError` or one of its kinds."""
    try:
        yield
    except apsw.Error as error:
        raise store_error(path, error) from error


def store_error(path: str, error: apsw.Error) -> Exception:
    """What to raise for a failure of SQLite's at the store `path`: a `StoreError`, or the failure itself."""
    if getattr(error, "extendedresult", None) == apsw.SQLITE_IOERR_SHMSIZE:
        return StoreFull(f"no space is left for {path}-shm: free some on its disk, then open the store again")
    for kind, raised, text in _KNOWN:
        if isinstance(error, kind):
            return raised(text.format(path=path, error=error))
    return error
