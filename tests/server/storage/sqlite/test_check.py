"""What a check of a SQLite store finds; each damage is done to a real file."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import apsw
import pytest

from stored_trials import add_trials, compact_all, log_points, points_of, trial_id
from track_server.storage.sqlite.check import check_sqlite
from track_server.storage.sqlite.store import SqliteStore, open_store
from track_server.storage.unit_of_work import begin


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    store = open_store(path, exclusive=True)
    add_trials(store, 1)
    log_points(store, points_of([0.1 * value for value in range(300)]))
    log_points(store, points_of([1, None, "x"], steps=[None, 2.5, 3]), name="mixed")
    store.close()
    return path


def damaged_by(path: Path, statement: str) -> tuple[str, ...]:
    db = apsw.Connection(str(path))
    db.execute(statement)
    db.close()
    return check_sqlite(path).findings


@pytest.mark.parametrize("runs", ["'{'", "'5'", "'[5]'", "'[[1, null]]'", "'[[1, 2, 3]]'", "x'ff'"])
def test_rejected_records_that_cannot_be_counted_are_found(path: Path, runs: str) -> None:
    columns = "sid, user, first_seq, last_seq, method, names, points, code, reason, time, content, size, runs"
    values = f"x'00', 'ann', 1, 1, 'points', '[]', 1, 'bad', '', 0, x'', 0, {runs}"
    found = damaged_by(path, f"INSERT INTO rejected({columns}) VALUES({values})")
    assert found == ("rejected record 1 has text that is not valid",)


def test_stores_of_any_values_are_sound_before_and_after_compaction(tmp_path: Path) -> None:
    store = open_store(tmp_path / "all.db", exclusive=True)
    add_trials(store, 1)
    for number in range(100):
        values = [math.nan, math.inf, 1e308, -1e308, 0.1 * number, number, None, "text", True, 2**62]
        log_points(store, points_of(values, first=10 * number))
        log_points(store, points_of([1e9 + 1e-3 * number], first=number), name="steady")
    before = check_sqlite(tmp_path / "all.db")
    compact_all(store)
    after = check_sqlite(tmp_path / "all.db")
    store.close()
    assert (before.findings, after.findings) == ((), ())
    assert before.points == after.points == 1100


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.999])
def test_a_flipped_bit_in_a_chunk_is_found(path: Path, part: float) -> None:
    db = apsw.Connection(str(path))
    chunk = bytes(db.execute("SELECT data FROM chunk WHERE series = 1").get)
    db.close()
    content = path.read_bytes()
    at = content.index(chunk) + int((len(chunk) - 1) * part)
    path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
    (finding,) = check_sqlite(path).findings
    assert finding.endswith("at point 0 is damaged: its checksum does not match")


def test_a_damaged_page_is_found(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3 * 8192 : 3 * 8192 + 64] = b"\xff" * 64
    path.write_bytes(content)
    assert any(finding.startswith("SQLite: ") for finding in check_sqlite(path).findings)


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("DELETE FROM chunk WHERE series = 1", "its chunks have 0 points, and 300 were counted"),
        ("UPDATE chunk SET seq = 5 WHERE series = 1", "starts at point 5, not at 0"),
        ("UPDATE chunk SET count = 299 WHERE series = 1", "has 300 points, not 299"),
        ("UPDATE chunk SET value_max = 7 WHERE series = 1", "has bounds that differ from its points"),
        ("UPDATE series SET count = 301 WHERE id = 1", "300 points, and 301 were counted"),
        ("UPDATE series SET last = '0.5' WHERE id = 1", "its first or last point"),
        ("UPDATE series SET first_step = '7' WHERE id = 1", "its first or last point"),
        ("UPDATE series SET finite = 1, nonfinite = 299 WHERE id = 1", "the number counts of its summary"),
        ("UPDATE series SET max = 31 WHERE id = 1", "its minimum, maximum, mean or deviation"),
        ("UPDATE series SET mean = mean + 0.01 WHERE id = 1", "its minimum, maximum, mean or deviation"),
        ("UPDATE series SET m2 = 2 * m2 WHERE id = 1", "its minimum, maximum, mean or deviation"),
        ("DELETE FROM series WHERE id = 1", "belongs to no series"),
        ("DELETE FROM trial", "series 1 belongs to no trial"),
        ("UPDATE trial SET project_id = 'p'", "trial hash1_0 names a project that does not exist"),
        ("UPDATE trial SET group_id = 'g'", "trial hash1_0 names a group that does not exist"),
        ("UPDATE trial SET parameters = '{'", "trial hash1_0 has text that is not JSON"),
        ("INSERT INTO lease VALUES(9, x'00', NULL, 0)", "lease of trial 9, which does not exist"),
        ("DELETE FROM meta", "lacks tables"),
    ],
)
def test_what_does_not_fit_together_is_found(path: Path, statement: str, finding: str) -> None:
    assert any(finding in found for found in damaged_by(path, statement))


def test_a_check_does_not_hold_the_log_of_a_writer(path: Path) -> None:
    store = SqliteStore(path, "sqlite:", exclusive=True)
    log_points(store, points_of([1.0], first=300))
    assert check_sqlite(path).findings == ()
    while store.maintain(1.0):
        pass
    assert path.with_name("runs.db-wal").stat().st_size == 0
    store.close()


# -- blobs and media -----------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 300
DIGEST = hashlib.sha256(CONTENT).hexdigest()
GRAPH = {"digest": DIGEST, "size": len(CONTENT)}


@pytest.fixture
def with_media(path: Path) -> Path:
    store = open_store(path, exclusive=True)
    tx = begin(store)
    for offset in range(0, len(CONTENT), 50_000):
        tx.add_blob_data(DIGEST, len(CONTENT), CONTENT[offset : offset + 50_000], 100.0)
    tx.add_blob_data("ab" * 32, 10, b"not all", 100.0)
    tx.append_points(trial_id(), "graph", "model", None, points_of([GRAPH]))
    tx.commit()
    store.close()
    return path


def test_a_store_with_blobs_and_media_is_sound(with_media: Path) -> None:
    assert check_sqlite(with_media).findings == ()


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE blob_part SET data = zeroblob(length(data)) WHERE start = 50000", "has another SHA-256"),
        ("DELETE FROM blob_part WHERE start = 50000", "lacks some of its bytes"),
        ("DELETE FROM blob_part WHERE start = 0", "lacks some of its bytes"),
        ("UPDATE blob SET stored = size + 1 WHERE id = 1", "has 76801 bytes of 76800"),
        ("DELETE FROM blob WHERE id = 1", "point 0 refers to the blob"),
        ("DELETE FROM blob WHERE id = 1", "part 1 belongs to no blob"),
        ("INSERT INTO blob_use VALUES(1, 99)", "a use of blob 1 names a blob or a trial that does not exist"),
    ],
)
def test_damage_of_blobs_and_media_is_found(with_media: Path, statement: str, finding: str) -> None:
    assert any(finding in each for each in damaged_by(with_media, statement))
