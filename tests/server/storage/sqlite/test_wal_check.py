from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stored_trials import add_trials, committed_values, log_points, points_of
from track_protocol.errors import StoreCorrupt
from track_server.app import admin_of
from track_server.storage.admin import back_up, check, restore
from track_server.storage.sqlite.store import open_store

COMMITS = 8
FRAME = 24 + 8192


@pytest.fixture
def cut_off(tmp_path: Path) -> Path:
    """A store whose process was killed with eight committed transactions in the log."""
    store = open_store(tmp_path / "live.db", exclusive=True)
    add_trials(store, 1)
    for number in range(COMMITS):
        log_points(store, points_of([float(number)], first=number))
    for suffix in ("", "-wal"):
        shutil.copy(f"{store.path}{suffix}", tmp_path / f"runs.db{suffix}")
    store.close()
    return tmp_path / "runs.db"


def log_of(path: Path) -> Path:
    return path.with_name("runs.db-wal")


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def values_of(path: Path) -> list[float]:
    store = open_store(path, exclusive=True)
    try:
        return committed_values(store)
    finally:
        store.close()


IN_ITS_MIDDLE = {"page": 32 + FRAME + 5_000, "frame": 32 + FRAME + 9, "header": 10, "header's salt": 17}


@pytest.mark.parametrize("at", IN_ITS_MIDDLE.values(), ids=IN_ITS_MIDDLE)
def test_a_log_damaged_in_its_middle_keeps_the_store_closed_and_stays_as_it_is(
    cut_off: Path, at: int
) -> None:
    flip(log_of(cut_off), at)
    before = cut_off.read_bytes(), log_of(cut_off).read_bytes()
    with pytest.raises(StoreCorrupt, match=r"wal is damaged at offset \d+"):
        open_store(cut_off, exclusive=True)
    assert (cut_off.read_bytes(), log_of(cut_off).read_bytes()) == before


def test_a_log_damaged_in_its_middle_is_found_by_a_check_and_by_a_backup(
    cut_off: Path, tmp_path: Path
) -> None:
    admin, path = admin_of(f"sqlite:{cut_off}", None)
    flip(log_of(cut_off), IN_ITS_MIDDLE["page"])
    (finding,) = check(admin, path).findings
    assert "runs.db-wal is damaged" in finding
    with pytest.raises(StoreCorrupt, match="damaged"):
        back_up(admin, path, tmp_path / "backup.db")


def test_a_store_whose_log_is_damaged_can_be_restored_and_its_log_is_retained(
    cut_off: Path, tmp_path: Path
) -> None:
    admin, path = admin_of(f"sqlite:{cut_off}", None)
    back_up(admin, path, tmp_path / "backup.db")
    flip(log_of(cut_off), IN_ITS_MIDDLE["page"])
    damaged = log_of(cut_off).read_bytes()
    aside = restore(admin, tmp_path / "backup.db", path).aside
    assert values_of(cut_off) == [float(number) for number in range(COMMITS)]
    assert aside is not None
    assert aside.with_name(f"{aside.name}-wal").read_bytes() == damaged


@pytest.mark.parametrize("cut", [1, 5_000, FRAME - 1])
def test_a_log_with_a_torn_end_is_read_up_to_it(cut_off: Path, cut: int) -> None:
    log = log_of(cut_off)
    log.write_bytes(log.read_bytes()[:-cut])
    assert values_of(cut_off) == [float(number) for number in range(COMMITS - 1)]


def test_an_intact_log_is_read_completely(cut_off: Path) -> None:
    assert values_of(cut_off) == [float(number) for number in range(COMMITS)]


@pytest.mark.parametrize("left", ["missing", "empty"])
def test_a_log_whose_store_is_removed_is_not_deleted(cut_off: Path, left: str) -> None:
    log, store = log_of(cut_off).read_bytes(), cut_off.read_bytes()
    cut_off.unlink()
    if left == "empty":
        cut_off.touch()
    with pytest.raises(StoreCorrupt, match="restore the file"):
        open_store(cut_off, exclusive=True)
    assert log_of(cut_off).read_bytes() == log
    cut_off.write_bytes(store)
    assert values_of(cut_off) == [float(number) for number in range(COMMITS)]


def test_a_backup_that_was_copied_over_a_killed_store_is_not_mixed_with_its_log(
    cut_off: Path, tmp_path: Path
) -> None:
    admin, path = admin_of(f"sqlite:{cut_off}", None)
    back_up(admin, path, tmp_path / "backup.db")
    shutil.copy(tmp_path / "backup.db", cut_off)
    log = log_of(cut_off).read_bytes()
    with pytest.raises(StoreCorrupt, match=r"is the log of another file .* 'track restore'"):
        open_store(cut_off, exclusive=True)
    (finding,) = check(admin, path).findings
    assert "another file" in finding
    assert log_of(cut_off).read_bytes() == log
    assert restore(admin, tmp_path / "backup.db", path).aside is not None
    assert values_of(cut_off) == [float(number) for number in range(COMMITS)]
