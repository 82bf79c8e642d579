"""A turn is one thread's at a time, and free in a forked child."""

from __future__ import annotations

import os
import threading

from track.process.turn import Turn


def test_only_the_outermost_turn_of_a_thread_says_so() -> None:
    turn = Turn()
    with turn as outer, turn as inner:
        assert (outer, inner) == (True, False)
    with turn as again:
        assert again


def test_another_thread_waits() -> None:
    turn, order = Turn(), list[str]()

    def take() -> None:
        with turn as outermost:
            assert outermost
            order.append("second")

    with turn:
        thread = threading.Thread(target=take)
        thread.start()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_forked_child_finds_it_free() -> None:
    turn, taken, done = Turn(), threading.Event(), threading.Event()

    def hold() -> None:
        with turn:
            taken.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    pid = os.fork()
    if not pid:
        found = []

        def take() -> None:
            with turn as outermost:
                found.append(outermost)

        child = threading.Thread(target=take, daemon=True)
        child.start()
        child.join(5)
        os._exit(0 if found == [True] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    done.set()
    thread.join()
