"""The file backend: a SQLite store, and a JSON document of all it holds for people to read and to edit.

``file:runs.json`` has its store in the sidecar ``.runs.json.db``.  The document is written when a caller
requires it (`save`, ``commit``) and at the end, by another thread than the one that commits.  What is on the
disk when a store is opened decides which of the two counts:

==================  ======================================  ===============================================
document            sidecar                                 what happens
==================  ======================================  ===============================================
missing             missing                                 a new store
missing             never wrote a document                  the sidecar counts: a crash came first
missing             wrote one                               it was deleted: the sidecar is renamed,
                                                            and a new store begins
as it was written   any                                     the sidecar counts
edited              has nothing that the document lacked    the document is read; sessions stay as they are
edited              has more                                an error, which names both
present             missing                                 the document is read
==================  ======================================  ===============================================

An empty document counts as missing.  All of it happens under a lock, so that of several processes that open
a store at once one decides and the others find it done.
"""

from __future__ import annotations

import datetime
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from track_protocol.errors import StoreError, StoreReadOnly
from track_server.storage.contract import Changes
from track_server.storage.durable_files import locked, store_error, sync_folder
from track_server.storage.json_document import load_document, parse_document
from track_server.storage.json_writer import (
    COUNT_UP,
    DocumentWriter,
    Files,
    Record,
    both_changed,
    checksum_of,
    own_record,
    read_record,
    write_record,
)
from track_server.storage.locks import StoreLock, check_local
from track_server.storage.sqlite.read import SqliteSnapshot
from track_server.storage.sqlite.schema import (
    CONTENT,
    inspect,
    open_reader,
    restart_change_log,
    set_generation,
    translated,
)
from track_server.storage.sqlite.store import SqliteStore
from track_server.storage.sqlite.write import SqliteTransaction
from track_server.storage.transaction_state import Memory
from track_server.storage.unit_of_work import UnitOfWork
from track_server.storage.write_limits import WriteLimits

__all__ = ["FileStore"]

_log = logging.getLogger(__name__)

_SIDECARS: Final = ("", "-wal", "-shm")


class FileStore(SqliteStore):
    """A store in a JSON file.

    Args:
        path: the document; made, if there is none, when the store is saved or closed.
        uri: the URI it was opened with.
        exclusive: lock out every other process, as a server does.
        served_as: address under which others reach this process instead, for their message.

    Raises:
        StoreInUse: another process holds it.
        StoreReadOnly: the file or its folder does not take writes.
        StoreCorrupt: the document or the sidecar is damaged.
        StoreTooNew: it was written by a newer version of this software.
        StoreError: the folder is missing or on a network, the file is something else, or the document was
            edited while the store was open.
    """

    def __init__(
        self, path: str | os.PathLike[str], uri: str, *, exclusive: bool, served_as: str | None = None
    ) -> None:
        self._files = files = Files(Path(os.path.realpath(path)))
        _check_place(files)
        if not files.sidecar.exists():
            _read(files.document)  # before anything is made: what is refused stays as it was
        lock = StoreLock(files.sidecar, exclusive, served_as, named=files.document)
        try:
            with locked(files.lock):
                _rename_orphaned_sidecar(files)
                super().__init__(files.sidecar, uri, exclusive=exclusive, lock=lock)
                try:
                    self._read_document()
                except BaseException:
                    super().abandon()
                    raise
        except BaseException:
            lock.release()
            raise
        found = os.stat(files.sidecar)
        self._writer = DocumentWriter(files, (found.st_dev, found.st_ino))

    def begin(self) -> SqliteTransaction:
        """Start the write transaction.

        Raises:
            StoreError: one is open, another process holds the store's lock, or its files were moved.
        """
        self._writer.check_in_place()
        return self._begin(_CountedTransaction)

    @contextmanager
    def snapshot(self, seconds: float | None = None) -> Iterator[SqliteSnapshot]:
        """A consistent view of what is committed; any thread."""
        self._writer.check_in_place()
        with super().snapshot(seconds) as view:
            yield view

    def save(self, done: Callable[[Exception | None], None]) -> None:
        """Have the document written; `done` is called on another thread, with the error or None."""
        self._writer.submit(done)

    def abandon(self) -> None:
        """Release everything and write nothing more; harmless when repeated."""
        self._stop_writing()
        super().abandon()

    def close(self, *, tidy: bool = True) -> None:
        """Write the document and release everything; harmless when repeated.

        Args:
            tidy: leave the document as it is if False.
        """
        if self._closed or os.getpid() != self._pid:
            super().close()
            return
        try:
            self._stop_writing()
            self._writer.check_in_place()
            if tidy:
                self._writer.write(anew=False)
        except StoreError as error:
            # Everything that was committed is durable without it.
            _log.warning("%s was not written when its store was closed: %s", self._files.document, error)
        finally:
            super().close(tidy=tidy)

    def _stop_writing(self) -> None:
        if os.getpid() == self._pid:
            self._writer.close()

    def _read_document(self) -> None:
        """Load an edited document into the store."""
        document = self._files.document
        with translated(self._path):
            record = read_record(self._db)
        checksum = checksum_of(document)
        if checksum in (None, record.checksum):
            return
        own = own_record(document, self._generation, record, checksum) if record.changes else None
        if own is not None:
            # Otherwise the document could be deleted before the next one is written, without a trace.
            with translated(self._path):
                self._db.execute("BEGIN IMMEDIATE")
                changes = read_record(self._db).changes
                write_record(self._db, replace(own, changes=changes))
                self._db.execute("COMMIT")
            return
        if record.behind:
            raise both_changed(self._files)
        data = document.read_bytes()
        header, content = parse_document(data, str(document))
        is_new = record == Record()
        if not is_new:
            _log.warning("%s was edited: its content replaces that of %s", document, self._path)
        tx = UnitOfWork(super().begin(), Memory(), WriteLimits())
        try:
            with translated(self._path):
                for table in CONTENT:
                    self._db.execute(f"DELETE FROM {table}")  # noqa: S608 # names of our own
            load_document(content, tx, str(document))
            restart_change_log(self._db)
            changes = max(record.changes + 1, header.transaction)
            write_record(self._db, Record(changes, changes, checksum))
            if is_new:
                self._generation = set_generation(self._db, header.generation)
            tx.commit()
        except BaseException:
            tx.rollback()
            raise


