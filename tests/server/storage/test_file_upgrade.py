"""Old file stores are copied, then written anew."""

from __future__ import annotations

import json
import logging
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from old_stores import ASSETS, check_holds_everything, old_json
from track_protocol.errors import StoreTooNew
from track_server.storage.file import FileStore
from track_server.storage.file_keeper import FileKeeper
from track_server.storage.journal import JOURNAL_VERSION, Journal
from track_server.storage.memory_document import VERSION
from track_server.testing.store_rejected import rejected

SECONDS = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return old_json(tmp_path / "runs.json")


def opened(path: Path, exclusive: bool = False) -> FileStore:
    return FileStore(path, f"file:{path}", exclusive=exclusive)


def versions(path: Path) -> tuple[int, int]:
    """Of the document and of the journal."""
    journal = path.with_name(f"{path.name}.journal").read_bytes()
    return json.loads(path.read_text())["version"], journal[7]


def copies(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.v*.bak"))


@pytest.mark.parametrize("exclusive", [True, False])
def test_an_old_store_is_migrated_when_it_is_opened(path: Path, exclusive: bool) -> None:
    assert versions(path) == (1, 1)
    store = opened(path, exclusive)
    check_holds_everything(store)
    assert versions(path) == (VERSION, JOURNAL_VERSION)
    tx = store.begin()
    tx.put_rejected(rejected())
    tx.commit()
    assert FileKeeper().check(path).rejected == 1
    store.close()
    assert FileKeeper().check(path).rejected == 1


def test_a_store_of_the_second_version_is_copied_and_migrated(tmp_path: Path) -> None:
    path = old_json(tmp_path / "second.json", 2)
    assert versions(path) == (2, 2)
    store = opened(path)
    check_holds_everything(store, 2)
    tx = store.begin()
    tx.add_blob_data("ab" * 32, 3, b"ab", 100.0)
    tx.commit()
    store.close()
    (copy,) = copies(path)
    found = json.loads(copy.read_text())
    assert (found["version"], len(found["rejected"]), "blobs" in found) == (2, 1, False)
    assert versions(path) == (VERSION, JOURNAL_VERSION)
    assert FileKeeper().check(path).findings == FileKeeper().check(copy).findings == ()


def test_before_that_it_is_copied_with_its_journal_and_in_its_version(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        opened(path).close()
    (copy,) = copies(path)
    found = json.loads(copy.read_text())
    assert (found["version"], "rejected" in found) == (1, False)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert str(copy) in caplog.text
    store = opened(copy)
    check_holds_everything(store)
    store.close()


def test_a_copy_of_a_document_is_what_the_older_software_wrote(path: Path) -> None:
    store = opened(path)
    store.close()
    old, copy = json.loads((ASSETS / "v1.json").read_text()), json.loads(copies(path)[0].read_text())
    assert copy.keys() == old.keys()
    assert copy["trials"] == old["trials"]


def test_a_store_of_this_version_is_not_copied(path: Path) -> None:
    for _ in range(3):
        opened(path).close()
    assert len(copies(path)) == 1


def test_an_old_store_can_be_checked_without_being_migrated(path: Path) -> None:
    seen = FileKeeper().check(path)
    assert (seen.findings, seen.trials, seen.rejected, versions(path)) == ((), 3, 0, (1, 1))


def test_an_old_journal_beside_a_new_document_is_renewed(path: Path) -> None:
    journal = path.with_name(f"{path.name}.journal")
    old = journal.read_bytes()
    opened(path).close()
    journal.write_bytes(old)
    store = opened(path)
    assert versions(path) == (VERSION, JOURNAL_VERSION)
    check_holds_everything(store)
    store.close()
    assert len(copies(path)) == 1


def test_a_journal_of_the_next_version_is_refused(path: Path) -> None:
    opened(path).close()
    journal = path.with_name(f"{path.name}.journal")
    data = bytearray(journal.read_bytes())
    data[7] = JOURNAL_VERSION + 1
    journal.write_bytes(data)
    with pytest.raises(StoreTooNew):
        Journal(journal).header()


KILLS = {
    "before the copy": "file_upgrade.copied_before_migration = die",
    "with the copy made": "file_state.FileState.save = die",
    "between document and journal": "file_state.FileState._restart_journal = die",
}


@pytest.mark.parametrize("patch", KILLS.values(), ids=KILLS)
def test_a_kill_leaves_one_version_whole(path: Path, patch: str) -> None:
    program = f"""
import os, signal
from track_server.storage import file_state, file_upgrade
from track_server.storage.file import FileStore
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
{patch}
FileStore({str(path)!r}, "file:", exclusive=False)
"""
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=SECONDS)
    assert killed.returncode == -signal.SIGKILL
    assert FileKeeper().check(path).findings == ()
    store = opened(path)
    check_holds_everything(store)
    store.close()
    assert versions(path) == (VERSION, JOURNAL_VERSION)


def test_several_processes_that_open_an_old_store_at_once_migrate_it_once(path: Path) -> None:
    opening = f"FileStore({str(path)!r}, 'file:', exclusive=False)"
    program = f"from track_server.storage.file import FileStore; {opening}"
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [process.wait(SECONDS) for process in processes] == [0, 0, 0]
    assert len(copies(path)) == 1
    store = opened(path)
    check_holds_everything(store)
    store.close()
