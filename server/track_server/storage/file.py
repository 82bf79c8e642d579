"""The file backend: a readable JSON document, and a journal of what happened since it was written.

The whole store is in memory.  A commit appends one frame to ``FILE.journal``; `FileStore.save`
writes the document, which then includes everything, and empties the journal.

Without a server several processes may have one file open.  Each transaction holds the journal's
lock, and starts by applying what others have appended, or by reading the document again when they
have rewritten it.  A crash between writing the document and emptying the journal applies nothing
twice, because every transaction has a number.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from track_protocol.errors import StoreError, StoreReadOnly
from track_server.storage.file_changes import RecordingTransaction
from track_server.storage.file_state import FileState, read_document
from track_server.storage.file_upgrade import upgrade
from track_server.storage.file_write import write_durably
from track_server.storage.journal import Journal
from track_server.storage.locks import StoreLock, check_local
from track_server.storage.memory_document import DocumentHeader, document_lines
from track_server.storage.memory_tables import MemoryView

__all__ = ["FileStore"]


class FileStore:
    """A store in a JSON file.

    Args:
        path: the document; made, if there is none.
        uri: the URI it was opened with.
        exclusive: keep every other process out, as a server does.
        served_as: address under which others reach this process instead, for their message.

    Raises:
        StoreInUse: another process holds it.
        StoreReadOnly: the file or its folder does not take writes.
        StoreCorrupt: the document or the journal is damaged.
        StoreFull: it is of an older version, and there is no room to copy it before it is migrated.
        StoreTooNew: it was written by a newer version of this software.
        StoreError: the folder is missing or on a network, or the file is something else.
    """

    def __init__(
        self, path: str | os.PathLike[str], uri: str, *, exclusive: bool, served_as: str | None = None
    ) -> None:
        self._path = Path(os.path.realpath(path))
        self._uri = uri
        self._exclusive = exclusive
        # Guards `_state` and `_transaction`; the journal's lock, which other processes see, is only
        # taken and given up while this one is held.
        self._turn = threading.Lock()
        self._transaction: RecordingTransaction | None = None
        self._held = ExitStack()
        _check_place(self._path)
        # Read before anything is made on the disk, so that what is refused stays as it was.
        seen = read_document(self._path)
        with ExitStack() as opened:
            lock = StoreLock(self._path, exclusive, served_as)
            opened.callback(lock.release)
            self._journal = Journal(self._path.with_name(f"{self._path.name}.journal"))
            opened.callback(self._close_journal)
            with self._alone():
                self._state = FileState(self._path, self._journal, uri, seen)
                upgrade(self._state, self._path)
            self._resources = opened.pop_all()

    @property
    def uri(self) -> str:
        """The URI it was opened with."""
        return self._uri

    @property
    def generation(self) -> str:
        """Identifies the store's history: random at creation, kept for life."""
        return self._state.memory.generation

    def begin(self) -> RecordingTransaction:
        """Start the write transaction, once no other process has one open.

        Raises:
            StoreError: this process has one open, the store is closed, or the disk fails.
        """
        self._check_idle()
        with self._turn, ExitStack() as held:
            held.enter_context(self._alone())
            if not self._exclusive:
                self._state.catch_up()
            self._transaction = self._state.memory.begin_as(
                lambda tables, ended: RecordingTransaction(
                    tables, lambda: self._end(ended), self._state.append
                )
            )
            self._held = held.pop_all()
        return self._transaction

    @contextmanager
    def snapshot(self) -> Iterator[MemoryView]:
        """A consistent view of what is committed, by any process; any thread.

        Raises:
            StoreError: the store is closed, or the disk fails.
        """
        with ExitStack() as reading:
            with self._turn:
                self._catch_up_to_read()
                view = reading.enter_context(self._state.memory.snapshot())
            yield view

    def maintain(self, seconds: float) -> bool:
        """Write the document when the journal has grown long; then merge small chunks in memory."""
        if self._transaction is not None:
            return False
        if self._state.overgrown:
            self.save()
        with self._turn:
            return self._state.memory.maintain(seconds)

    def save(self, path: str | None = None) -> None:
        """Write the document, or a copy of the store to `path`, which is a store of its own then.

        Raises:
            StoreReadOnly: the place does not take writes.
            StoreError: a transaction is open, the store is closed, or the disk fails.
        """
        if path is not None and os.path.realpath(path) != str(self._path):
            self._save_copy(path)
            return
        self._check_idle()
        with self._turn, self._alone():
            if not self._exclusive:
                self._state.catch_up()
            if not self._state.saved:
                self._state.save()

    def reopen(self) -> None:
        """Open the store again from what is on the disk; reads go on with what was committed meanwhile.

        Raises:
            StoreError: not yet; it may be tried again.
        """
        self._check_idle()
        with self._turn:
            self._journal.check_in_place()
            if not self._path.exists():
                raise StoreError(f"{self._path} was deleted while it was open: put it back")
            journal = Journal(self._journal.path)
            try:
                with nullcontext() if self._exclusive else journal.locked():
                    state = FileState(self._path, journal, self._uri, None)
                if state.memory.generation != self.generation:
                    raise StoreError(f"{self._path} is another store than before: restart its users")
            except BaseException:
                journal.close()
                raise
            self._journal.close()
            self._journal, self._state = journal, state

    def abandon(self) -> None:
        """Release everything and write nothing more; harmless when repeated."""
        self._resources.close()

    def close(self) -> None:
        """Save and release everything; harmless when repeated."""
        if self._journal.closed:
            return
        with self._resources:
            if self._transaction is not None:
                self._transaction.rollback()
            self.save()

    def _close_journal(self) -> None:
        self._journal.close()

    def _save_copy(self, path: str) -> None:
        with ExitStack() as reading:
            with self._turn:
                self._catch_up_to_read()
                view = reading.enter_context(self._state.memory.snapshot())
                header = DocumentHeader(self.generation, self._state.number)
            write_durably(path, document_lines(view, header))

    def _catch_up_to_read(self) -> None:
        self._check_open()
        # While a transaction of this process is open no other one can commit.
        if not self._exclusive and self._transaction is None and self._state.is_behind():
            with self._alone():
                self._state.catch_up()

    def _alone(self) -> AbstractContextManager[None]:
        """No other process changes anything meanwhile."""
        return nullcontext() if self._exclusive else self._journal.locked()

    def _end(self, ended: Callable[[], None]) -> None:
        with self._turn, self._held:
            ended()
            self._transaction = None

    def _check_idle(self) -> None:
        self._check_open()
        if self._transaction is not None:
            raise StoreError("a transaction is open: commit it or roll it back first")

    def _check_open(self) -> None:
        if self._journal.closed:
            raise StoreError(
                f"{self._path} is closed, or was opened before this process was forked: open it again"
            )


def _check_place(path: Path) -> None:
    """Refuse what can be refused without touching anything."""
    check_local(path)
    if path.exists() and not path.is_file():
        raise StoreError(f"{path} is not a file: choose another name for the store")
    for place in (path.parent, path):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK, effective_ids=True):
            raise StoreReadOnly(
                f"{place} cannot be written: allow this user to write the store and its folder, or choose "
                "another place"
            )
