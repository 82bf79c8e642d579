from __future__ import annotations

from pathlib import Path

from left_spools import left_spool
from track.spool.folder import Progressed, SpoolFolder
from track.spool.inventory import look_at, look_in
from track_protocol.wire.amount import Amount


def test_what_waits_is_counted_behind_what_was_confirmed(tmp_path: Path) -> None:
    found = look_at(left_spool(tmp_path, progressed=Progressed(10, "one", "away")))
    assert (found.waiting, found.state, found.in_use) == (Amount(20), "waits", False)
    assert 0 < found.nbytes < sum(path.stat().st_size for path in found.path.glob("*.segment"))


def test_a_spool_that_is_held_is_in_use_and_can_be_looked_at(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    holder = SpoolFolder.open(path)
    assert (look_at(path).in_use, look_at(path).waiting) == (True, Amount(30))
    holder.close()
    assert not look_at(path).in_use


def test_a_damaged_one_says_so(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    segment = next(path.glob("*.segment"))
    data = bytearray(segment.read_bytes())
    data[60] ^= 1
    segment.write_bytes(data)
    found = look_at(path)
    assert (found.state, found.waiting, len(found.held.damages)) == ("waits, damaged", Amount(20), 1)


def test_one_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    (path / "spool.json").write_text('{"format": 99}')
    found = look_at(path)
    assert found.state == "unusable"
    assert "newer version" in found.as_json()["error"]


def test_one_that_was_sent_but_for_damaged_bytes_says_so(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    folder = SpoolFolder.open(path)
    folder.quarantine("1-24", b"odd")
    folder.remove()
    assert look_at(path).state == "sent, damaged bytes kept"


def test_what_a_process_left_that_died_at_its_first_breath_is_no_spool(tmp_path: Path) -> None:
    shell = tmp_path / ("0" * 32)
    shell.mkdir()
    (shell / "lock").touch()
    assert look_in(tmp_path) == []


def test_the_oldest_comes_first(tmp_path: Path) -> None:
    newer, older = (left_spool(tmp_path, session=bytes([number]) * 16) for number in (1, 2))
    origin = older / "spool.json"
    origin.write_text(origin.read_text().replace("1700000000", "1600000000"))
    assert [found.path for found in look_in(tmp_path)] == [older, newer]


def test_a_segment_that_goes_away_meanwhile_was_confirmed(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    (path / "00000000.segment").symlink_to("gone")
    assert look_at(path).waiting == Amount(30)


def test_what_is_not_looked_into_is_not_read(tmp_path: Path) -> None:
    # Fails when `look_at` surveys all the same: sending a large spool would read it once more.
    path = left_spool(tmp_path)
    next(path.glob("*.segment")).rename(path / "00000001.segment.away")
    (path / "00000001.segment").mkdir()
    (found,) = look_in(tmp_path, inside=False)
    assert (found.state, found.trouble, found.waiting) == ("waits", None, Amount())
    assert look_at(path).state == "unusable"
