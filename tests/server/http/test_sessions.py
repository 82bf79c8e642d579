"""Sessions of browsers and the codes that open one."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from track_protocol.errors import StoreError
from track_protocol.wire.roles import Role
from track_server.http.sessions import ABSOLUTE_S, CODE_S, IDLE_S, Codes, Login, SessionTable

RITA = Login("rita", Role.READER, b"mark")


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


def test_a_session_is_found_by_its_cookie_and_key() -> None:
    table = SessionTable()
    made = table.open(RITA)
    assert table.find(made.cookie, made.key) == RITA
    assert table.find(made.cookie, made.cookie) is None
    assert table.find(made.key, made.key) is None
    assert table.find("", "") is None


def test_two_sessions_share_no_secret() -> None:
    table = SessionTable()
    first, second = table.open(RITA), table.open(RITA)
    assert len({first.cookie, first.key, second.cookie, second.key}) == 4
    assert table.find(first.cookie, second.key) is None
    assert min(map(len, (first.cookie, first.key))) >= 22  # 128 bits in base64


def test_a_session_ends_when_it_is_closed() -> None:
    table = SessionTable()
    made = table.open(RITA)
    table.close(made.cookie)
    table.close(made.cookie)
    assert table.find(made.cookie, made.key) is None


def test_a_session_ends_after_a_week_without_a_request() -> None:
    clock = Clock()
    table = SessionTable(clock=clock)
    used, unused = table.open(RITA), table.open(RITA)
    clock.now += IDLE_S - 1
    assert table.find(used.cookie, used.key) == RITA
    clock.now += 2
    assert table.find(unused.cookie, unused.key) is None
    assert table.find(used.cookie, used.key) == RITA


def test_a_session_ends_after_a_month_however_it_is_used() -> None:
    clock = Clock()
    table = SessionTable(clock=clock)
    made = table.open(RITA)
    began = clock.now
    while clock.now < began + ABSOLUTE_S:
        assert table.find(made.cookie, made.key) == RITA
        clock.now += IDLE_S / 2
    assert table.find(made.cookie, made.key) is None


def test_ended_sessions_and_those_beyond_a_hundred_of_a_user_leave_the_table(tmp_path: Path) -> None:
    clock = Clock()
    table = SessionTable(tmp_path / "board.db", clock)
    oldest = table.open(RITA)
    other = table.open(Login("will", Role.WRITER))
    for _ in range(100):
        clock.now += 1
        table.open(RITA)
    assert table.find(oldest.cookie, oldest.key) is None
    assert table.find(other.cookie, other.key) is not None
    clock.now += IDLE_S + 1
    table.open(RITA)
    assert table.clear() == 1
    table.release()


def test_sessions_outlive_the_process_and_may_be_ended_by_another(tmp_path: Path) -> None:
    first = SessionTable(tmp_path / "board.db")
    made = first.open(RITA)
    second = SessionTable(tmp_path / "board.db")
    assert second.find(made.cookie, made.key) == RITA
    assert second.clear() == 1
    assert first.find(made.cookie, made.key) is None
    first.release()
    second.release()


def test_a_file_that_is_no_table_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "board.db"
    path.write_bytes(b"something else, and long enough to be no database at all" * 10)
    with pytest.raises(StoreError, match="remove the file"):
        SessionTable(path)


def test_a_code_is_for_one_login_within_a_minute() -> None:
    clock = Clock()
    codes = Codes(clock)
    first, second = codes.issue(RITA), codes.issue(RITA)
    assert codes.redeem("another") is None
    assert codes.redeem(first) == RITA
    assert codes.redeem(first) is None
    clock.now += CODE_S
    assert codes.redeem(second) is None


def test_codes_that_nobody_uses_are_forgotten() -> None:
    clock = Clock()
    codes = Codes(clock)
    first = codes.issue(RITA)
    for _ in range(1_000):
        codes.issue(RITA)
    assert codes.redeem(first) is None


def test_sessions_that_another_process_changes_are_found_meanwhile_and_a_login_says_so(
    tmp_path: Path,
) -> None:
    table = SessionTable(tmp_path / "board.db")
    made = table.open(RITA)
    other = apsw.Connection(str(tmp_path / "board.db"))
    other.execute("BEGIN IMMEDIATE; DELETE FROM board_session")
    assert table.find(made.cookie, made.key) == RITA
    with pytest.raises(StoreError, match="again"):
        table.open(RITA)
    other.execute("COMMIT")
    assert table.find(made.cookie, made.key) is None
    other.close()


def test_a_session_is_found_though_its_use_cannot_be_noted(tmp_path: Path) -> None:
    clock = Clock()
    table = SessionTable(tmp_path / "board.db", clock)
    made = table.open(RITA)
    other = apsw.Connection(str(tmp_path / "board.db"))
    other.execute("BEGIN IMMEDIATE")
    clock.now += 3_600
    assert table.find(made.cookie, made.key) == RITA
    other.close()
