"""Reading and copying the files of file stores, of any version, beside whoever uses them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from track_protocol.errors import ItemNotFound, StoreCorrupt, StoreError
from track_protocol.query.parse import parse_query
from track_server.storage.admin import Checked
from track_server.storage.blob_check import fault_of, missing_in
from track_server.storage.contract import Document
from track_server.storage.file_changes import replay
from track_server.storage.file_state import ReadDocument, read_document
from track_server.storage.file_write import write_durably
from track_server.storage.journal import Frame, Header, Journal
from track_server.storage.memory import MemoryStore
from track_server.storage.memory_document import DocumentHeader, document_lines, load_document
from track_server.storage.memory_tables import MemoryView

__all__ = ["FileCopier", "read_whole", "write_copy"]

_TRIES: Final = 20


class FileCopier:
    """Checks and copies file stores; see `track_server.storage.admin.Copier`."""

    def check(self, path: Path) -> Checked:
        """Read everything and compare it; whoever uses the store goes on with it meanwhile."""
        memory, _ = read_whole(path)
        with memory.snapshot() as view:
            trials = view.trials(parse_query({}))
            counts = [
                series["count"] for trial in trials
                for kind in (trial["metrics"], trial["chronos"], *trial["media"].values())
                for series in kind.values()
            ]  # fmt: skip
            findings = (*_dangling(view), *_blob_findings(view, trials))
            rejected = sum(record.records for record in view.rejected(None, 0, sys.maxsize))
        return Checked(memory.generation, len(trials), len(counts), sum(counts), findings, rejected)

    def copy(self, path: Path, target: Path) -> None:
        """Write one committed state of a store, journal included, as one document of its version, durably."""
        memory, header = read_whole(path)
        write_copy(memory, header, target)


def write_copy(memory: MemoryStore, header: DocumentHeader, target: Path) -> None:
    """Write all that a memory holds as one document, durably."""
    with memory.snapshot() as view:
        write_durably(target, document_lines(view, header))


def read_whole(path: Path) -> tuple[MemoryStore, DocumentHeader]:
    """A committed state of a store that others may be writing to, and the header of a document of it."""
    seen, header, frames = _stable(path)
    memory = MemoryStore(f"file:{path}", generation=seen.header.generation)
    tx = memory.begin()
    load_document(seen.document, tx, str(path))
    tx.commit()
    number = seen.header.transaction
    if (
        frames
        and header is not None
        and (header.generation, header.base <= number)
        != (
            memory.generation,
            True,
        )
    ):
        raise StoreCorrupt(
            f"{path}.journal continues another document than {path}: restore both from one copy"
        )
    tx = memory.begin()
    number = replay(frames, tx, number, path)
    tx.commit()
    return memory, replace(seen.header, transaction=number)


def _stable(path: Path) -> tuple[ReadDocument, Header | None, list[Frame]]:
    """Document and journal as they belong together, read while neither was rewritten.

    The journal is read first: a document that is newer has all that was in it.
    """
    journal_path = path.with_name(f"{path.name}.journal")
    for _ in range(_TRIES):
        if not journal_path.exists():
            document = read_document(path)
            if journal_path.exists():
                continue
            return _there(document, path), None, []
        journal = Journal(journal_path, read_only=True)
        try:
            header = journal.header()
        except StoreCorrupt:
            journal.close()
            raise
        try:
            frames = list(journal.frames(Journal.start))
            document = read_document(path)
            if journal.header() == header:
                return _there(document, path), header, frames
        except StoreCorrupt:
            if journal.header() == header:
                raise
        finally:
            journal.close()
    raise StoreError(f"{path} is rewritten all the time: try again")


def _there(document: ReadDocument | None, path: Path) -> ReadDocument:
    if document is None:
        raise ItemNotFound(f"there is no store {path} yet: its file is missing or empty")
    return document


def _blob_findings(view: MemoryView, trials: list[Document]) -> Iterator[str]:
    for blob in view.blobs():
        if found := fault_of(view, blob):
            yield found
    for trial in trials:
        for kind, names in trial["media"].items():
            for name, known in names.items():
                points = view.points(trial["id"], kind, name, 0, known["count"])
                assert points is not None
                yield from (
                    f"trial {trial['uid']}, {kind} {name!r}: {each}"
                    for each in missing_in(points.values, view)
                )


def _dangling(view: MemoryView) -> Iterator[str]:
    projects = {project["uid"] for project in view.projects(parse_query({}, "project"))}
    groups = view.groups(parse_query({}, "group"))
    uids = {group["uid"] for group in groups}
    for kind, documents in (("group", groups), ("trial", view.trials(parse_query({})))):
        for document in documents:
            if document["project_id"] not in {None, *projects}:
                yield f"{kind} {document['uid']} names a project that is not there"
            if kind == "trial" and document["group_id"] not in {None, *uids}:
                yield f"trial {document['uid']} names a group that is not there"
