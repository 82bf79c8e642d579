"""How long a name waits after wrong logins."""

from __future__ import annotations

from track_server.http.backoff import Backoff


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_wrong_login_doubles_the_wait_up_to_a_minute() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    waits = []
    for _ in range(15):
        backoff.failed("rita")
        waits.append(backoff.wait("rita"))
    assert waits[:4] == [0.0] * 4
    assert waits[4:11] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]
    assert waits[-1] == 60.0
    clock.now += 59
    assert backoff.wait("rita") == 1.0
    clock.now += 1
    assert backoff.wait("rita") == 0.0


def test_a_right_login_ends_the_wait_and_an_hour_forgets_it() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    for _ in range(8):
        backoff.failed("rita")
    backoff.succeeded("rita")
    assert backoff.wait("rita") == 0.0
    for _ in range(8):
        backoff.failed("will")
    clock.now += 3_601
    backoff.failed("will")
    assert backoff.wait("will") == 0.0


def test_names_do_not_fill_the_memory() -> None:
    backoff = Backoff(Clock())
    for _ in range(8):
        backoff.failed("first")
    for number in range(10_000):
        backoff.failed(f"name {number}")
    assert backoff.wait("first") == 0.0
