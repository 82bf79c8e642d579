"""``track plot``: a metric in the terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from command_runner import fill, in_terminal, run
from track.commands.plot import COMMAND
from track.commands.printing import width_of
from track_protocol.errors import ItemNotFound, UsageError


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"sqlite:{tmp_path}/runs.db"
    monkeypatch.setenv("TRACK_URI", uri)
    return uri


def test_each_trial_has_a_line_and_a_name(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, _ = fill(uri)
    run(COMMAND, 'loss{phase="val"}', "--filter", "lr < 0.25")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("6 │")
    assert lines[-3].split() == ["0", "step", "3"]
    assert lines[-2:] == [
        f'* {first[:8]}_0 first loss{{phase="val"}}',
        f'+ {second[:8]}_0 résumé 猫 loss{{phase="val"}}',
    ]


def test_trials_may_be_named_and_the_axes_chosen(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, *_ = fill(uri)
    run(COMMAND, 'metrics.loss{phase="val"}', first[:8], "--x", "time", "--log", "--height", "7")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7 + 3
    assert [line.split()[0] for line in (lines[0], lines[6])] == ["6", "2"]
    assert "seconds since the start" in lines[-2]


def test_only_the_newest_are_drawn(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    *_, third = fill(uri)
    run(COMMAND, "loss", "--limit", "1")
    said = capsys.readouterr().out
    assert f"{third[:8]}_0 first loss" in said
    assert said.endswith("2 older trials are not drawn; --limit N draws more\n")


@pytest.mark.parametrize("columns", [25, 80])
def test_the_picture_fits_the_terminal(uri: str, columns: int) -> None:
    fill(uri)
    said = in_terminal(columns, "plot", "loss", "--filter", "lr < 0.15", uri=uri)
    assert "\x1b[" in said
    picture = re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines()[:22]
    assert max(map(width_of, picture)) <= columns
    assert any("\u2801" <= letter <= "\u28ff" for line in picture for letter in line)


def test_a_metric_that_is_not_there_is_an_error(uri: str) -> None:
    fill(uri)
    with pytest.raises(UsageError, match="no trial has the series 'lsos': did you mean 'loss'"):
        run(COMMAND, "lsos")
    with pytest.raises(ItemNotFound, match="none of the trials has numbers of the metric 'note'"):
        run(COMMAND, "note")
