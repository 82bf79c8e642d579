from __future__ import annotations

import signal

import pytest

from track.demo.interruption import ended_by_signals, undisturbed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_unwinds_the_stack_with_the_usual_exit_code(number: signal.Signals, code: int) -> None:
    with pytest.raises(SystemExit, match=str(code)), ended_by_signals():
        signal.raise_signal(number)


def test_a_signal_that_came_in_an_undisturbed_block_acts_after_it() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), undisturbed():  # noqa: PT012 - the order is what is tested
        signal.raise_signal(signal.SIGINT)
        done.append("the block")
    assert done == ["the block"]


def test_afterwards_the_earlier_signal_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with ended_by_signals(), undisturbed():
        pass
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
