"""A disk that fails at the k-th write, flush or truncation, and a power cut later.

Negative controls, each as a test that finds the harm:

* an engine that acknowledges although the flush has failed: losses;
* a store that is opened again and believes what the system remembers (`rewrite` removed): losses.
"""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import faulty_server
import torture_writer
from engine_calls import Caller, points
from faulty_disk import Fault, FaultyDisk
from recording_vfs import Acknowledged, Disk, Event, SyncFailed, Truncate, Write
from running_server import ServerProcess
from torture import count, dice, say
from track_protocol.errors import SequenceGap, StoreError, StoreFailed
from track_protocol.wire.batch import METRIC, Batch
from track_protocol.wire.columns import unpack
from track_protocol.wire.link import Acked
from track_protocol.wire.roles import Role
from track_server.app import admin_of
from track_server.engine.engine import Engine
from track_server.engine.lane import Lane
from track_server.engine.recovery import Recovery
from track_server.storage.admin import check
from track_server.storage.sqlite import schema
from track_server.storage.sqlite import store as sqlite
from track_server.stores import open_store
from waiting import wait_until
from worker_processes import WorkerProcesses
from written_series import stored_series, verdict

STORE = "sqlite:{}/runs.db"
_WRITERS = 3

SYNC, WRITE, TRUNCATE = Fault("sync", 1), Fault("write", 1), Fault("truncate", 1)
FAULTS = {
    "a flush fails": (SYNC,),
    "a flush fails though all is there": (replace(SYNC, reached=True),),
    "flushes fail, also when it is opened again": (replace(SYNC, times=3),),
    "a flush finds no room": (replace(SYNC, number=errno.ENOSPC),),
    "a write fails": (WRITE,),
    "a write fails half-way": (replace(WRITE, times=2, half=True),),
    "writes fail, also when it is opened again": (replace(WRITE, times=3, half=True),),
    "a write finds no room": (replace(WRITE, number=errno.ENOSPC),),
    "a write is short, and the rest finds no room": (
        replace(WRITE, times=2, number=errno.ENOSPC, half=True),
    ),
    "a truncation fails": (SYNC, TRUNCATE),
}
"""What fails; which call it is, is drawn by lot, but for truncations, which are rare."""


class Holder:
    """Logs 0, 1, 2 … as a client does: queues what is not acknowledged, and sends it again.

    Attributes:
        acknowledged: how many were acknowledged as durable.
        retracted: how often an acknowledgement was below an earlier one.
    """

    def __init__(self, engine: Engine, report: Callable[[int], None]) -> None:
        self._caller = Caller(engine)
        self._report = report
        self.trial: bytes = self._caller.new_trial(hash=self._caller.writer.sid.hex())["id"]
        self.acknowledged = self.retracted = 0

    def has_stored(self, upto: int) -> bool:
        """Whether all is stored, after sending it once more."""
        self.send(upto)
        return self.acknowledged == upto

    def send(self, upto: int) -> None:
        """Send everything that is not acknowledged, once."""
        numbers = list(range(self.acknowledged, upto))
        if not numbers:
            return
        batch = Batch(2 + self.acknowledged, len(numbers), [points(self.trial, number=numbers)])
        outcome = self._caller.batch(batch)
        if isinstance(outcome, Acked):
            assert not outcome.rejected
            self._take(outcome.last_seq)
        else:
            assert isinstance(outcome, StoreError | SequenceGap), outcome
            self._attach()

    def with_engine(self, engine: Engine) -> None:
        """Continue the session at another engine."""
        self._caller.engine = engine

    def _attach(self) -> None:
        """Ask what is stored, as a client does when it connects again; it may not be known yet."""
        try:
            self._take(self._caller.engine.last_seq(self._caller.writer))
        except StoreFailed:
            return

    def _take(self, last_seq: int) -> None:
        self.retracted += last_seq <= self.acknowledged
        self.acknowledged = last_seq - 1
        self._report(self.acknowledged)


@dataclass
class Run:
    """What a server did on a faulty disk.

    Attributes:
        store: URI of the store, with the folder left out.
        files: what was on the disk at first.
        trace: everything since then.
        trials: the trial of each writer.
        failed: how many calls failed.
        retracted: how often an acknowledgement was below an earlier one.
        stored: what each trial holds at last.
        findings: of a check at last.
        calls: how many calls there were of each kind.
    """

    store: str
    files: dict[str, bytes]
    trace: list[Event] = field(default_factory=list)
    trials: list[bytes] = field(default_factory=list)
    failed: int = 0
    retracted: int = 0
    stored: list[list[int]] = field(default_factory=list)
    findings: tuple[str, ...] = ()
    calls: dict[str, int] = field(default_factory=dict)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("runs*") if path.suffix != ".lock"}


