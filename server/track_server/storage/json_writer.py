"""The JSON document beside its sidecar: which state of the store it holds, and writing it in the background.

The sidecar records the document that was written or read last: by which number of transactions, and by the
SHA-256 of its bytes.  This record is written after the document is in its place, through a connection that
does not flush: if a power cut takes the record back, the document's own checksum, generation and number still
prove that it is the store's.  And what is never flushed cannot fail to flush unseen by the connection that
commits.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from track_protocol.errors import StoreCorrupt, StoreError
from track_protocol.locations import sidecar_of
from track_server.storage.durable_files import locked, replace_file, store_error
from track_server.storage.json_document import DocumentHeader, document_lines, is_as_written, parse_document
from track_server.storage.sqlite.read import SqliteSource
from track_server.storage.sqlite.schema import generation_of, open_annotator, open_reader, translated
from track_server.storage.sqlite.whole import SqliteWholeView

__all__ = [
    "COUNT_UP",
    "DocumentWriter",
    "Files",
    "Record",
    "both_changed",
    "checksum_of",
    "own_record",
    "read_record",
    "write_record",
]

_log = logging.getLogger(__name__)

_KEY: Final = "document"
_COUNT: Final = "transaction"
_READ: Final = "SELECT (SELECT value FROM meta WHERE key = ?), (SELECT value FROM meta WHERE key = ?)"
_WRITE: Final = "INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)"
COUNT_UP: Final = f"""
INSERT INTO meta(key, value) VALUES('{_COUNT}', 1) ON CONFLICT(key) DO UPDATE SET value = value + 1
"""
"""Counts a transaction that the document does not hold yet, within it."""

Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a file store.

    Attributes:
        document: the JSON document.
    """

    document: Path

    @property
    def sidecar(self) -> Path:
        """The SQLite store, which is the store."""
        return sidecar_of(self.document)

    @property
    def lock(self) -> Path:
        """Held while the document and the sidecar are compared, or the document is replaced."""
        return self.document.with_name(f".{self.document.name}.lock")

    @property
    def unfinished(self) -> Path:
        """The document while it is being written."""
        return self.document.with_name(f".{self.document.name}.tmp")


@dataclass(frozen=True, slots=True)
class Record:
    """What the sidecar knows of the document.

    Attributes:
        changes: transactions so far that changed what the document shows.
        written: how many of them the document includes that was written or read last; None if there was none.
        checksum: of that document.
    """

    changes: int = 0
    written: int | None = None
    checksum: str | None = None

    @property
    def behind(self) -> bool:
        """Whether the store has transactions that the document lacks."""
        return self.changes > (self.written or 0)


def read_record(db: apsw.Connection) -> Record:
    """The sidecar's record of the document; within a transaction, as of that."""
    document, changes = db.execute(_READ, (_KEY, _COUNT)).fetchall()[0]
    written, checksum = (None, None) if document is None else json.loads(str(document))
    return Record(int(str(changes or 0)), written, checksum)


def write_record(db: apsw.Connection, record: Record) -> None:
    """Record a document in the sidecar, and count its transactions from there."""
    db.execute(_WRITE, (_KEY, json.dumps([record.written, record.checksum])))
    db.execute(_WRITE, (_COUNT, record.changes))


