"""A power cut at any moment: what was acknowledged is on the disk, and the store is intact."""

from __future__ import annotations

import queue
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine_calls import Caller, points
from recording_vfs import Acknowledged, Disk, Event, Truncate, recorded
from torture import count, dice, say
from track_protocol.errors import StoreError
from track_protocol.wire.batch import METRIC, Batch
from track_protocol.wire.columns import unpack
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.storage.sql.view import SqlView
from track_server.storage.sqlite import schema
from track_server.storage.sqlite.read import SqliteSource
from track_server.storage.sqlite.schema import open_writer
from track_server.stores import open_store
from waiting import wait_until

_WRITERS = 4
_ROUNDS_BETWEEN_RESTS = 8


@dataclass
class Recording:
    """What a server did to its disk.

    Attributes:
        files: what was there at first.
        trace: everything since then.
        trials: the trial of each writer.
    """

    files: dict[str, bytes]
    trace: list[Event]
    trials: list[bytes]


def recording(folder: Path, rounds: int) -> Recording:
    """Let writers log numbers, with rests in which the store tidies up."""
    engine = Engine(open_store(f"sqlite:{folder}/runs.db", exclusive=True))
    callers = [Caller(engine) for _ in range(_WRITERS)]
    trials = [caller.new_trial()["id"] for caller in callers]
    engine.close()
    files = {path.name: path.read_bytes() for path in folder.glob("runs.db*") if path.suffix != ".lock"}
    trace: list[Event] = []
    with recorded(trace):
        engine = Engine(open_store(f"sqlite:{folder}/runs.db", exclusive=True))
        log(engine, callers, trials, rounds, trace)
        engine.close()
    return Recording(files, trace, trials)


def log(engine: Engine, callers: list[Caller], trials: list[bytes], rounds: int, trace: list[Event]) -> None:
    """Each writer logs 0, 1, 2 and so on, a batch of another size in each round."""
    logged = [0] * len(callers)
    outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for turn in range(rounds):
        for who, (caller, trial) in enumerate(zip(callers, trials, strict=True)):
            size = 1 + (7 * turn + 13 * who) % 60
            numbers = list(range(logged[who], logged[who] + size))
            logged[who] += size

            def acknowledged(outcome: Any, who: int = who, upto: int = logged[who]) -> None:
                trace.append(Acknowledged(who, upto))
                outcomes.put(outcome)

            engine.submit_batch(
                caller.writer, Batch(caller.seq + 1, size, [points(trial, number=numbers)]), acknowledged
            )
            caller.seq += size
        for _ in callers:
            assert isinstance(outcomes.get(timeout=20.0), Acked)
        if turn % _ROUNDS_BETWEEN_RESTS == _ROUNDS_BETWEEN_RESTS - 1:
            wait_until(partial(truncated, trace, len(trace)), "the store at rest empties its log")


def truncated(trace: list[Event], since: int) -> bool:
    return any(isinstance(event, Truncate) for event in trace[since:])


@dataclass
class Damage:
    """What cuts did.

    Attributes:
        cuts: how many.
        lost: how many lost something that was acknowledged.
        corrupt: how many left a store that is damaged, or holds points that were never logged.
    """

    cuts: int
    lost: int = 0
    corrupt: int = 0


def damage(folder: Path, found: Recording, cuts: int) -> Damage:
    """Cut the power at moments drawn by lot, and look at what is left."""
    chance = dice()
    moments = sorted(chance.randint(0, len(found.trace)) for _ in range(cuts))
    disk, done, confirmed = Disk(found.files), 0, [0] * len(found.trials)
    result = Damage(cuts)
    for moment in moments:
        for event in found.trace[done:moment]:
            disk.take(event)
            if isinstance(event, Acknowledged):
                confirmed[event.who] = event.count
        done = moment
        folder.mkdir()
        for name, content in disk.after_a_cut(chance).items():
            (folder / name).write_bytes(content)
        stored = numbers_in(folder / "runs.db", found.trials)
        if stored is None or any(numbers != list(range(len(numbers))) for numbers in stored):
            result.corrupt += 1
        elif any(len(numbers) < count for numbers, count in zip(stored, confirmed, strict=True)):
            result.lost += 1
        shutil.rmtree(folder)
    return result


def numbers_in(path: Path, trials: list[bytes]) -> list[list[int]] | None:
    """What each writer's trial holds; None if the store is damaged."""
    try:
        db = open_writer(str(path))
    except StoreError:
        return None
    try:
        if db.execute("PRAGMA integrity_check").get != "ok":
            return None
        found = [
            SqlView(SqliteSource(db, str(path))).points(trial, METRIC, "number", 0, 10**9) for trial in trials
        ]
    finally:
        db.close()
    return [[] if each is None else list(unpack(each.values)) for each in found]


def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    found = recording(tmp_path, count(16, 120))
    result = damage(tmp_path / "cut", found, count(50, 10_000))
    say(f"power cuts: {result}, {len(found.trace)} system calls and acknowledgements")
    assert (result.lost, result.corrupt) == (0, 0)
    assert any(isinstance(event, Acknowledged) for event in found.trace)


def test_a_store_that_does_not_sync_each_commit_loses_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The protection removed: SQLite's log is synced only before it is brought into the main file.
    careless = schema._DURABLE.replace("synchronous=FULL", "synchronous=NORMAL")
    assert careless != schema._DURABLE
    monkeypatch.setattr(schema, "_DURABLE", careless)
    result = damage(tmp_path / "cut", recording(tmp_path, 16), count(50, 1_000))
    say(f"power cuts with synchronous=NORMAL: {result}")
    # What was dropped in the middle of the log is found as damage, which is a reported loss.
    assert result.lost > 0
