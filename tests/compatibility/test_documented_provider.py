"""The config-driven tracker as its documents describe it: its names, and how a new backend is added."""

from __future__ import annotations

import inspect
import json
import sys
from abc import ABC
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import pytest
from pydantic import BaseModel

import track.provider
from track.provider import (
    AnyTrackerConfig,
    BaseTracker,
    BaseTrackerRun,
    RunConfig,
    register_provider,
    tracker_from_config,
)

# -- the three parts of a new tracker ------------------------------------------------------------


class JsonLinesConfig(BaseModel):
    """The settings, reported apart by the literal."""

    provider: Literal["jsonl"] = "jsonl"
    path: Path


class JsonLinesRun(BaseTrackerRun):
    """The run handler: calls become lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._step = 0
        self._context: dict[str, str] = {}

    def set_step(self, step: int) -> None:
        self._step = step

    def set_context(self, context: Mapping[str, str]) -> None:
        self._context = dict(context)

    def scalar(self, name: str, value: float, context: Mapping[str, str] | None = None) -> None:
        self._line(name, value, context)

    def bins(self, name: str, values: Any, context: Mapping[str, str] | None = None) -> None:
        self._line(name, sorted(values), context)

    def _line(self, name: str, value: Any, context: Mapping[str, str] | None) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps([self._step, name, value, {**self._context, **(context or {})}]) + "\n")


class JsonLinesTracker(BaseTracker[JsonLinesConfig]):
    """The tracker factory: makes runs, and remembers which is its own."""

    def __init__(self, config: JsonLinesConfig) -> None:
        self._config = config
        self._run = 0

    @classmethod
    def from_config(cls, config: JsonLinesConfig) -> Self:
        return cls(config)

    @contextmanager
    def open(self, properties: RunConfig) -> Iterator[BaseTrackerRun]:
        self._run = self._run or 1
        yield JsonLinesRun(self._config.path)

    def state_dict(self) -> dict[str, Any]:
        return {"run": self._run}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._run = state_dict["run"]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The new tracker, until the end of the test."""
    monkeypatch.setattr("track.provider.registry._registered", dict(track.provider.registry._registered))
    monkeypatch.setitem(sys.modules, "json_lines", sys.modules[__name__])
    register_provider(JsonLinesConfig, "json_lines:JsonLinesTracker")


class Experiment(BaseModel):
    """A file that chooses the backend for a training loop that stays as it is."""

    tracker: AnyTrackerConfig
    run: RunConfig


def training_loop(tracker: BaseTracker[Any], properties: RunConfig) -> None:
    with tracker.open(properties) as run:
        run.set_context({"phase": "train"})
        for step in range(2):
            run.set_step(step)
            run.scalar("loss", 1.0 - step)
            run.scalar("loss", 2.0 - step, context={"phase": "val"})
            run.bins("weights", [3.0, 1.0, 2.0], context={"layer": "1"})


@pytest.mark.usefixtures("registered")
def test_a_new_backend_is_chosen_by_a_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    file = json.dumps({"tracker": {"provider": "jsonl", "path": str(path)}, "run": {"name": "digits"}})
    experiment = Experiment.model_validate_json(file)
    tracker = tracker_from_config(experiment.tracker)
    training_loop(tracker, experiment.run)
    assert [json.loads(line) for line in path.read_text().splitlines()][:3] == [
        [0, "loss", 1.0, {"phase": "train"}],
        [0, "loss", 2.0, {"phase": "val"}],
        [0, "weights", [1.0, 2.0, 3.0], {"phase": "train", "layer": "1"}],
    ]
    resumed = tracker_from_config(experiment.tracker)
    resumed.load_state_dict(tracker.state_dict())
    assert resumed.state_dict() == {"run": 1}


@pytest.mark.parametrize(
    "config", [{"provider": "track", "uri": "ephemeral:"}, {"provider": "console"}, {"provider": "null"}]
)
def test_the_same_loop_trains_with_each_backend(config: dict[str, str]) -> None:
    training_loop(tracker_from_config(config), RunConfig(name="digits", hparams={"lr": 0.1}))


# -- names ---------------------------------------------------------------------------------------


def test_trackers_and_runs_are_abstract() -> None:
    assert issubclass(BaseTracker, ABC)
    assert issubclass(BaseTrackerRun, ABC)
    assert BaseTracker.__abstractmethods__ == {"from_config", "open", "state_dict", "load_state_dict"}
    assert BaseTrackerRun.__abstractmethods__ == {"set_step", "set_context", "scalar", "bins"}


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (BaseTracker.from_config, ["config"]),
        (BaseTracker.open, ["self", "properties"]),
        (BaseTrackerRun.set_step, ["self", "step"]),
        (BaseTrackerRun.set_context, ["self", "context"]),
        (BaseTrackerRun.scalar, ["self", "name", "value", "context"]),
        (BaseTrackerRun.bins, ["self", "name", "values", "context"]),
        (tracker_from_config, ["config"]),
    ],
)
def test_arguments_have_the_documented_names(function: Any, names: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == names


def test_a_run_has_a_name_a_description_and_hyperparameters() -> None:
    assert RunConfig(name="digits").model_dump() == {"name": "digits", "description": None, "hparams": {}}


def test_a_tracker_is_stateful_as_pytorch_understands_it() -> None:
    stateful = pytest.importorskip("torch.distributed.checkpoint.stateful", reason="torch is not installed")
    assert isinstance(tracker_from_config({"provider": "null"}), stateful.Stateful)