def checksum_of(path: Path) -> str | None:
    """SHA-256 of a file in hexadecimal digits; None if it is missing or empty.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return None
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise store_error(path, "read", error) from error


class DocumentWriter:
    """Writes the document of one open file store, on a thread of its own, once for all callers that wait.

    Args:
        files: of the store.
        opened: device and inode of the sidecar, which a file put in its place does not have.
    """

    def __init__(self, files: Files, opened: tuple[int, int]) -> None:
        self._files = files
        self._opened = opened
        self._condition = threading.Condition()
        self._waiting: list[Callable[[Exception | None], None]] = []
        self._closing = False
        self._known: tuple[Signature | None, str | None] = (None, None)
        self._thread = threading.Thread(target=self._run, name="track-document", daemon=True)
        self._thread.start()

    def submit(self, done: Callable[[Exception | None], None]) -> None:
        """Have the document written; `done` is called on the writer's thread, with what went wrong."""
        with self._condition:
            self._waiting.append(done)
            self._condition.notify()

    def close(self) -> None:
        """Finish pending writes; harmless when repeated."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()

    def write(self, *, anew: bool = True) -> None:
        """Write the document, unless it holds everything.

        Args:
            anew: also if it was deleted.

        Raises:
            StoreError: it cannot be written, or it was edited.
        """
        with locked(self._files.lock):
            self.check_in_place()
            with closing(open_reader(str(self._files.sidecar))) as db, translated(str(self._files.sidecar)):
                db.execute("BEGIN")
                found = self._written(db, anew)
            if found is not None:
                self._note(found)

    def check_in_place(self) -> None:
        """Refuse to continue with a sidecar that is not the one that was opened.

        Raises:
            StoreError: it was moved or deleted, or its document was.
        """
        with suppress(FileNotFoundError):
            found = os.stat(self._files.sidecar)
            if (found.st_dev, found.st_ino) == self._opened:
                return
        raise StoreError(
            f"{self._files.document} was moved or deleted while it was open: open it again, or put its files "
            "back"
        )

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._closing)
                waiting, self._waiting = self._waiting, []
            if not waiting:
                return
            error: Exception | None = None
            try:
                self.write()
            except Exception as raised:  # noqa: BLE001 - the callers get it, whatever it is
                error = raised
            for done in waiting:
                done(error)

    def _written(self, db: apsw.Connection, anew: bool) -> Record | None:
        """Write the document; the record of it for the sidecar."""
        record, signature = read_record(db), self._signature()
        there = self._checksum(signature)
        if there is None and record.written is not None and not anew:
            _log.warning(
                "%s was deleted while it was open and is not written again; its content is still in %s, "
                "until the store is opened again and begins empty",
                *(self._files.document, self._files.sidecar),
            )
            return None
        generation = generation_of(db, str(self._files.sidecar))
        if there is not None and there != record.checksum:
            if own_record(self._files.document, generation, record, there) is None:
                raise both_changed(self._files)
        elif there is not None and not record.behind:
            return None
        digest = hashlib.sha256()
        lines = document_lines(
            SqliteWholeView(SqliteSource(db, str(self._files.sidecar))),
            DocumentHeader(generation, record.changes),
        )

        def pieces() -> Iterator[bytes]:
            for piece in map(str.encode, lines):
                digest.update(piece)
                yield piece
            if self._signature() != signature:
                raise both_changed(self._files)

        replace_file(self._files.document, pieces(), mode=None, unfinished=self._files.unfinished)
        self._known = self._signature(), digest.hexdigest()
        return Record(record.changes, record.changes, digest.hexdigest())

    def _note(self, record: Record) -> None:
        path = str(self._files.sidecar)
        with closing(open_annotator(path)) as db, translated(path):
            db.execute("BEGIN IMMEDIATE")
            write_record(db, Record(read_record(db).changes, record.written, record.checksum))
            db.execute("COMMIT")

    def _checksum(self, signature: Signature | None) -> str | None:
        if signature is None or self._known[0] != signature:
            self._known = signature, checksum_of(self._files.document)
        return self._known[1]

    def _signature(self) -> Signature | None:
        try:
            found = os.stat(self._files.document)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def own_record(document: Path, generation: str, record: Record, checksum: str) -> Record | None:
    """The record of a document that was written just before a crash, which came before it was recorded.

    Args:
        document: which the sidecar does not know.
        generation: of the store.
        record: what the sidecar knows.
        checksum: of the document.

    Returns:
        None if another program wrote or edited the document.
    """
    data = document.read_bytes()
    if not is_as_written(data):
        return None
    try:
        header, _ = parse_document(data, str(document))
    except (StoreCorrupt, StoreError):
        return None
    if header.generation != generation or not (record.written or 0) < header.transaction <= record.changes:
        return None
    return Record(record.changes, header.transaction, checksum)


def both_changed(files: Files) -> StoreError:
    """What to raise when both the document and the sidecar have changed."""
    return StoreError(
        f"{files.document} was edited, and {files.sidecar} has stored more since it was written: to keep the "
        f"edited document, move {files.sidecar}* to another folder; to keep what was stored, run "
        f"'track restore {files.sidecar} file:{files.document}'"
    )
