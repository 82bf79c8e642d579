"""What this process knows of a file store, and how it gets to know the rest.

A transaction's number says what has been seen: the document includes all up to one number, the
journal continues from one number on, and what is in memory ends with one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from track_protocol.errors import StoreCorrupt, StoreError
from track_server.storage.contract import Document
from track_server.storage.file_changes import replay
from track_server.storage.file_write import store_error, write_durably
from track_server.storage.journal import JOURNAL_VERSION, Frame, Header, Journal
from track_server.storage.memory import MemoryStore
from track_server.storage.memory_document import (
    VERSION,
    DocumentHeader,
    document_lines,
    load_document,
    parse_document,
)

__all__ = ["FileState", "ReadDocument", "read_document"]

_LEAST_REWRITE: Final = 16 * 2**20
_REWRITE_RATIO: Final = 4

Signature = tuple[int, int, int]


class ReadDocument:
    """A document as it was found.

    Attributes:
        signature: tells this version of the file from any other.
        header: what the document says of itself.
        document: the rest.
        size: of the file in bytes.
    """

    __slots__ = ("document", "header", "signature", "size")

    def __init__(self, signature: Signature, size: int, header: DocumentHeader, document: Document) -> None:
        self.signature = signature
        self.size = size
        self.header = header
        self.document = document


def _signature(path: Path) -> Signature | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def read_document(path: Path) -> ReadDocument | None:
    """The document at `path`; None when there is none, or an empty file.

    Raises:
        StoreCorrupt, StoreTooNew, StoreError: it is there and cannot be used.
    """
    signature = _signature(path)
    if signature is None:
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise store_error(path, "read", error) from error
    return ReadDocument(signature, len(data), *parse_document(data, str(path))) if data else None


class FileState:
    """The store as this process has seen it.

    Hold the journal's lock (or have the store alone) around everything but `is_behind`.

    Args:
        path: the document.
        journal: the open journal.
        uri: the URI the store was opened with.
        seen: the document, if it was read before the lock was held.
    """

    def __init__(self, path: Path, journal: Journal, uri: str, seen: ReadDocument | None) -> None:
        self._path = path
        self._journal = journal
        self._uri = uri
        self._number = 0
        self._base = 0
        self._end = Journal.start
        self._document_size = 0
        self._version = VERSION
        self._old_journal = False
        self.memory = MemoryStore(uri)
        if seen is None or seen.signature != _signature(path):
            seen = read_document(path)
        if seen is not None:
            self._take(seen)
        self._adopt_journal()
        if seen is None:
            self._write_document()
        self._replay()
        journal.secure()

    @property
    def number(self) -> int:
        """The last transaction that is in `memory`."""
        return self._number

    @property
    def saved(self) -> bool:
        """Whether the document has everything."""
        return self._end == Journal.start

    @property
    def overgrown(self) -> bool:
        """Whether the journal is so much larger than the document that rewriting that pays."""
        return self._end > max(_LEAST_REWRITE, _REWRITE_RATIO * self._document_size)

    @property
    def version(self) -> int:
        """Of the document, as it was read last."""
        return self._version

    @property
    def outdated(self) -> bool:
        """Whether the document or the journal is of an older version."""
        return self._version < VERSION or self._old_journal

    def is_behind(self) -> bool:
        """Whether another process may have changed something that is not in `memory`."""
        try:
            header = self._journal.header()
        except StoreError:
            # Possibly being rewritten right now: with the lock held it is whole.
            return True
        return header is None or header.base != self._base or self._journal.size != self._end

    def catch_up(self) -> None:
        """Bring into `memory` what other processes have committed.

        Raises:
            StoreCorrupt: what they have written cannot be read.
            StoreError: the journal is not where it was.
        """
        self._journal.check_in_place()
        header = self._journal.header()
        if header is None or header.base > self._number:
            seen = read_document(self._path)
            if seen is None:
                raise StoreError(f"{self._path} was deleted while it was open: put it back, or open it again")
            self._take(seen)
            self._adopt_journal()
        elif header.base != self._base:
            self._base, self._end = header.base, Journal.start
        self._replay()

    def append(self, payload: bytes) -> None:
        """Write a transaction to the journal, durably.

        Raises:
            StoreError: the disk refuses; nothing is changed.
        """
        self._end = self._journal.append(self._end, self._number + 1, payload)
        self._number += 1

    def save(self) -> None:
        """Write the document and empty the journal.

        Raises:
            StoreError: the disk refuses; nothing is lost.
        """
        self._journal.check_in_place()
        self._write_document()
        self._restart_journal()

    def _take(self, seen: ReadDocument) -> None:
        memory = MemoryStore(self._uri, generation=seen.header.generation)
        tx = memory.begin()
        load_document(seen.document, tx, str(self._path))
        tx.commit()
        self.memory, self._number, self._document_size = memory, seen.header.transaction, seen.size
        self._version = seen.header.version

    def _adopt_journal(self) -> None:
        """Start to follow the journal as it is, or a new one when there is nothing in it."""
        header = self._journal.header()
        if header is None or header.generation != self.memory.generation or header.base > self._number:
            if header is not None and next(self._journal.frames(Journal.start), None) is not None:
                raise StoreCorrupt(
                    f"{self._journal.path} continues another document than {self._path}: put its own "
                    "document back, or move the journal away if what it holds is not wanted"
                )
            self._restart_journal()
        else:
            self._base, self._end = header.base, Journal.start
            self._old_journal = header.version < JOURNAL_VERSION

    def _restart_journal(self) -> None:
        self._journal.restart(Header(self.memory.generation, self._number))
        self._base, self._end = self._number, Journal.start
        self._old_journal = False

    def _replay(self) -> None:
        ends: list[int] = [self._end]
        tx = self.memory.begin()
        try:
            number = replay(self._unread(ends), tx, self._number, self._path)
        except BaseException:
            tx.rollback()
            raise
        tx.commit()
        self._number, self._end = number, ends[-1]

    def _unread(self, ends: list[int]) -> Iterator[Frame]:
        """What the journal has behind what was read; notes the end of each."""
        for frame in self._journal.frames(self._end):
            yield frame
            ends[:] = [frame.end]

    def _write_document(self) -> None:
        header = DocumentHeader(self.memory.generation, self._number)
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        with self.memory.snapshot() as view:
            self._document_size = write_durably(self._path, document_lines(view, header), temporary)
        self._version = header.version
