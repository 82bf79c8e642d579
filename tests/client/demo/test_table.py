from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console

from track.demo.grid import grid
from track.demo.observation import Observation, Phase, Row
from track.demo.table import Rate, open_view, trial_table


def observation(*phases: Phase) -> Observation:
    return Observation(
        tuple(
            Row(number, f"{number}_0", parameters, phase, ("worker-8",), 123.4567, 0.9876, 10_449)
            for number, phase, parameters in zip(
                itertools.count(101), phases, grid(len(phases)), strict=False
            )
        )
    )


MANY = observation(*[Phase.WAITING] * 20, *[Phase.FINISHED] * 20, *[Phase.RUNNING] * 8, Phase.FAILED)


def shown(console: Console, seen: Observation) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    with open_view(console) as view:
        view.show(seen, 0.0)
        return console.file.getvalue().splitlines()


def terminal(height: int = 24, width: int = 80) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None, _environ={}
    )


def test_nothing_is_cut_off_in_80_columns() -> None:
    console = terminal()
    console.print(trial_table(list(MANY.rows)))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "finished" in text and "10,449" in text and "123.4567" in text  # noqa: PT018 - one report, read at once


@pytest.mark.parametrize("height", [12, 24, 60])
def test_the_live_table_fits_the_terminal(height: int) -> None:
    assert len(shown(terminal(height), MANY)) < height


def test_failed_and_running_trials_are_listed_first() -> None:
    lines = shown(terminal(24), MANY)
    names = {phase.value for phase in Phase}
    order = [word for line in lines[4:] for word in line.split() if word in names]
    assert order == ["failed"] + ["running"] * 8 + ["finished"] * (len(order) - 9)


def test_without_a_terminal_there_are_plain_lines_and_each_trial_ends_once() -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=40, _environ={})
    assert isinstance(console.file, io.StringIO)
    seen = observation(Phase.FINISHED, Phase.RUNNING)
    with open_view(console) as view:
        view.show(seen, 0.0)
        view.show(seen, 0.4)
        view.show(seen, 2.4)
    text = console.file.getvalue()
    assert "\x1b" not in text
    assert text.count("trial 101 finished by worker-8") == 1
    assert text.count("1/2 finished, 1 running") == 2
    assert max(map(len, text.splitlines())) > 40


def test_plain_lines_end_with_all_trials_done_however_soon_that_is() -> None:
    console = Console(file=io.StringIO(), force_terminal=False, _environ={})
    assert isinstance(console.file, io.StringIO)
    with open_view(console) as view:
        view.show(observation(Phase.FINISHED, Phase.RUNNING), 0.0)
        view.show(observation(Phase.FINISHED, Phase.FINISHED), 0.4)
        view.show(observation(Phase.FINISHED, Phase.FINISHED), 0.8)
    assert console.file.getvalue().count("2/2 finished, 0 running") == 1


def test_before_the_first_claim_the_workers_are_shown_as_starting() -> None:
    assert "workers are starting" in shown(terminal(), observation(Phase.WAITING))[0]


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.update(0.0, 0) == 0.0
    for second in range(1, 11):
        rate.update(float(second), 1000 * second)
    assert rate.update(20.0, 10_000) == 0.0
    assert rate.update(21.0, 12_000) == 2000.0
