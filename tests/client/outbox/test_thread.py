"""The thread of a sender, seen through an outbox to a store in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from memory_link import MemoryLink, MemoryStore
from track.outbox import Outbox
from track_protocol.errors import ServerUnreachable
from waiting import wait_until

TRIAL = b"t" * 16
_ENOUGH = 20.0


@contextmanager
def no_thread_starts() -> Iterator[None]:
    """The system refuses this process another thread, here for the stack that each would have."""
    before = threading.stack_size(1 << 46)
    try:
        with pytest.raises(RuntimeError):
            threading.Thread(target=print).start()
        yield
    finally:
        threading.stack_size(before)


class _Closing:
    """A link that takes as long to close as the test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        close = MemoryLink.close

        def slow(link: MemoryLink) -> None:
            self.begun.set()
            self.may_end.wait(_ENOUGH)
            close(link)

        monkeypatch.setattr(MemoryLink, "close", slow)


@pytest.fixture
def closing(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> _Closing:
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    outbox.flush()
    return _Closing(monkeypatch)


def test_a_log_call_does_not_wait_for_a_connection_that_another_thread_closes(
    outbox: Outbox, closing: _Closing
) -> None:
    # Fails when `SenderThread.stop` holds the lock while it waits for the thread.
    closer = threading.Thread(target=outbox.close)
    closer.start()
    assert closing.begun.wait(_ENOUGH)
    logger = threading.Thread(target=outbox.writer(TRIAL), args=(2, {"loss": 2.0}))
    logger.start()
    logger.join(5.0)
    waits = logger.is_alive()
    closing.may_end.set()
    closer.join()
    logger.join()
    assert not waits


def test_what_is_logged_while_the_thread_ends_is_sent_without_another_log_call(
    store: MemoryStore, outbox: Outbox, closing: _Closing
) -> None:
    # Fails when `SenderThread._run` ends without looking whether it is needed again.
    closer = threading.Thread(target=outbox.close)
    closer.start()
    assert closing.begun.wait(_ENOUGH)
    outbox.writer(TRIAL)(2, {"loss": 2.0})
    closing.may_end.set()
    closer.join()
    wait_until(lambda: [point.value for point in store.points] == [1.0, 2.0], "it is sent")


def test_whoever_closes_does_not_wait_for_a_thread_that_another_one_needs_again(
    outbox: Outbox, closing: _Closing
) -> None:
    # Fails when `SenderThread.stop` joins the thread whether or not it is to end.
    outbox.connect_timeout = 3600.0
    closer = threading.Thread(target=outbox.close)
    closer.start()
    assert closing.begun.wait(_ENOUGH)
    outbox.writer(TRIAL)(2, {"loss": 2.0})
    closer.join(5.0)
    waits = closer.is_alive()
    closing.may_end.set()
    closer.join()
    assert not waits


@pytest.mark.parametrize("call", ["release", "close_when_drained"])
def test_a_signal_that_ends_the_process_in_the_middle_of_a_call_does_not_wait_for_what_the_call_holds(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    # Fails when `SenderThread.stop` waits though it is not the outermost, or the connector is being woken.
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    outbox.flush()
    outbox.connect_timeout = 3600.0
    wake, handled = MemoryLink.wake, threading.Event()

    def interrupted(link: MemoryLink) -> None:
        monkeypatch.setattr(MemoryLink, "wake", wake)
        wake(link)
        outbox.release()
        handled.set()

    monkeypatch.setattr(MemoryLink, "wake", interrupted)
    threading.Thread(target=getattr(outbox, call), daemon=True).start()
    assert handled.wait(_ENOUGH)


def test_a_process_that_can_start_no_thread_trains_on_and_sends_later(
    store: MemoryStore, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    # Fails, with what the system raises, when `SenderThread._start` lets it through.
    write = outbox.writer(TRIAL)
    with no_thread_starts():
        for step in range(10):
            write(step, {"loss": float(step)})
        with pytest.raises(ServerUnreachable, match="no thread can start"):
            outbox.flush()
    outbox.flush()
    assert [point.value for point in store.points] == [float(step) for step in range(10)]
    (reported,) = caplog.messages
    assert "cannot start" in reported


def test_a_sender_that_can_start_no_thread_to_connect_tries_again(
    store: MemoryStore, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    # Fails, with a traceback for each attempt, when `Connector.try_again` raises what the system raises.
    write = outbox.writer(TRIAL)
    write(1, {"loss": 1.0})
    outbox.flush()
    with no_thread_starts():
        store.break_links()
        wait_until(lambda: "cannot start a thread" in str(outbox.problem), "an attempt has failed")
        write(2, {"loss": 2.0})
    outbox.flush()
    assert [point.value for point in store.points] == [1.0, 2.0]
    assert "Traceback" not in caplog.text
