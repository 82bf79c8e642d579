"""What the file backend promises beyond the contract: its files, crashes, and several processes."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from track_protocol.errors import BadValue, StoreCorrupt, StoreError, StoreInUse, StoreReadOnly, StoreTooNew
from track_protocol.wire.columns import Column, pack
from track_server.storage.contract import Points
from track_server.storage.file import FileStore
from track_server.storage.memory_document import VERSION

ID = b"i" * 16
TRIAL: dict[str, Any] = {
    "id": ID,
    "uid": "h_0",
    "hash": "h",
    "revision": 0,
    "name": "t",
    "metadata": {"n": 0},
    "project_id": None,
    "status": {"value": 302, "name": "Completed"},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.json"


def opened(path: Path, *, exclusive: bool = False) -> FileStore:
    return FileStore(path, f"file:{path}", exclusive=exclusive)


def make(path: Path) -> FileStore:
    """A store with a trial, its counter at 0."""
    store = opened(path)
    tx = store.begin()
    tx.add_trial(TRIAL)
    tx.commit()
    return store


def count_up(store: FileStore) -> int:
    """Add one to the trial's counter."""
    tx = store.begin()
    trial = tx.trial(ID)
    assert trial is not None
    counter: int = trial["metadata"]["n"] + 1
    tx.update_trial(ID, {"metadata": {"n": counter}})
    tx.commit()
    return counter


def counter(store: FileStore) -> int:
    with store.snapshot() as view:
        trial = view.trial(ID)
    assert trial is not None
    found: int = trial["metadata"]["n"]
    return found


def journal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.journal")


