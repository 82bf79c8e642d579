"""Graphs, histograms, images and texts of runs, in every kind of place."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from running_server import serving
from track import TrackClient, Tracker
from track.tracker import ExperimentDBManager, NoActiveRun
from track_protocol.errors import BadValue, ItemNotFound
from track_server.app import Settings


class Wrapped:
    """A tensor of the documented kind."""

    def __init__(
        self, name: str, values: Any, oper: str | None = None, prev: tuple[Wrapped, ...] = ()
    ) -> None:
        self.values = np.asarray(values)
        self._str_id = name
        self.label = name
        self.shape = self.values.shape
        self.comp_grad = True
        self.is_leaf = oper is None
        self.oper = oper
        self.prev = prev


@pytest.fixture(params=["folder", "file", "ephemeral", "socket"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tracker]:
    if request.param == "socket":
        with (
            serving(Settings(backend=f"sqlite:{tmp_path}/server.db", home=tmp_path / "home")) as served,
            Tracker(served.join("trainer")) as made,
        ):
            made.set_experiment("mnist")
            yield made
        return
    places = {"folder": f"{tmp_path}/experiments", "file": f"file:{tmp_path}/all.json"}
    with Tracker(places.get(request.param, "ephemeral:")) as made:
        made.set_experiment("mnist")
        yield made


@pytest.fixture
def manager() -> Iterator[ExperimentDBManager]:
    with Tracker("ephemeral:") as tracker:
        tracker.set_experiment("mnist")
        assert tracker.db_manager is not None
        yield tracker.db_manager


def manager_of(tracker: Tracker) -> ExperimentDBManager:
    assert tracker.db_manager is not None
    return tracker.db_manager


def test_a_histogram_has_the_bins_that_were_wanted(tracker: Tracker) -> None:
    values = np.concatenate([np.linspace(0.0, 1.0, 100), [math.nan, math.inf]])
    with tracker.run() as run_id:
        tracker.histogram("weights", values, step=3)
        tracker.histogram("weights", Wrapped("w", [[0.0, 1.0], [1.0, 1.0]]), 1, bins=2)
        tracker.histogram("weights", [1, 2], 2, bins=1)
    first, second, third = manager_of(tracker).get_histograms(run_id)["weights"]
    assert [first["step"], second["step"], third["step"]] == [1, 2, 3]
    assert (first["bucket_edges"], first["bucket_counts"]) == ([0.0, 0.5, 1.0], [1, 3])
    assert (len(third["bucket_counts"]), sum(third["bucket_counts"])) == (30, 100)
    assert (third["n"], third["nan"], third["posinf"]) == (102, 1, 1)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_an_image_round_trips_byte_for_byte(tracker: Tracker, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    with tracker.run() as run_id:
        tracker.image("sample", pixels, step=7)
    ((image,),) = manager_of(tracker).get_images(run_id).values()
    channels = shape[2] if len(shape) == 3 else 1
    assert (image["step"], image["width"], image["height"], image["channels"]) == (7, 5, 4, channels)
    assert image["image_data"] == pixels.tobytes()


def test_texts_are_grouped_by_name_and_ordered_by_step(tracker: Tracker) -> None:
    long = "ümlaut " * 20_000
    with tracker.run() as run_id:
        tracker.text("samples", long, step=2)
        tracker.text("samples", "first", step=1)
        tracker.text("notes", "", step=0)
    texts = manager_of(tracker).get_texts(run_id)
    assert {name: [(each["step"], each["content"]) for each in some] for name, some in texts.items()} == {
        "samples": [(1, "first"), (2, long)],
        "notes": [(0, "")],
    }


def test_graphs_are_found_by_their_ids(tracker: Tracker) -> None:
    x = Wrapped("x", [1.0])
    with tracker.run() as first:
        tracker.save_comp_graph(Wrapped("y", [1.0], "exp", (x,)))
        tracker.save_comp_graph(Wrapped("z", [1.0], "log", (x,)))
    with tracker.run() as second:
        tracker.save_comp_graph(x)
        tracker.save_comp_graph(x, run_id=first)
    graphs = tracker.get_comp_graphs(first)
    assert [graph["graph"]["nodes"][0]["id"] for graph in graphs] == ["y", "z", "x"]
    assert len({graph["id"] for graph in graphs + tracker.get_comp_graphs(second)}) == 4
    for graph in graphs:
        assert tracker.get_comp_graph(graph["id"]) == graph["graph"]
    assert graphs[0]["id"] == first
    assert tracker.get_comp_graphs(second)[0]["id"] == second
    assert (tracker.get_comp_graph(99), tracker.get_comp_graphs(99)) == (None, [])
    assert all(isinstance(graph["created_at"], float) for graph in graphs)


def test_a_torch_graph_is_stored(tracker: Tracker) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    with tracker.run() as run_id:
        tracker.save_comp_graph((torch.ones(2, requires_grad=True) * 2).sum())
    (graph,) = tracker.get_comp_graphs(run_id)
    assert len(graph["graph"]["nodes"]) == 5


def test_a_manager_stores_media_made_elsewhere(manager: ExperimentDBManager) -> None:
    run_id = manager.create_run()
    manager.save_histogram(run_id, "h", 1, [0.0, 0.5, 1.0], [3, 4])
    manager.save_image(run_id, "i", 2, width=2, height=1, channels=3, image_data=bytes(range(6)))
    manager.save_text(run_id, "t", 3, "hello")
    manager.save_comp_graph(run_id, {"nodes": [], "edges": []})
    (histogram,), (image,), (text,) = (
        found[name]
        for found, name in (
            (manager.get_histograms(run_id), "h"),
            (manager.get_images(run_id), "i"),
            (manager.get_texts(run_id), "t"),
        )
    )
    assert (histogram["bucket_edges"], histogram["bucket_counts"]) == ([0.0, 0.5, 1.0], [3, 4])
    assert (image["width"], image["height"], image["channels"]) == (2, 1, 3)
    assert image["image_data"] == bytes(range(6))
    assert (text["step"], text["content"]) == (3, "hello")
    assert manager.get_comp_graph(run_id) == {"nodes": [], "edges": []}


@pytest.mark.parametrize(
    ("save", "reported"),
    [
        (lambda manager, run: manager.save_image(run, "i", 0, 2, 2, 3, b"short"), "5 bytes are not an image"),
        (lambda manager, run: manager.save_image(run, "i", 0, 1, 1, 2, b"ab"), "1, 3 or 4 channels"),
        (lambda manager, run: manager.save_histogram(run, "h", 0, ["a"], [1]), "numbers as edges"),
        (
            lambda manager, run: manager.save_comp_graph(run, {"nodes": {1}}),
            "nodes and edges of plain values",
        ),
    ],
)
def test_invalid_media_are_refused_and_not_stored(
    manager: ExperimentDBManager, save: Any, reported: str
) -> None:
    run_id = manager.create_run()
    with pytest.raises(BadValue, match=reported):
        save(manager, run_id)
    assert (manager.get_images(run_id), manager.get_histograms(run_id)) == ({}, {})


def test_media_of_no_run_are_refused(manager: ExperimentDBManager) -> None:
    with pytest.raises(ItemNotFound, match="has no run 5"):
        manager.save_text(5, "t", 0, "hello")
    assert (manager.get_texts(5), manager.get_images(5), manager.get_histograms(5)) == ({}, {}, {})


@pytest.mark.parametrize(
    "call",
    [
        lambda tracker: tracker.histogram("h", [1.0], 0),
        lambda tracker: tracker.image("i", [[0]], 0),
        lambda tracker: tracker.text("t", "hello", 0),
        lambda tracker: tracker.save_comp_graph(Wrapped("x", [1.0])),
    ],
)
def test_media_need_a_run(call: Any) -> None:
    with Tracker("ephemeral:") as tracker:
        tracker.set_experiment("mnist")
        with pytest.raises(NoActiveRun):
            call(tracker)


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("no text")


def test_bad_media_never_end_a_training(manager: ExperimentDBManager) -> None:
    tracker = Tracker(manager.experiment.protocol)
    tracker.set_experiment("mnist")
    with tracker.run() as run_id:
        tracker.histogram("h", ["no number"], 0)
        tracker.image("i", np.zeros((2, 2, 7)), 0)
        tracker.text("t", Unprintable(), 0)  # type: ignore[arg-type]  # that is the point
    run = tracker.get_run(run_id)
    assert run is not None
    assert run.status == "completed"
    (trial,) = manager.experiment.trials()
    assert trial.metadata["dropped_points"]["points"] == 3


def test_a_client_and_a_tracker_read_each_others_media(tracker: Tracker) -> None:
    protocol = manager_of(tracker).experiment.protocol
    with tracker.run() as run_id:
        tracker.text("t", "by tracker", 1)
    trial = manager_of(tracker).experiment.trial(run_id)
    assert trial is not None
    assert protocol.fetch_media(trial, "text", "t").content(0) == b"by tracker"
    client = TrackClient(protocol)
    client.set_project(name="mnist")
    with client.new_trial(name="by client") as logger:
        logger.log_text("t", "by client", step=4)
    newest = tracker.get_all_runs()[0]
    assert manager_of(tracker).get_texts(newest.run_id)["t"][0]["content"] == "by client"


def test_media_have_the_time_of_logging_and_images_their_pixels_as_text(tmp_path: Path) -> None:
    with Tracker(tmp_path) as tracker:
        tracker.set_experiment("e")
        with tracker.run() as run_id:
            before = time.time()
            tracker.histogram("h", [1.0, 2.0], 0)
            tracker.image("i", [[0, 255]], 0)
            tracker.text("t", 5, 0)  # type: ignore[arg-type]  # what people do
        manager = tracker.db_manager
        assert manager is not None
        (histogram,), (image,), (text,) = (
            manager.get_histograms(run_id)["h"],
            manager.get_images(run_id)["i"],
            manager.get_texts(run_id)["t"],
        )
        assert all(before <= each["log_time"] <= time.time() for each in (histogram, image, text))
        assert base64.b64decode(image["data_b64"]) == image["image_data"] == bytes([0, 255])
        assert text["content"] == "5"
