"""What the file backend promises beyond the contract: its files, edits, crashes, and several processes."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_calls import Caller
from stored_trials import save
from track_protocol.errors import StoreCorrupt, StoreError, StoreInUse, StoreReadOnly, StoreTooNew
from track_protocol.wire.columns import pack, unpack
from track_server.engine.engine import Engine
from track_server.storage.contract import Points, SessionState
from track_server.storage.json_document import VERSION
from track_server.storage.json_file import FileStore
from track_server.storage.sqlite.store import open_store
from track_server.storage.unit_of_work import begin
from waiting import wait_until

ID = b"i" * 16
SID = b"s" * 16
TRIAL: dict[str, Any] = {
    "id": ID,
    "uid": "h_0",
    "hash": "h",
    "revision": 0,
    "name": "t",
    "description": None,
    "version": None,
    "tags": {},
    "parameters": {},
    "metadata": {"n": 0},
    "errors": [],
    "project_id": None,
    "group_id": None,
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
    tx = begin(store)
    tx.add_trial(TRIAL)
    tx.commit()
    return store


def count_up(store: FileStore) -> int:
    """Add one to the trial's counter."""
    tx = begin(store)
    trial = tx.trial(ID)
    assert trial is not None
    counter: int = trial["metadata"]["n"] + 1
    tx.update_trial(ID, {"metadata": {"n": counter}})
    tx.commit()
    return counter


def log(store: FileStore, *values: float) -> None:
    """Points of the trial's loss."""
    tx = begin(store)
    steps, times = list(range(len(values))), [100.0 + number for number in range(len(values))]
    tx.append_points(ID, "metric", "loss", None, Points(pack(steps), pack(times), pack(list(values))))
    tx.commit()


def counter(store: FileStore) -> int:
    with store.snapshot() as view:
        trial = view.trial(ID)
    assert trial is not None
    found: int = trial["metadata"]["n"]
    return found


def trials(store: FileStore) -> list[str]:
    with store.snapshot() as view:
        return [] if view.trial(ID) is None else ["h_0"]


def counted(path: Path) -> int:
    """The counter of a store that is opened for the moment."""
    store = opened(path)
    found = counter(store)
    store.close()
    return found


def sidecar_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.db")


def document_of(path: Path) -> Any:
    return json.loads(path.read_text())


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a document as a person's script does."""
    document = document_of(path)
    change(document)
    path.write_text(json.dumps(document))


def set_counter(number: int) -> Callable[[Any], Any]:
    return lambda document: document["trials"][0]["metadata"].update(n=number)