def files(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


# -- the document --------------------------------------------------------------------------------


def test_the_document_is_there_from_the_start(path: Path) -> None:
    opened(path).close()
    document = json.loads(path.read_text())
    assert (document["format"], document["version"], document["trials"]) == ("track", VERSION, [])


def test_a_saved_document_shows_a_person_what_was_logged(path: Path) -> None:
    store = opened(path)
    tx = store.begin()
    tx.put_project({"uid": "p", "name": "digits", "description": None, "metadata": {}})
    tx.put_group({"uid": "g", "name": "sweep", "description": None, "metadata": {}, "project_id": "p"})
    tx.add_trial({**TRIAL, "project_id": "p"})
    tx.link("g", ID)
    values = Points(pack([0, 1]), pack([100.0, 101.0]), pack([0.5, 0.25]))
    tx.append_points(ID, "metric", "loss", None, values)
    unstepped = Points(pack([None]), pack([102.0]), pack([7.5]))
    tx.append_points(ID, "chrono", "epoch", None, unstepped)
    tx.commit()
    store.save()
    document = json.loads(path.read_text())
    assert document["projects"][0]["groups"] == ["g"]
    assert document["projects"][0]["trials"] == ["h_0"]
    assert document["groups"][0]["trials"] == ["h_0"]
    (trial,) = document["trials"]
    assert (trial["id"], trial["uid"], trial["hash"], trial["status"]) == (
        ID.hex(),
        "h_0",
        "h",
        {"value": 302, "name": "Completed"},
    )
    assert trial["metrics"] == {
        "loss": {"aggregator": None, "steps": [0, 1], "times": [100.0, 101.0], "values": [0.5, 0.25]}
    }
    assert trial["chronos"]["epoch"]["steps"] is None
    assert '\n      "name": "t",\n' in path.read_text()
    assert '\n          "values": [0.5,0.25]\n' in path.read_text()
    store.close()


def test_logging_does_not_touch_the_document_and_saving_empties_the_journal(path: Path) -> None:
    store = make(path)
    store.save()
    before, empty = path.read_bytes(), journal_of(path).stat().st_size
    count_up(store)
    assert path.read_bytes() == before
    assert journal_of(path).stat().st_size > empty
    store.save()
    assert json.loads(path.read_text())["trials"][0]["metadata"] == {"n": 1}
    assert journal_of(path).stat().st_size == empty
    store.close()


def test_closing_saves(path: Path) -> None:
    make(path).close()
    assert json.loads(path.read_text())["trials"][0]["uid"] == "h_0"


def test_a_store_that_was_only_read_is_not_written(path: Path) -> None:
    make(path).close()
    before = path.stat()
    store = opened(path)
    counter(store)
    store.save()
    store.close()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_journal_grows_with_what_is_logged_and_not_with_what_is_stored(path: Path) -> None:
    store = make(path)
    sizes = []
    for _ in range(200):
        before = journal_of(path).stat().st_size
        count_up(store)
        sizes.append(journal_of(path).stat().st_size - before)
    assert max(sizes) <= 100
    store.close()


def test_maintenance_rewrites_the_document_when_the_journal_has_outgrown_it(path: Path) -> None:
    store = make(path)
    count = 100_000
    numbers = pack([float(i) for i in range(count)])
    for _ in range(8):
        tx = store.begin()
        tx.append_points(ID, "metric", "loss", None, Points(numbers, numbers, numbers))
        tx.rollback()
    store.maintain(0.01)
    assert journal_of(path).stat().st_size < 1000
    for _ in range(8):
        tx = store.begin()
        tx.append_points(ID, "metric", "loss", None, Points(pack([None] * count), numbers, numbers))
        tx.commit()
    store.maintain(0.01)
    assert journal_of(path).stat().st_size > 2**20
    for _ in range(3):
        tx = store.begin()
        tx.append_points(ID, "metric", "loss", None, Points(pack([None] * count), numbers, numbers))
        tx.commit()
    store.maintain(0.01)
    assert journal_of(path).stat().st_size < 1000
    assert len(json.loads(path.read_text())["trials"][0]["metrics"]["loss"]["values"]) == 11 * count
    store.close()


def test_the_permissions_of_the_document_stay(path: Path) -> None:
    make(path).close()
    path.chmod(0o640)
    store = opened(path)
    count_up(store)
    store.close()
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_laid_beside_the_document_overwrites_nothing(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.with_name(f".{path.name}.tmp").symlink_to(victim)
    FileStore(path, f"file:{path}", exclusive=True).close()
    assert victim.read_text() == "precious"
    assert json.loads(path.read_text())["format"] == "track"


def test_a_link_to_the_document_stays_a_link(path: Path, tmp_path: Path) -> None:
    make(path).close()
    link = tmp_path / "link.json"
    link.symlink_to(path)
    store = opened(link)
    count_up(store)
    store.close()
    assert link.is_symlink()
    assert json.loads(path.read_text())["trials"][0]["metadata"] == {"n": 1}


# -- durability: the order in which the system is asked to do things -----------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the system was asked to do to files, in order; it is really done."""
    calls: list[str] = []

    def record(name: str) -> None:
        function = getattr(os, name)

        def recorded(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            return function(*arguments, **options)

        monkeypatch.setattr(os, name, recorded)

    for name in ("pwrite", "fsync", "fdatasync", "replace", "ftruncate"):
        record(name)
    return calls


def test_a_commit_is_flushed_before_it_returns(path: Path, asked: list[str]) -> None:
    store = make(path)
    asked.clear()
    count_up(store)
    assert asked == ["pwrite", "fdatasync"]
    store.close()


def test_a_commit_that_changes_nothing_writes_nothing(path: Path, asked: list[str]) -> None:
    store = make(path)
    asked.clear()
    store.begin().commit()
    assert asked == []
    store.close()


def test_the_journal_is_emptied_only_once_the_document_is_safe(path: Path, asked: list[str]) -> None:
    store = make(path)
    asked.clear()
    store.save()
    document = ["fsync", "replace", "fsync"]
    header = ["pwrite", "fsync"]
    assert asked == [*document, *header, "ftruncate", "fsync", "fsync"]
    store.close()


def test_a_change_that_cannot_be_written_down_changes_nothing(path: Path) -> None:
    store = make(path)
    tx = store.begin()
    with pytest.raises(BadValue):
        tx.update_trial(ID, {"metadata": {"n": 2**70}})
    with pytest.raises(BadValue):
        tx.append_points(ID, "metric", "loss", None, Points(pack([0]), pack([1.0]), Column("o", [2**70])))
    tx.commit()
    assert counter(store) == 0
    with store.snapshot() as view:
        assert view.points(ID, "metric", "loss", 0, 1) is None
    store.close()


# -- crashes -------------------------------------------------------------------------------------


def crashed(path: Path, to: Path) -> Path:
    """The store's files as a crash would leave them now, in another folder."""
    to.mkdir()
    for file in (path, journal_of(path)):
        shutil.copy2(file, to)
    return to / path.name


def test_what_was_committed_and_not_saved_is_there_after_a_crash(path: Path, tmp_path: Path) -> None:
    store = make(path)
    for _ in range(5):
        count_up(store)
    again = opened(crashed(path, tmp_path / "after"))
    assert counter(again) == 5
    again.close()
    store.close()


def test_a_torn_last_transaction_is_dropped_and_the_store_goes_on(path: Path, tmp_path: Path) -> None:
    store = make(path)
    count_up(store)
    count_up(store)
    after = crashed(path, tmp_path / "after")
    os.truncate(journal_of(after), journal_of(after).stat().st_size - 1)
    again = opened(after)
    assert counter(again) == 1
    assert count_up(again) == 2
    again.close()
    assert counter(opened(after)) == 2
    store.close()


def test_a_damaged_transaction_is_refused_and_nothing_is_changed(path: Path, tmp_path: Path) -> None:
    store = make(path)
    start = journal_of(path).stat().st_size
    count_up(store)
    count_up(store)
    after = crashed(path, tmp_path / "after")
    after.with_name(f"{after.name}.lock").touch()
    damaged = bytearray(journal_of(after).read_bytes())
    damaged[start + 30] ^= 4
    journal_of(after).write_bytes(damaged)
    before = files(after.parent)
    with pytest.raises(StoreCorrupt, match=rf"runs\.json\.journal is damaged at offset {start}"):
        opened(after)
    assert files(after.parent) == before
    store.close()


def test_a_crash_between_writing_the_document_and_emptying_the_journal_repeats_nothing(
    path: Path, tmp_path: Path
) -> None:
    store = make(path)
    tx = store.begin()
    tx.append_points(ID, "metric", "loss", None, Points(pack([0]), pack([1.0]), pack([0.5])))
    tx.commit()
    journal = journal_of(path).read_bytes()
    store.save()
    after = crashed(path, tmp_path / "after")
    journal_of(after).write_bytes(journal)
    again = opened(after)
    with again.snapshot() as view:
        trial = view.trial(ID)
    assert trial is not None
    assert trial["metrics"]["loss"]["count"] == 1
    assert count_up(again) == 1
    again.close()
    store.close()


def test_a_crash_while_the_document_is_written_leaves_the_old_one(path: Path, tmp_path: Path) -> None:
    store = make(path)
    count_up(store)
    after = crashed(path, tmp_path / "after")
    unfinished = after.with_name(f".{after.name}.tmp")
    unfinished.write_text('{"format": "tra')
    again = opened(after)
    assert counter(again) == 1
    again.close()
    assert not unfinished.exists()
    store.close()


def test_a_journal_of_another_document_is_refused(path: Path, tmp_path: Path) -> None:
    store = make(path)
    after = crashed(path, tmp_path / "after")
    other = opened(tmp_path / "other.json")
    other.close()
    shutil.copy2(tmp_path / "other.json", after)
    with pytest.raises(StoreCorrupt, match="continues another document"):
        opened(after)
    after.unlink()
    with pytest.raises(StoreCorrupt, match="continues another document"):
        opened(after)
    store.close()


def test_an_older_copy_put_back_after_a_clean_close_is_taken(path: Path, tmp_path: Path) -> None:
    store = make(path)
    store.save(str(tmp_path / "copy.json"))
    count_up(store)
    store.close()
    shutil.copy2(tmp_path / "copy.json", path)
    again = opened(path)
    assert counter(again) == 0
    assert count_up(again) == 1
    again.close()
    assert counter(opened(path)) == 1


def test_a_commit_that_the_disk_refuses_is_undone_and_the_next_one_works(path: Path) -> None:
    store = make(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal_of(path).stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"runs\.json\.journal cannot be written: File too large"):
            count_up(store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert counter(store) == 0
    assert count_up(store) == 1
    again = opened(path)
    assert counter(again) == 1
    again.close()
    store.close()


def test_a_save_that_the_disk_refuses_leaves_the_document_and_loses_nothing(path: Path) -> None:
    store = make(path)
    count_up(store)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"runs\.json cannot be written: File too large"):
            store.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == [
        "runs.json",
        "runs.json.journal",
        "runs.json.lock",
    ]
    store.save()
    assert json.loads(path.read_text())["trials"][0]["metadata"] == {"n": 1}
    store.close()


# -- what is refused -----------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, type[StoreError], str]] = {
    "cut off": ('{\n  "format": "tra', StoreCorrupt, "line 2, column 13"),
    "not text": ("\ud800", StoreCorrupt, "not text at offset 0"),
    "another program's": ('{"learning_rate": 0.1}', StoreError, "JSON, but not of a Track store"),
    "a list": ("[1, 2]", StoreError, "JSON, but not of a Track store"),
    "newer": (
        '{"format": "track", "version": 9}',
        StoreTooNew,
        f"version 9 .* knows up to {VERSION}: update",
    ),
    "without a version": ('{"format": "track"}', StoreCorrupt, "does not say its version"),
    "without its parts": (
        '{"format": "track", "version": 1, "generation": "x", "transaction": 0}',
        StoreCorrupt,
        "parts do not fit together .*projects",
    ),
}


@pytest.mark.parametrize(("text", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_a_document_that_cannot_be_used_is_refused_and_stays(
    path: Path, text: str, error: type[StoreError], message: str
) -> None:
    path.write_bytes(text.encode(errors="surrogatepass"))
    path.with_name(f"{path.name}.lock").touch()
    journal_of(path).touch()
    before = files(path.parent)
    with pytest.raises(error, match=message) as caught:
        opened(path)
    assert type(caught.value) is error
    assert str(path) in str(caught.value)
    assert files(path.parent) == before


def test_a_refused_document_gets_no_files_beside_it(path: Path) -> None:
    path.write_text("no JSON")
    with pytest.raises(StoreCorrupt, match="restore a copy of it, or move it away"):
        opened(path)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document["trials"][0].pop("id"),
        lambda document: document["trials"][0]["metrics"]["loss"]["values"].pop(),
        lambda document: document["groups"].append({"uid": "g", "trials": ["unknown"]}),
        lambda document: document["trials"].append("text"),
        lambda document: document.update(sessions=None),
    ],
)
def test_a_document_whose_parts_do_not_fit_is_refused(path: Path, damage: Callable[[Any], Any]) -> None:
    store = make(path)
    tx = store.begin()
    tx.append_points(ID, "metric", "loss", None, Points(pack([0, 1]), pack([1.0, 2.0]), pack([0.5, 0.25])))
    tx.commit()
    store.close()
    document = json.loads(path.read_text())
    damage(document)
    path.write_text(json.dumps(document))
    with pytest.raises(StoreCorrupt, match="parts do not fit together"):
        opened(path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"the folder .*nowhere does not exist: create it"):
        opened(tmp_path / "nowhere" / "runs.json")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a file"):
        opened(tmp_path)


def test_an_empty_file_is_a_new_store(path: Path) -> None:
    path.touch()
    make(path).close()
    assert counter(opened(path)) == 0


@pytest.fixture
def powerless() -> Iterator[Path]:
    """A folder that everybody can reach, while this process has no right to overrule permissions."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield place
        finally:
            if root:
                os.seteuid(0)
            place.chmod(0o755)


def test_a_folder_that_takes_no_writes_is_refused(powerless: Path) -> None:
    if os.getuid() != 0:
        powerless.chmod(0o555)
    with pytest.raises(StoreReadOnly, match=f"{powerless} cannot be written: allow"):
        opened(powerless / "runs.json")
    assert list(powerless.iterdir()) == []


def test_a_document_that_takes_no_writes_is_refused(powerless: Path) -> None:
    path = powerless / "runs.json"
    user = os.geteuid()
    os.seteuid(os.getuid())
    make(path).close()
    for file in powerless.iterdir():
        file.chmod(0o666)
    path.chmod(0o444)
    powerless.chmod(0o777)
    before = files(powerless)
    os.seteuid(user)
    with pytest.raises(StoreReadOnly, match=r"runs\.json cannot be written: allow"):
        opened(path)
    assert files(powerless) == before


def test_a_server_keeps_everybody_else_out(path: Path) -> None:
    server = opened(path, exclusive=True)
    with pytest.raises(StoreInUse, match=f"pid {os.getpid()}"):
        opened(path)
    server.close()
    opened(path).close()


def test_a_closed_store_says_that_it_is_closed(path: Path) -> None:
    store = make(path)
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.begin()
    with pytest.raises(StoreError, match="is closed"), store.snapshot():
        pass


# -- several processes ---------------------------------------------------------------------------

PRELUDE = """
import sys
from pathlib import Path
from track_server.storage.file import FileStore

ID = b"i" * 16

def count_up(store):
    tx = store.begin()
    counter = tx.trial(ID)["metadata"]["n"] + 1
    tx.update_trial(ID, {"metadata": {"n": counter}})
    tx.commit()
    return counter

store = FileStore(sys.argv[1], "file:", exclusive=False)
"""


def process(path: Path, program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_eight_processes_lose_no_update_even_while_they_save(path: Path) -> None:
    store = make(path)
    program = """
for round in range(40):
    count_up(store)
    if round % 13 == 12:
        store.save()
store.close()
"""
    workers = [process(path, program) for _ in range(8)]
    for worker in workers:
        worker.communicate()
    assert [worker.returncode for worker in workers] == [0] * 8
    assert counter(store) == 320
    store.close()
    assert json.loads(path.read_text())["trials"][0]["metadata"] == {"n": 320}


def test_what_another_process_commits_is_seen(path: Path) -> None:
    store = make(path)
    with process(path, "count_up(store); store.close()"):
        pass
    assert counter(store) == 1
    assert count_up(store) == 2
    store.close()


def test_a_killed_process_loses_nothing_that_it_was_told_is_durable(path: Path) -> None:
    make(path).close()
    with process(path, "while True: print(count_up(store), flush=True)") as worker:
        assert worker.stdout is not None
        for _ in range(20):
            told = int(worker.stdout.readline())
        worker.kill()
        told = max([told, *(int(line) for line in worker.stdout if line.endswith("\n"))])
    store = opened(path)
    assert counter(store) in (told, told + 1)
    store.close()


def test_a_process_killed_within_a_transaction_holds_nobody_up(path: Path) -> None:
    store = make(path)
    program = """
tx = store.begin()
tx.update_trial(ID, {"metadata": {"n": 99}})
print(flush=True)
sys.stdin.read()
"""
    with process(path, program) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        worker.kill()
        worker.wait()
    assert count_up(store) == 1
    store.close()


def test_a_reader_does_not_wait_for_the_open_transaction_of_another_process(path: Path) -> None:
    store = make(path)
    program = "tx = store.begin(); print(flush=True); sys.stdin.read(); tx.rollback(); store.close()"
    with process(path, program) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        assert counter(store) == 0
        worker.communicate("")
    store.close()


def test_the_others_go_on_after_one_has_closed(path: Path) -> None:
    first, second = make(path), opened(path)
    count_up(second)
    first.close()
    assert count_up(second) == 2
    second.close()
    assert json.loads(path.read_text())["trials"][0]["metadata"] == {"n": 2}


def test_a_store_that_is_behind_a_rewritten_document_reads_it_again(path: Path) -> None:
    first, second = make(path), opened(path)
    with second.snapshot() as before:
        for _ in range(3):
            count_up(first)
        first.save()
        count_up(first)
        assert counter(second) == 4
        assert before.trial(ID) == {**TRIAL, "metrics": {}, "chronos": {}, "media": {}}
    assert count_up(second) == 5
    assert counter(first) == 5
    first.close()
    second.close()


def test_a_store_that_knows_what_was_saved_does_not_read_the_document_again(path: Path) -> None:
    first, second = make(path), opened(path)
    first.save()
    path.write_text("damaged")
    assert count_up(second) == 1
    second.save()
    assert json.loads(path.read_text())["trials"][0]["metadata"] == {"n": 1}
    first.close()
    second.close()


def test_a_store_whose_files_were_replaced_does_not_overwrite_the_new_ones(path: Path) -> None:
    old = make(path)
    for file in (path, journal_of(path)):
        file.unlink()
    new = make(path)
    with pytest.raises(StoreError, match="was moved or deleted while it was open"):
        count_up(old)
    with pytest.raises(StoreError, match="was moved or deleted while it was open"):
        old.close()
    assert counter(new) == 0
    new.close()


def test_a_forked_child_is_told_to_open_the_store_itself(path: Path) -> None:
    store = make(path)
    program = """
import os
from track_protocol.errors import StoreError
child = os.fork()
if child == 0:
    try:
        store.begin()
    except StoreError as error:
        os._exit(7 if "before this process was forked" in str(error) else 8)
    os._exit(9)
_, status = os.waitpid(child, 0)
count_up(store)
store.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""
    with process(path, program) as worker:
        pass
    assert worker.returncode == 7
    assert counter(store) == 1
    store.close()
