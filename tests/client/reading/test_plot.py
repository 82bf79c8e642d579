"""Series as a picture."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from track import TrackClient
from track.reading.plot import Line, Plot
from track.reading.runs import Runs
from track_protocol.errors import ItemNotFound, MissingExtra

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def runs(client: TrackClient) -> Runs:
    for name in ("a", "b"):
        with client.new_trial(force=True, name=name, arguments={"name": name}) as trial:
            for step in range(3):
                trial.log_metrics(step=step, loss=1.0 / (1 + step), context={"phase": "train"})
            trial.log_metrics(step="end", **{f"only_{name}": 1.0})
    return Runs(client.protocol)


def labels(plot: Plot) -> list[str]:
    (axes,) = plot.figure.axes
    return [line.get_label().strip("\N{ZERO WIDTH SPACE}") for line in axes.lines]


def test_a_notebook_shows_a_picture(runs: Runs) -> None:
    pytest.importorskip("matplotlib")
    assert runs[0].plot("loss")._repr_png_().startswith(PNG)


def test_each_series_is_a_line(runs: Runs) -> None:
    pytest.importorskip("matplotlib")
    plot = runs[0].plot()
    assert labels(plot) == ['loss{phase="train"}', "only_a"]
    (axes,) = plot.figure.axes
    assert list(axes.lines[0].get_xdata()) == [0, 1, 2]


def test_the_axis_may_be_time(runs: Runs) -> None:
    pytest.importorskip("matplotlib")
    (axes,) = runs[0].plot("loss", x="time").figure.axes
    assert axes.get_xlabel() == "seconds since the start"
    assert all(0 <= seconds < 60 for seconds in axes.lines[0].get_xdata())


def test_trials_are_drawn_together_and_named(runs: Runs) -> None:
    pytest.importorskip("matplotlib")
    assert labels(runs.plot("loss")) == ['a loss{phase="train"}', 'b loss{phase="train"}']


def test_trials_that_lack_the_metric_are_left_out(runs: Runs) -> None:
    pytest.importorskip("matplotlib")
    assert labels(runs.plot("only_b")) == ["b only_b"]


def test_a_picture_is_saved(runs: Runs, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs[0].plot("loss").save(tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(PNG)


def test_what_is_no_number_leaves_a_gap_and_no_name_is_mathematics() -> None:
    pytest.importorskip("matplotlib")
    plot = Plot([Line("_$\\frac{$", [0, 1, 2], [1.0, "a", None])])
    assert plot._repr_png_().startswith(PNG)


def test_an_unknown_metric_is_an_error(runs: Runs) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(ItemNotFound, match="did you mean 'loss'"):
        runs[0].plot("los")


def test_without_matplotlib_the_extra_is_named(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"pip install 'trackwire\[notebook\]'"):
        runs[0].plot("loss")