def run(store: str, folder: Path, faults: Sequence[Fault], rounds: int = 12) -> Run:
    """Let writers log while the disk fails, and until all is acknowledged."""
    folder.mkdir()
    uri = store.format(folder)
    trace: list[Event] = []
    disk = FaultyDisk(trace.append)

    def note(who: int, upto: int) -> None:
        trace.append(Acknowledged(who, upto))

    engine = Engine(open_store(uri, exclusive=True))
    writers = [Holder(engine, partial(note, who)) for who in range(_WRITERS)]
    engine.close()
    found = Run(store, files_of(folder), trace, [writer.trial for writer in writers])
    with disk.installed():
        engine = Engine(open_store(uri, exclusive=True))
        for writer in writers:
            writer.with_engine(engine)
        disk.arm(*faults)
        upto = 0
        for turn in range(rounds):
            upto += 1 + 7 * turn % 40
            for writer in writers:
                writer.send(upto)
        for writer in writers:
            wait_until(partial(writer.has_stored, upto), "all is stored")
        found.calls, found.failed = dict(disk.calls), disk.failed
        found.retracted = sum(writer.retracted for writer in writers)
        disk.arm()
        end = len(trace)
        engine.close()
    del trace[end:]  # a store that is closed is another matter
    found.stored, found.findings = look(uri, found.trials)
    return found


def look(uri: str, trials: Sequence[bytes]) -> tuple[list[list[int]], tuple[str, ...]]:
    """What a closed store holds, and what a check finds."""
    seen = check(*admin_of(uri, None))
    if seen.findings:
        return [[] for _ in trials], seen.findings
    engine = Engine(open_store(uri, exclusive=True))
    try:
        with engine.store.snapshot() as view:
            found = [view.points(trial, METRIC, "number", 0, 10**9) for trial in trials]
        return [[] if each is None else list(unpack(each.values)) for each in found], ()
    finally:
        engine.close()


@dataclass
class Damage:
    """What power cuts did after the disk had failed.

    Attributes:
        cuts: how many there were.
        lost: how many lost something that was acknowledged; a store that cannot be read has lost all.
        corrupt: how many left a store that is damaged, or has gaps or points that were never logged.
    """

    cuts: int = 0
    lost: int = 0
    corrupt: int = 0

    def cut(self, folder: Path, found: Run, moments: Sequence[int], chance: random.Random) -> None:
        """Cut the power at some moments of a run."""
        disk, done, confirmed = Disk(found.files), 0, [0] * len(found.trials)
        for moment in sorted(moments):
            for event in found.trace[done:moment]:
                disk.take(event)
                if isinstance(event, Acknowledged):
                    confirmed[event.who] = event.count
            done = moment
            folder.mkdir()
            for name, content in disk.after_a_cut(chance).items():
                (folder / name).write_bytes(content)
            seen, findings = look(found.store.format(folder), found.trials)
            shutil.rmtree(folder)
            self.cuts += 1
            self.corrupt += bool(findings) or any(each != list(range(len(each))) for each in seen)
            self.lost += any(set(range(upto)) - set(each) for upto, each in zip(confirmed, seen, strict=True))


def moments_of(found: Run, some: int, chance: random.Random) -> list[int]:
    """Random moments, and those at which writers get an acknowledgement after a failed flush."""
    failed = [at for at, event in enumerate(found.trace) if isinstance(event, SyncFailed)]
    confirmed = [at + 1 for at, event in enumerate(found.trace) if isinstance(event, Acknowledged)]
    behind = {moment for at in failed for moment in [each for each in confirmed if each > at][:_WRITERS]}
    return [*behind, *(chance.randint(0, len(found.trace)) for _ in range(some))]


