from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sqlite_tables import rows
from stored_trials import (
    add_trials,
    committed_values,
    compact_all,
    log_points,
    points_of,
    save,
    trial_document,
    trial_id,
    values_in,
)
from track_protocol.errors import StoreError, StoreInUse
from track_protocol.wire.batch import METRIC
from track_server.storage.sqlite.store import SqliteStore, open_store
from track_server.storage.transaction_state import Memory
from track_server.storage.unit_of_work import begin

WRITE_FOR_EVER = """
import sys
sys.path.insert(0, sys.argv[2])
from stored_trials import add_trials, log_points, points_of
from track_server.storage.sqlite.store import open_store
store = open_store(sys.argv[1], exclusive=True)
add_trials(store, 1)
number = 0
while True:
    log_points(store, points_of([float(number)], first=number))
    store.maintain(0.001)
    print(number, flush=True)
    number += 1
"""
SUPPORT = str(Path(__file__).parents[3] / "support")

Open = Callable[..., SqliteStore]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Opens the store, any number of times; closes what is still open."""
    stores = []

    def another(exclusive: bool = False) -> SqliteStore:
        store = open_store(path, exclusive=exclusive)
        stores.append(store)
        return store

    yield another
    for store in stores:
        store.close()


def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(path), SUPPORT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = -1
        while acknowledged < 200:
            acknowledged = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in process.stdout if line.endswith("\n"))])
    store = open_store(path, exclusive=True)
    stored = committed_values(store)
    store.close()
    assert stored in (
        [float(number) for number in range(acknowledged + 1)],
        [float(number) for number in range(acknowledged + 2)],
    )


def test_a_second_server_is_refused(opened: Open) -> None:
    opened(exclusive=True)
    with pytest.raises(StoreInUse, match=f"pid {os.getpid()}"):
        opened(exclusive=True)


def test_an_embedded_process_is_refused_beside_a_server(opened: Open) -> None:
    opened(exclusive=True)
    with pytest.raises(StoreInUse):
        opened(exclusive=False)


def test_a_store_can_be_opened_again_after_it_was_closed(opened: Open) -> None:
    opened(exclusive=True).close()
    opened(exclusive=True)


def test_a_closed_store_is_one_file_and_a_lock(opened: Open, path: Path) -> None:
    store = opened()
    add_trials(store, 1)
    store.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["runs.db", "runs.db.lock"]


def test_the_generation_is_retained_for_life(opened: Open) -> None:
    first = opened()
    first.close()
    assert opened().generation == first.generation


def test_two_stores_have_different_generations(tmp_path: Path) -> None:
    stores = [open_store(tmp_path / name) for name in ("a.db", "b.db")]
    assert stores[0].generation != stores[1].generation
    for store in stores:
        store.close()


def test_two_processes_append_to_one_series(opened: Open) -> None:
    one, other = opened(), opened()
    add_trials(one, 1)
    for number in range(6):
        log_points((one, other)[number % 2], points_of([float(number)], first=number))
    assert committed_values(one) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_the_statistics_count_what_another_process_wrote(opened: Open) -> None:
    one, other = opened(), opened()
    add_trials(one, 1)
    log_points(one, points_of([1.0]))
    log_points(other, points_of([5.0]))
    log_points(one, points_of([3.0]))
    with one.snapshot() as view:
        document = view.trial(trial_id())
    assert document is not None
    loss = document["metrics"]["loss"]
    assert (loss["count"], loss["min"], loss["max"], loss["mean"]) == (3, 1.0, 5.0, 3.0)


def test_what_another_process_wrote_is_known_also_behind_a_transaction_that_remembers_nothing(
    opened: Open,
) -> None:
    one, other = opened(), opened()
    add_trials(one, 1)
    memory = Memory()
    for number in range(3):
        tx = begin(one, memory)
        tx.append_points(trial_id(), METRIC, "loss", None, points_of([float(number)], first=2 * number))
        tx.commit()
        log_points(other, points_of([number + 0.5], first=2 * number + 1))
        begin(one).commit()
    assert committed_values(one) == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


def test_a_snapshot_does_not_see_later_commits(opened: Open) -> None:
    store = opened()
    add_trials(store, 1)
    log_points(store, points_of([1.0]))
    with store.snapshot() as view:
        log_points(store, points_of([2.0], first=1))
        assert values_in(view) == [1.0]
    assert committed_values(store) == [1.0, 2.0]


def test_a_snapshot_does_not_see_an_open_transaction(opened: Open) -> None:
    store = opened()
    tx = begin(store)
    tx.add_trial(trial_document())
    with store.snapshot() as view:
        assert view.trial_fields(trial_id()) is None
    tx.rollback()


def test_a_snapshot_is_undisturbed_by_compaction(opened: Open) -> None:
    store = opened()
    add_trials(store, 1)
    for number in range(40):
        log_points(store, points_of([float(number)], first=number))
    with store.snapshot() as view:
        compact_all(store)
        assert values_in(view) == list(range(40))


def test_snapshots_of_several_threads_are_independent(opened: Open) -> None:
    store = opened()
    add_trials(store, 1)
    log_points(store, points_of([1.0, 2.0]))
    inside, found = threading.Barrier(6), []

    def read() -> None:
        with store.snapshot() as view:
            inside.wait(30)
            found.append(values_in(view))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[1.0, 2.0]] * 6


def test_a_second_transaction_is_refused_while_one_is_open(opened: Open) -> None:
    store = opened()
    tx = begin(store)
    with pytest.raises(StoreError, match="commit it or roll it back"):
        begin(store)
    tx.rollback()


def test_closing_forgets_an_open_transaction(opened: Open) -> None:
    store = opened()
    begin(store).add_trial(trial_document())
    store.close()
    with opened().snapshot() as view:
        assert view.trial_fields(trial_id()) is None


def test_a_closed_store_takes_nothing(opened: Open) -> None:
    store = opened()
    store.close()
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        begin(store)
    with pytest.raises(StoreError, match="is closed"), store.snapshot():
        pass


def test_saving_brings_the_main_file_up_to_date(opened: Open, path: Path) -> None:
    store = opened()
    add_trials(store, 1)
    before = path.stat().st_mtime_ns
    save(store)
    assert path.stat().st_mtime_ns > before


def test_a_forked_child_does_no_work_on_its_parents_store(opened: Open, path: Path) -> None:
    store = opened()
    add_trials(store, 1)
    for number in range(5):
        log_points(store, points_of([float(number)], first=number))
    child = os.fork()
    if child == 0:
        store.close()
        os._exit(0)
    os.waitpid(child, 0)
    # A store that is closed merges what it has.
    assert rows(path, "SELECT count(*) FROM chunk") == [(5,)]
    log_points(store, points_of([5.0], first=5))
    assert committed_values(store) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_store_at_rest_has_everything_in_its_main_file(opened: Open, path: Path) -> None:
    store = opened()
    add_trials(store, 1)
    log_points(store, points_of([1.0] * 10_000))
    compact_all(store)
    store.maintain(0.1)
    assert path.with_name("runs.db-wal").stat().st_size == 0


def test_a_store_tidies_up_beside_a_reader_and_again_behind_it(opened: Open, path: Path) -> None:
    store = opened()
    add_trials(store, 1)
    with store.snapshot() as view:
        assert view.trial(trial_id(1)) is not None
        log_points(store, points_of([1.0] * 10))
        compact_all(store)
    store.maintain(0.1)
    assert path.with_name("runs.db-wal").stat().st_size == 0