class _CountedTransaction(SqliteTransaction):
    """A transaction that makes the document out of date, unless it changes sessions alone.

    Every opening of a store changes a session, and a store that is only read must leave its document alone.
    """

    _is_counted = False

    def flush(self, changes: Changes, *, commit: bool = False) -> None:
        """Write changes, and count the transaction when it ends; see `SqliteTransaction.flush`."""
        self._is_counted = self._is_counted or bool(replace(changes, sessions={}))
        if commit and self._is_counted:
            with translated(self._path):
                self._db.execute(COUNT_UP)
        super().flush(changes, commit=commit)


def _read(document: Path) -> None:
    """Refuse a document that cannot be read."""
    if checksum_of(document) is not None:
        parse_document(document.read_bytes(), str(document))


def _rename_orphaned_sidecar(files: Files) -> None:
    """Rename a sidecar whose document was deleted."""
    parts = [Path(f"{files.sidecar}{end}") for end in _SIDECARS]
    if checksum_of(files.document) is not None:
        return
    if not files.sidecar.exists():
        # A process that was killed in between left these, which have their new names already.
        _unlink(part for part in parts if part.exists() and part.stat().st_nlink > 1)
        return
    inspect(str(files.sidecar))
    with closing(open_reader(str(files.sidecar))) as db, translated(str(files.sidecar)):
        if read_record(db).written is None:
            return
    moment = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = f"{files.sidecar}.deleted-{moment}"
    try:
        parts = [part for part in parts if part.exists()]
        for part in parts:
            os.link(part, f"{aside}{str(part).removeprefix(str(files.sidecar))}")
        sync_folder(files.sidecar.parent)
        _unlink(parts)
        sync_folder(files.sidecar.parent)
    except OSError as error:
        raise store_error(files.sidecar, "renamed", error) from error
    _log.warning(
        "%s was deleted, so a new store begins; the previous content is in %s, which opens as sqlite:%s",
        *(files.document, aside, aside),
    )


def _unlink(parts: Iterable[Path]) -> None:
    for part in parts:
        part.unlink()


def _check_place(files: Files) -> None:
    """Refuse what can be refused without touching anything."""
    path = files.document
    check_local(path)
    if path.exists() and not path.is_file():
        raise StoreError(f"{path} is not a file: choose another name for the store")
    for place in (path.parent, path):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK, effective_ids=True):
            raise StoreReadOnly(
                f"{place} cannot be written: allow this user to write the store and its folder, or choose "
                "another place"
            )