def files(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


# -- the document --------------------------------------------------------------------------------


def test_the_document_is_written_when_the_store_is_closed(path: Path) -> None:
    store = opened(path)
    assert not path.exists()
    store.close()
    document = document_of(path)
    assert (document["format"], document["version"], document["trials"]) == ("track", VERSION, [])


def test_a_saved_document_shows_a_person_what_was_logged(path: Path) -> None:
    store = opened(path)
    tx = begin(store)
    tx.put_project({"uid": "p", "name": "digits", "description": None, "metadata": {}})
    tx.put_group({"uid": "g", "name": "sweep", "description": None, "metadata": {}, "project_id": "p"})
    tx.add_trial({**TRIAL, "project_id": "p"})
    tx.link("g", ID)
    values = Points(pack([0, 1]), pack([100.0, 101.0]), pack([0.5, 0.25]))
    tx.append_points(ID, "metric", "loss", None, values)
    unstepped = Points(pack([None]), pack([102.0]), pack([7.5]))
    tx.append_points(ID, "chrono", "epoch", None, unstepped)
    tx.commit()
    save(store)
    document = document_of(path)
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


def test_logging_does_not_touch_the_document(path: Path) -> None:
    store = make(path)
    save(store)
    before = path.read_bytes()
    count_up(store)
    assert path.read_bytes() == before
    save(store)
    assert document_of(path)["trials"][0]["metadata"] == {"n": 1}
    store.close()


def test_a_store_that_was_only_read_is_not_written(path: Path) -> None:
    make(path).close()
    before = path.stat()
    store = opened(path)
    counter(store)
    save(store)
    store.close()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_store_in_which_a_session_only_read_is_not_written(path: Path) -> None:
    # Fails when each transaction counts, also that of a session's login.
    make(path).close()
    before = path.stat()
    engine = Engine(opened(path))
    reader = Caller(engine)
    reader.attach()
    assert reader.read("get_trial", trial={"id": ID})
    engine.close()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_change_that_was_flushed_before_its_transaction_ended_is_written(path: Path) -> None:
    make(path).close()
    store = opened(path)
    tx = begin(store)
    tx.update_trial(ID, {"metadata": {"n": 7}})
    tx.flush()
    tx.commit()
    store.close()
    assert document_of(path)["trials"][0]["metadata"] == {"n": 7}


def test_many_who_ask_at_once_get_one_document(path: Path) -> None:
    store = make(path)
    writes: list[int] = []
    written = threading.Event()
    write = store._writer.write

    def slow(**options: Any) -> None:
        writes.append(1)
        written.wait(60)
        write(**options)

    store._writer.write = slow  # type: ignore[method-assign] # to hold it in the middle
    done: list[Exception | None] = []
    for _ in range(20):
        store.save(done.append)
    wait_until(lambda: bool(writes), "the first document is being written")
    assert count_up(store) == 1  # whoever commits does not wait for it
    written.set()
    wait_until(lambda: len(done) == 20, "all are answered")
    assert set(done) == {None}
    assert len(writes) <= 2
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
    opened(path).close()
    assert victim.read_text() == "precious"
    assert document_of(path)["format"] == "track"


def test_a_link_to_the_document_stays_a_link(path: Path, tmp_path: Path) -> None:
    make(path).close()
    link = tmp_path / "link.json"
    link.symlink_to(path)
    store = opened(link)
    count_up(store)
    store.close()
    assert link.is_symlink()
    assert document_of(path)["trials"][0]["metadata"] == {"n": 1}


def test_a_save_that_the_disk_refuses_leaves_the_document_and_loses_nothing(path: Path) -> None:
    store = make(path)
    count_up(store)
    save(store)
    count_up(store)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"runs\.json cannot be written: File too large"):
            save(store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert not path.with_name(f".{path.name}.tmp").exists()
    save(store)
    assert document_of(path)["trials"][0]["metadata"] == {"n": 2}
    store.close()


# -- which of the two counts ---------------------------------------------------------------------


def test_an_edited_document_replaces_what_was_stored(path: Path) -> None:
    store = make(path)
    log(store, 0.5, 0.25)
    store.close()
    edit(path, set_counter(40))
    edit(path, lambda document: document["trials"][0]["metrics"]["loss"].update(values=[7.0, 8.0]))
    store = opened(path)
    assert count_up(store) == 41
    with store.snapshot() as view:
        found = view.points(ID, "metric", "loss", 0, 10)
    assert found is not None
    assert list(unpack(found.values)) == [7.0, 8.0]
    store.close()
    assert counted(path) == 41


def test_what_an_edited_document_leaves_out_is_removed(path: Path) -> None:
    make(path).close()
    edit(path, lambda document: document["trials"].clear())
    store = opened(path)
    assert trials(store) == []
    store.close()


def test_an_edited_document_makes_everything_new_to_who_asks_what_changed(path: Path) -> None:
    store = make(path)
    with store.snapshot() as view:
        cursor = view.changes_since(None, 10).cursor
    store.close()
    edit(path, set_counter(7))
    again = opened(path)
    with again.snapshot() as view:
        assert not view.changes_since(cursor, 10).known
    again.close()


def test_sessions_stay_as_they_are_whatever_an_edited_document_says(path: Path) -> None:
    # Otherwise a client would send again what this store has.
    state = SessionState(SID, "ann", 1, 97, (97, b"answer"), 3)
    store = make(path)
    tx = begin(store)
    tx.put_session(state)
    tx.commit()
    store.close()
    edit(path, lambda document: document["sessions"][0].update(last_seq=3))
    store = opened(path)
    with store.snapshot() as view:
        assert view.session(SID) == state
    store.close()
    edit(path, lambda document: document["sessions"].clear())
    store = opened(path)
    with store.snapshot() as view:
        assert view.session(SID) == state
    store.close()


def test_a_document_alone_knows_its_sessions(path: Path) -> None:
    state = SessionState(SID, "ann", 1, 97, (97, b"answer"), 3)
    store = make(path)
    tx = begin(store)
    tx.put_session(state)
    tx.commit()
    store.close()
    sidecar_of(path).unlink()
    store = opened(path)
    with store.snapshot() as view:
        assert view.session(SID) == state
    store.close()


def test_an_older_copy_that_is_put_back_is_read(path: Path, tmp_path: Path) -> None:
    store = make(path)
    save(store)
    shutil.copy2(path, tmp_path / "copy.json")
    count_up(store)
    store.close()
    shutil.copy2(tmp_path / "copy.json", path)
    assert counted(path) == 0


def test_a_document_alone_is_a_complete_store(path: Path, tmp_path: Path) -> None:
    store = make(path)
    generation = store.generation
    log(store, 0.5)
    store.close()
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "moved.json"
    path.rename(moved)
    again = opened(moved)
    assert (again.generation, counter(again)) == (generation, 0)
    again.close()


def test_when_the_document_was_deleted_a_new_store_begins_and_the_old_one_is_quarantined(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = make(path)
    generation = store.generation
    store.close()
    path.unlink()
    new = opened(path)
    assert trials(new) == []
    assert new.generation != generation
    new.close()
    (message,) = caplog.messages
    (aside,) = path.parent.glob(f"{sidecar_of(path).name}.deleted-*Z")
    assert f"{path} was deleted, so a new store begins" in message
    assert str(aside) in message
    old = open_store(aside)
    with old.snapshot() as view:
        assert view.trial_fields(ID) is not None
    old.close()
    assert document_of(path)["trials"] == []


@pytest.mark.parametrize("closed_first", [False, True])
def test_a_document_deleted_under_an_open_store_means_a_new_store(path: Path, closed_first: bool) -> None:
    old = make(path)
    save(old)
    count_up(old)
    path.unlink()
    if closed_first:
        old.close()
    new = opened(path)
    assert trials(new) == []
    tx = begin(new)
    tx.add_trial({**TRIAL, "metadata": {"n": 70}})
    tx.commit()
    if not closed_first:
        for use in (lambda: counter(old), lambda: count_up(old), lambda: save(old)):
            with pytest.raises(StoreError, match="was moved or deleted while it was open: open it again"):
                use()
        old.close()
    assert count_up(new) == 71
    new.close()
    assert counted(path) == 71


def test_a_document_that_was_deleted_is_written_again_by_who_asks_for_it(path: Path) -> None:
    store = make(path)
    save(store)
    path.unlink()
    save(store)
    store.close()
    assert counted(path) == 0


def test_an_empty_document_is_none(path: Path) -> None:
    path.touch()
    make(path).close()
    assert counted(path) == 0
    path.write_text("")
    store = opened(path)
    assert trials(store) == []
    store.close()


def test_when_both_have_changed_neither_is_given_up(path: Path) -> None:
    store = make(path)
    save(store)
    count_up(store)
    store.abandon()
    edit(path, set_counter(40))
    edited = path.read_bytes()
    with pytest.raises(StoreError, match=r"was edited, and .* has stored more") as refused:
        opened(path)
    for named in (path, sidecar_of(path)):
        assert str(named) in str(refused.value)
    assert "track restore" in str(refused.value)
    assert path.read_bytes() == edited
    (path.parent / "away").mkdir()
    for file in path.parent.glob(f"{sidecar_of(path).name}*"):  # as the message says
        file.rename(path.parent / "away" / file.name)
    assert counted(path) == 40


def test_a_document_that_is_edited_under_an_open_store_is_not_written_over(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = make(path)
    save(store)
    edit(path, set_counter(40))
    edited = path.read_bytes()
    count_up(store)
    with pytest.raises(StoreError, match="was edited, and"):
        save(store)
    store.close()
    assert "was edited, and" in caplog.text
    assert path.read_bytes() == edited


# -- crashes -------------------------------------------------------------------------------------


def killed(path: Path, program: str) -> None:
    """Run a program that kills itself."""
    ended = subprocess.run([sys.executable, "-c", PRELUDE + program, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL


DIE = "import os, signal\ndie = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"


def test_a_crash_before_the_first_document_loses_nothing(path: Path) -> None:
    killed(path, DIE + "tx = begin(store); tx.add_trial(TRIAL); tx.commit(); count_up(store); die()")
    assert not path.exists()
    assert counted(path) == 1


KILLS = {
    "while the document is written": "writer.replace_file = die",
    "with the document in its place": "DocumentWriter._note = die",
    "within the note": "writer.write_record = die",
    "behind the note": "note = DocumentWriter._note; DocumentWriter._note = lambda *a: (note(*a), die())",
}


@pytest.mark.parametrize("patch", KILLS.values(), ids=KILLS)
def test_a_kill_while_the_document_is_written_loses_nothing(path: Path, patch: str) -> None:
    store = make(path)
    save(store)
    store.close()
    program = f"""
import track_server.storage.json_writer as writer
from track_server.storage.json_writer import DocumentWriter
import time
count_up(store)
{patch}
store.save(print)
time.sleep(60)
"""
    killed(path, DIE + program)
    store = opened(path)
    assert count_up(store) == 2
    store.close()
    assert document_of(path)["trials"][0]["metadata"] == {"n": 2}
    edit(path, set_counter(40))
    assert counted(path) == 40


def test_a_document_that_was_accepted_after_a_crash_and_then_deleted_means_a_new_store(path: Path) -> None:
    program = """
from track_server.storage.json_writer import DocumentWriter
import time
tx = begin(store); tx.add_trial(TRIAL); tx.commit()
DocumentWriter._note = die
store.save(print)
time.sleep(60)
"""
    killed(path, DIE + program)
    accepted = opened(path)
    assert trials(accepted) == ["h_0"]
    accepted.abandon()
    path.unlink()
    new = opened(path)
    assert trials(new) == []
    new.close()


@pytest.mark.parametrize("at", range(1, 5))
def test_a_kill_while_a_sidecar_is_quarantined_still_ends_in_a_new_store(path: Path, at: int) -> None:
    make(path).close()
    path.unlink()
    patch = f"""
import track_server.storage.json_file as json_file
store.close()
calls = []
for name in ("link", "sync_folder", "_unlink"):
    where = json_file.os if name == "link" else json_file
    def counted(*args, call=getattr(where, name)):
        calls.append(call)
        if len(calls) == {at}:
            die()
        call(*args)
    setattr(where, name, counted)
FileStore(sys.argv[1] + "/../runs.json", "file:", exclusive=False)
"""
    other = path.with_name("other.json")
    killed(other, DIE + patch.replace('sys.argv[1] + "/../runs.json"', repr(str(path))))
    store = opened(path)
    assert trials(store) == []
    store.close()
    found = list(path.parent.glob(f"{sidecar_of(path).name}.deleted-*Z"))
    assert found
    for each in found:
        old = open_store(each)
        with old.snapshot() as view:
            assert view.trial_fields(ID) is not None
        old.close()


# -- what is refused -----------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, type[StoreError], str]] = {
    "cut off": ('{\n  "format": "tra', StoreCorrupt, "line 2, column 13"),
    "not text": ("\ud800", StoreCorrupt, "not text at offset 0"),
    "another program's": ('{"learning_rate": 0.1}', StoreError, "JSON, but not a Track store"),
    "a list": ("[1, 2]", StoreError, "JSON, but not a Track store"),
    "newer": (
        '{"format": "track", "version": 9}',
        StoreTooNew,
        f"version 9 .* knows up to {VERSION}: update",
    ),
    "without a version": ('{"format": "track"}', StoreCorrupt, "lacks its version"),
}


@pytest.mark.parametrize(("text", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_a_document_that_cannot_be_used_is_refused_and_stays(
    path: Path, text: str, error: type[StoreError], message: str
) -> None:
    path.write_bytes(text.encode(errors="surrogatepass"))
    before = files(path.parent)
    with pytest.raises(error, match=message) as caught:
        opened(path)
    assert type(caught.value) is error
    assert str(path) in str(caught.value)
    assert files(path.parent) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document["trials"][0].pop("id"),
        lambda document: document["trials"][0].pop("hash"),
        lambda document: document["trials"][0].update(uid=None),
        lambda document: document["trials"][0]["metrics"]["loss"]["values"].pop(),
        lambda document: document["groups"].append({"uid": "g", "trials": ["unknown"]}),
        lambda document: document["trials"].append("text"),
        lambda document: document["trials"].append(document["trials"][0]),
        lambda document: document.update(sessions=None),
        lambda document: document["trials"][0].update(name=["a", "list"]),
        lambda document: document["trials"][0].update(parameters=7),
        lambda document: document["trials"][0].update(errors=None),
        lambda document: document["trials"][0].update(status={}),
        lambda document: document["trials"][0].update(started=[]),
        lambda document: document["trials"][0].update(note="what no trial has"),
        lambda document: document["trials"][0]["metadata"].update(large=2**70),
        lambda document: document["trials"][0]["metrics"]["loss"]["values"].insert(0, 2**70),
        lambda document: document["trials"][0]["metrics"]["loss"].update(aggregator=["unknown"]),
        lambda document: document["sessions"].append({"sid": "00", "user": [], "last_reply": []}),
    ],
)
def test_a_document_whose_parts_do_not_fit_is_refused_and_changes_nothing(
    path: Path, damage: Callable[[Any], Any]
) -> None:
    store = make(path)
    log(store, 0.5, 0.25)
    store.close()
    good = path.read_bytes()
    edit(path, damage)
    with pytest.raises(StoreCorrupt, match="parts are inconsistent"):
        opened(path)
    path.write_bytes(good)
    assert counted(path) == 0


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"the folder .*nowhere does not exist: create it"):
        opened(tmp_path / "nowhere" / "runs.json")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a file"):
        opened(tmp_path)


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


def test_a_server_locks_out_all_others_and_its_store_is_named(path: Path) -> None:
    server = opened(path, exclusive=True)
    with pytest.raises(StoreInUse, match=f"the store {path} is in use by pid {os.getpid()}"):
        opened(path)
    with pytest.raises(StoreInUse):
        open_store(sidecar_of(path))
    server.close()
    opened(path).close()


def test_a_closed_store_says_that_it_is_closed(path: Path) -> None:
    store = make(path)
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        begin(store)
    with pytest.raises(StoreError, match="is closed"), store.snapshot():
        pass


# -- several processes ---------------------------------------------------------------------------

PRELUDE = f"""
import sys
from pathlib import Path
from track_server.storage.json_file import FileStore
from track_server.storage.unit_of_work import begin

ID = b"i" * 16
TRIAL = {TRIAL!r}

def count_up(store):
    tx = begin(store)
    counter = tx.trial(ID)["metadata"]["n"] + 1
    tx.update_trial(ID, {{"metadata": {{"n": counter}}}})
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
        store.save(lambda error: None)
store.close()
"""
    workers = [process(path, program) for _ in range(8)]
    for worker in workers:
        worker.communicate()
    assert [worker.returncode for worker in workers] == [0] * 8
    assert counter(store) == 320
    store.close()
    assert document_of(path)["trials"][0]["metadata"] == {"n": 320}


def test_a_killed_process_loses_nothing_that_was_reported_durable(path: Path) -> None:
    make(path).close()
    with process(path, "while True: print(count_up(store), flush=True)") as worker:
        assert worker.stdout is not None
        for _ in range(20):
            reported = int(worker.stdout.readline())
        worker.kill()
        reported = max([reported, *(int(line) for line in worker.stdout if line.endswith("\n"))])
    assert counted(path) in (reported, reported + 1)


def test_of_many_processes_that_find_the_document_deleted_one_begins_the_new_store(path: Path) -> None:
    make(path).close()
    path.unlink()
    program = """
tx = begin(store)
if not tx.has_trial(ID):
    tx.add_trial(TRIAL)
tx.commit()
count_up(store)
store.close()
"""
    workers = [process(path, program) for _ in range(8)]
    for worker in workers:
        worker.communicate()
    assert [worker.returncode for worker in workers] == [0] * 8
    assert counted(path) == 8
    assert len(list(path.parent.glob(f"{sidecar_of(path).name}.deleted-*Z"))) == 1


def test_the_others_go_on_after_one_has_closed(path: Path) -> None:
    first, second = make(path), opened(path)
    count_up(second)
    first.close()
    assert count_up(second) == 2
    second.close()
    assert document_of(path)["trials"][0]["metadata"] == {"n": 2}


def test_a_forked_child_leaves_its_parents_store_alone(path: Path) -> None:
    store = make(path)
    program = """
import os
child = os.fork()
if child == 0:
    store.close()
    os._exit(0)
os.waitpid(child, 0)
count_up(store)
store.close()
"""
    with process(path, program) as worker:
        pass
    assert worker.returncode == 0
    assert counter(store) == 1
    store.close()