@pytest.fixture(autouse=True)
def often_checkpointed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is brought into the main file so often that its faults are met too."""
    monkeypatch.setattr(sqlite, "_CHECKPOINT_PAGES", 40)


def drawn(kind: Sequence[Fault], calls: Mapping[str, int], chance: random.Random) -> list[Fault]:
    """The faults of a kind, at calls drawn by lot."""
    return [
        fault if fault is TRUNCATE else replace(fault, at=chance.randint(1, calls[fault.call]))
        for fault in kind
    ]


@pytest.mark.parametrize("kind", FAULTS)
def test_no_fault_loses_doubles_or_damages_what_was_acknowledged(tmp_path: Path, kind: str) -> None:
    chance, damage = dice(), Damage()
    sound = run(STORE, tmp_path / "sound", ())
    for number in range(count(2, 100)):
        faults = drawn(FAULTS[kind], sound.calls, chance)
        found = run(STORE, tmp_path / str(number), faults)
        assert found.failed, faults
        assert (found.findings, found.retracted) == ((), 0), faults
        assert found.stored == sound.stored, faults
        damage.cut(tmp_path / "cut", found, moments_of(found, 3, chance), chance)
        assert (damage.lost, damage.corrupt) == (0, 0), faults
        shutil.rmtree(tmp_path / str(number))
    say(f"{kind}: {damage}")


def test_what_comes_after_a_failed_flush_is_writing_all_of_it_anew(tmp_path: Path) -> None:
    # Fails when `Lane._transact` does not call `Recovery.record_failure`, so that the store is not reopened.
    found = run(STORE, tmp_path / "run", [replace(SYNC, at=7)])
    at = next(at for at, event in enumerate(found.trace) if isinstance(event, SyncFailed))
    behind = [event for event in found.trace[at + 1 :] if not isinstance(event, Acknowledged)]
    cut, begun, *_ = behind
    assert isinstance(cut, Truncate)
    assert isinstance(begun, Write)
    assert begun.offset == 0
    failed = found.trace[at]
    assert isinstance(failed, SyncFailed)
    assert cut.file == begun.file == failed.file


def test_an_engine_that_acknowledges_what_was_not_flushed_loses_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The protection removed: a batch whose commit failed is acknowledged as if it had not.
    commit = Lane._commit

    def careless(self: Lane, jobs: list[Any]) -> list[Any]:
        try:
            return commit(self, jobs)
        except StoreFailed as error:
            self._recovery.record_failure(error)
            return [Acked(job.batch.last) for job in jobs]

    monkeypatch.setattr(Lane, "_commit", careless)
    found, damage, chance = run(STORE, tmp_path / "run", [replace(WRITE, at=9)]), Damage(), dice()
    damage.cut(tmp_path / "cut", found, [len(found.trace)], chance)
    assert found.retracted or damage.lost


@pytest.mark.torture
def test_a_store_that_believes_the_systems_memory_loses_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The protection removed: what is read when the store is opened again is not written once more.
    monkeypatch.setattr(schema, "rewrite", lambda path: None)
    damage, chance = Damage(), dice()
    for at in range(2, 12):
        found = run(STORE, tmp_path / str(at), [replace(SYNC, at=at)])
        damage.cut(tmp_path / "cut", found, moments_of(found, 0, chance), chance)
    say(f"believing the system's memory: {damage}")
    assert damage.lost > 0


@pytest.mark.torture
def test_an_engine_that_acknowledges_without_a_durability_check_loses_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The protection removed: sessions get a stored number while the durable one is unknown.
    monkeypatch.setattr(Recovery, "check_durable", lambda self: 0)
    damage, chance = Damage(), dice()
    for at in range(2, 12):
        found = run(STORE, tmp_path / str(at), [replace(SYNC, at=at, times=3)])
        damage.cut(tmp_path / "cut", found, moments_of(found, 0, chance), chance)
    say(f"acknowledging without a durability check: {damage}")
    assert damage.lost > 0


_EVERY = 60
"""So many calls of a kind work before one fails: enough to take a session over and store its records."""


def acknowledged(record: Path) -> int:
    """The last number that a writer wrote down."""
    return int(record.read_text().split()[-1])


@pytest.mark.parametrize("call", ["sync", "write"])
def test_a_server_on_a_failing_disk_has_every_acknowledged_point_once_and_in_order(
    tmp_path: Path, call: str
) -> None:
    uri = STORE.format(tmp_path)
    open_store(uri, exclusive=True).close()
    names = [f"writer-{number}" for number in range(count(2, 8))]
    program = (faulty_server.__file__, call, str(_EVERY))
    with (
        ServerProcess(uri, tmp_path / "home", "--log-level", "warning", program=program) as server,
        WorkerProcesses(
            Path(torture_writer.__file__),
            tmp_path / "writers",
            names,
            lambda name: server.served.join(name, Role.WRITER),
        ) as processes,
    ):
        while server.log.read_text().count("was opened again") < count(2, 100):
            assert processes.await_progress()
        processes.stop()
        server.stop()
    confirmed = {name: acknowledged(record) for name, record in processes.records.items()}
    found = verdict(confirmed, stored_series(uri))
    say(f"{uri}: every {_EVERY}th {call} fails: {found}")
    assert found.clean
    assert check(*admin_of(uri, None)).findings == ()
