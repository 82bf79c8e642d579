"""What `track.log` takes besides numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import track
from track import TrackClient
from track.media.image import decode_png


def series(kind: str, name: str) -> Any:
    with TrackClient(os.environ["TRACK_URI"]) as client:
        (trial,) = track.runs(client)
        return client.protocol.fetch_media(trial, kind, name)


def stored(kind: str, name: str) -> Any:
    """The only medium of a name."""
    (document,) = series(kind, name).values
    return document


def content(kind: str, name: str) -> bytes:
    found: bytes = series(kind, name).content(0)
    return found


def logged(value: Any) -> None:
    with track.init(project="p") as run:
        run.log({"it": value})


def test_an_image_of_pixels() -> None:
    numpy = pytest.importorskip("numpy")
    logged(track.Image(numpy.zeros((2, 3, 3), dtype="uint8"), caption="black"))
    assert (stored("image", "it")["height"], stored("image", "it")["width"]) == (2, 3)
    assert stored("text", "it") == {"text": "black"}


def test_several_images() -> None:
    numpy = pytest.importorskip("numpy")
    logged([track.Image(numpy.full((2, 2), value, dtype="uint8")) for value in (0, 255)])
    found = series("image", "it")
    assert [decode_png(found.content(number)).data[0] for number in (0, 1)] == [0, 255]
    assert list(found.steps) == [0, 0]


def test_an_image_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"pixels")
    logged(track.Image(str(tmp_path / "a.png")))
    assert content("file", "it") == b"pixels"


def test_a_figure() -> None:
    figure = pytest.importorskip("matplotlib.figure")
    drawn = figure.Figure(figsize=(2, 1), dpi=50)
    drawn.add_subplot().plot([1, 2])
    logged(drawn)
    assert (stored("image", "it")["width"], stored("image", "it")["height"]) == (100, 50)
    assert content("image", "it").startswith(b"\x89PNG")


def test_a_histogram_of_values() -> None:
    logged(track.Histogram([1, 2, 2, 5], num_bins=4))
    assert stored("histogram", "it")["counts"] == [1, 2, 0, 1]


def test_a_histogram_that_is_counted_already() -> None:
    logged(track.Histogram(np_histogram=([1, 3], [0.0, 0.5, 1.0])))
    assert (stored("histogram", "it")["counts"], stored("histogram", "it")["n"]) == ([1, 3], 4)


def test_an_array_is_a_histogram() -> None:
    numpy = pytest.importorskip("numpy")
    logged(numpy.array([1.0, 2.0, 3.0]))
    assert stored("histogram", "it")["n"] == 3


def test_an_array_of_one_number_is_a_number() -> None:
    numpy = pytest.importorskip("numpy")
    logged(numpy.array(0.5))
    assert track.runs()[0].summary["it"] == 0.5


@pytest.mark.parametrize("value", ["a text", track.Text("a text"), track.Html("a text")])
def test_a_text(value: Any) -> None:
    logged(value)
    assert stored("text", "it") == {"text": "a text"}


def test_a_table() -> None:
    table = track.Table(columns=["a", "b"], data=[[1, 2]])
    table.add_data(3, "x")
    logged(table)
    assert json.loads(stored("text", "it")["text"]) == {"columns": ["a", "b"], "data": [[1, 2], [3, "x"]]}


def test_media_in_a_dict_within() -> None:
    logged({"deep": track.Text("a text")})
    assert stored("text", "it.deep") == {"text": "a text"}
