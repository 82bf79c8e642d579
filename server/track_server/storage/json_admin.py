"""Checking, backing up and restoring file stores: by their sidecar, which is a SQLite store.

A backup of a file store is a SQLite file.  What is restored may also be a JSON document.
"""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from track_protocol.errors import StoreError
from track_server.storage.admin import Checked
from track_server.storage.json_document import is_as_written, parse_document
from track_server.storage.json_file import FileStore
from track_server.storage.json_writer import Files, Record, checksum_of, write_record
from track_server.storage.sqlite.admin import SqliteAdmin, opened_alone

__all__ = ["FileAdmin"]

_MAGIC: Final = b"SQLite format 3\0"


class FileAdmin(SqliteAdmin):
    """Looks after file stores; see `track_server.storage.admin.StoreAdmin`.

    A path is that of a document, whose sidecar is meant, or of a backup, which is a SQLite file.
    """

    def main(self, path: Path) -> Path:
        """The SQLite file: the sidecar, or the backup itself."""
        return path if _is_sqlite(path) else Files(Path(os.path.realpath(path))).sidecar

    def check(self, path: Path) -> Checked:
        """Read everything and compare it; the store stays in use meanwhile."""
        found = () if _is_sqlite(path) else tuple(_document_findings(path))
        if found and not self.main(path).exists():
            return Checked(findings=found)
        with self._as_sqlite(path) as main:
            seen = super().check(main)
        return replace(seen, findings=(*seen.findings, *found))

    def copy(self, path: Path, target: Path) -> None:
        """Write one committed state of a store to an empty file, a SQLite store, durably."""
        with self._as_sqlite(path) as main:
            super().copy(main, target)

    def renew(self, part: Path, path: Path) -> str:
        """Give what becomes the store at `path` a new generation, durably; returns it.

        The document that is there is noted as one that lacks everything, so that it is written anew.
        """
        generation = super().renew(part, path)
        checksum = checksum_of(path)
        with opened_alone(part) as db:
            write_record(db, Record(1, None if checksum is None else 0, checksum))
        return generation

    def checkpoint(self, path: Path) -> None:
        """Bring the sidecar up to date and leave no log, as far as the store can still be opened.

        The document stays as it is, also beside the new store: a copy of it is left.
        """
        SqliteAdmin().checkpoint(self.main(path))
        if path.exists():
            moment = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            os.link(path, path.with_name(f"{path.name}.replaced-{moment}"))

    def finish(self, path: Path) -> None:
        """Write the document of a store that was restored."""
        FileStore(path, f"file:{path}", exclusive=True).close()

    @contextmanager
    def held(self, path: Path) -> Iterator[None]:
        """Lock every other process out of the store."""
        with super().held(self.main(path)):
            yield

    @contextmanager
    def _as_sqlite(self, path: Path) -> Iterator[Path]:
        """The SQLite file; of a document alone, one that is made for the moment."""
        main = self.main(path)
        if main.exists():
            yield main
            return
        with tempfile.TemporaryDirectory(prefix="track-") as folder:
            copy = Path(folder) / "store.json"
            shutil.copyfile(path, copy)
            with closing(FileStore(copy, f"file:{path}", exclusive=True)):
                pass
            yield Files(copy).sidecar


def _is_sqlite(path: Path) -> bool:
    if not path.is_file():  # opening a pipe would wait for a writer
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _document_findings(path: Path) -> Iterator[str]:
    """Why an edited document cannot be read."""
    if checksum_of(path) is None:
        return
    data = path.read_bytes()
    if is_as_written(data):
        return
    try:
        parse_document(data, str(path))
    except StoreError as error:
        yield str(error)
