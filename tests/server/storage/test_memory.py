"""What the memory backend promises beyond the contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from track_protocol.errors import ItemNotFound, StoreError
from track_protocol.query.parse import parse_query
from track_protocol.wire.columns import pack
from track_server.storage.contract import Points
from track_server.storage.file import FileStore
from track_server.storage.memory import MemoryStore
from track_server.storage.memory_series import FULL_CHUNK, empty_series
from track_server.storage.memory_versions import Clock, Grown, Table, _Cell

ID = b"i" * 16
TRIAL: dict[str, Any] = {"id": ID, "uid": "h_0", "hash": "h", "revision": 0, "project_id": None}


def points(first: int, count: int) -> Points:
    steps = range(first, first + count)
    return Points(
        pack(list(steps)), pack([float(step) for step in steps]), pack([step / 4 for step in steps])
    )


# -- versions ------------------------------------------------------------------------------------


def committed(clock: Clock, table: Table[str, int], **values: int) -> None:
    for key, value in values.items():
        table.put(key, value)
    table.settle(clock.advance())


def versions(table: Table[str, int], key: str) -> int:
    """How many versions of a value are kept."""
    count = 0
    cell: _Cell[int] | None = table._cells[key]
    while cell is not None:
        count, cell = count + 1, cell.before
    return count


def test_versions_that_nobody_reads_are_dropped() -> None:
    clock = Clock()
    table: Table[str, int] = Table(clock)
    for value in range(10):
        committed(clock, table, a=value)
    assert versions(table, "a") == 1


def test_a_version_is_kept_while_it_is_read_and_dropped_afterwards() -> None:
    clock = Clock()
    table: Table[str, int] = Table(clock)
    committed(clock, table, a=1)
    read = clock.enter()
    committed(clock, table, a=2)
    committed(clock, table, a=3)
    assert table.get("a", read) == 1
    assert table.get("a", clock.committed) == 3
    clock.leave(read)
    committed(clock, table, a=4)
    assert versions(table, "a") == 1


def test_an_inserted_key_that_is_undone_is_gone() -> None:
    table: Table[str, int] = Table(Clock())
    table.put("a", 1)
    table.put("a", 2)
    table.undo()
    assert list(table.values(99)) == []
    assert table._cells == {}


def test_a_grown_sequence_drops_what_was_undone() -> None:
    one = Grown.of("a")
    undone = one.and_("never")
    two = one.and_("b").and_("c")
    assert (list(one), list(two)) == (["a"], ["a", "b", "c"])
    assert two.items is one.items
    assert len(undone) == 2


# -- series --------------------------------------------------------------------------------------


def test_merging_makes_full_chunks_and_keeps_the_points() -> None:
    series = empty_series(None)
    for first in range(0, 3 * FULL_CHUNK, 32):
        series = series.append(points(first, 32))
    merged = series.merged()
    assert series.fragmented
    assert not merged.fragmented
    assert [len(chunk) for chunk in merged.chunks] == [FULL_CHUNK] * 3
    assert merged.slice(5, 10_000) == series.slice(5, 10_000)
    assert merged.document() == series.document()


def test_merging_keeps_columns_of_different_types_apart() -> None:
    series = empty_series(None)
    for number in range(100):
        values = pack([1.5] if number < 50 else ["text"])
        series = series.append(Points(pack([number]), pack([float(number)]), values))
    assert [chunk.values.code for chunk in series.merged().chunks] == ["d", "o"]


def test_full_chunks_are_not_merged_again() -> None:
    series = empty_series(None).append(points(0, FULL_CHUNK))
    for first in range(FULL_CHUNK, FULL_CHUNK + 64):
        series = series.append(points(first, 1))
    merged = series.merged()
    assert merged.chunks.items[0] is series.chunks.items[0]
    assert [len(chunk) for chunk in merged.chunks] == [FULL_CHUNK, 64]


# -- the store -----------------------------------------------------------------------------------


def test_a_second_transaction_is_refused_while_one_is_open() -> None:
    store = MemoryStore()
    tx = store.begin()
    with pytest.raises(StoreError, match="a transaction is open"):
        store.begin()
    tx.rollback()
    store.begin().commit()


def test_a_transaction_is_committed_once() -> None:
    tx = MemoryStore().begin()
    tx.commit()
    with pytest.raises(StoreError, match="has ended"):
        tx.commit()
    tx.rollback()


@pytest.mark.parametrize(
    "change",
    [
        lambda tx: tx.update_trial(ID, {"name": "x"}),
        lambda tx: tx.append_points(ID, "metric", "loss", None, points(0, 1)),
        lambda tx: tx.link("g", ID),
    ],
)
def test_a_change_to_a_trial_that_is_not_there_is_refused(change: Any) -> None:
    tx = MemoryStore().begin()
    tx.put_group({"uid": "g"})
    with pytest.raises(ItemNotFound, match=f"no trial has the id {ID.hex()}"):
        change(tx)


def test_a_link_to_a_group_that_is_not_there_is_refused() -> None:
    tx = MemoryStore().begin()
    tx.add_trial(TRIAL)
    with pytest.raises(ItemNotFound, match="no group has the uid 'g'"):
        tx.link("g", ID)


def test_maintenance_stops_when_its_time_is_over() -> None:
    store = MemoryStore()
    tx = store.begin()
    tx.add_trial(TRIAL)
    for step in range(64):
        for name in ("a", "b"):
            tx.append_points(ID, "metric", name, None, points(step, 1))
    tx.commit()
    assert store.maintain(0.0) is True
    assert store.maintain(10.0) is False


def test_maintenance_leaves_an_open_transaction_alone() -> None:
    store = MemoryStore()
    tx = store.begin()
    tx.add_trial(TRIAL)
    for step in range(64):
        tx.append_points(ID, "metric", "a", None, points(step, 1))
    store.maintain(10.0)
    with store.snapshot() as view:
        assert view.trial(ID) is None
    tx.rollback()


def test_a_saved_copy_is_a_document_that_the_file_backend_opens(tmp_path: Path) -> None:
    store = MemoryStore()
    tx = store.begin()
    tx.add_trial(TRIAL)
    tx.append_points(ID, "metric", "loss", None, points(0, 3))
    tx.commit()
    path = tmp_path / "copy.json"
    store.save(str(path))
    assert json.loads(path.read_text())["trials"][0]["metrics"]["loss"]["values"] == [0.0, 0.25, 0.5]
    opened = FileStore(path, "file:copy.json", exclusive=False)
    with store.snapshot() as view, opened.snapshot() as other:
        assert other.trials(parse_query({})) == view.trials(parse_query({}))
    opened.close()


def test_a_copy_over_a_link_goes_to_where_the_link_leads(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    link.symlink_to(target)
    MemoryStore().save(str(link))
    assert link.is_symlink()
    assert json.loads(target.read_text())["format"] == "track"


def test_a_copy_into_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere/copy\.json cannot be written: No such file"):
        MemoryStore().save(str(tmp_path / "nowhere" / "copy.json"))


def test_the_store_can_be_used_after_it_was_closed() -> None:
    store = MemoryStore()
    store.close()
    tx = store.begin()
    tx.add_trial(TRIAL)
    tx.commit()
    with store.snapshot() as view:
        assert view.has_trial(ID)
