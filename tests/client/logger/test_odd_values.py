"""Odd values in every kind of log call: nothing raises, what is dropped is counted, the rest reads back.

One store serves all values of a kind of call, so that the table takes seconds.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from odd_values import ODD_VALUES
from running_server import serving
from track import Status, TrackClient, Trial
from track.logger import TrialLogger
from track.persistence.protocol import Protocol
from track.provider import RunConfig, TrackConfig
from track.provider.native import NativeTracker
from track.tracker import Tracker
from track_protocol.errors import BadValue
from track_protocol.model.values import normalise
from track_server.app import Settings

SMALL = {name: value for name, value in ODD_VALUES.items() if type(value) is not dict or len(value) < 1_000}
"""Those that are metrics: of the others as many series would be stored, which takes its time."""

TOLD_AT_ONCE = 2
"""Values of which one warning names all places."""


@pytest.fixture(scope="module", params=["sqlite", "socket"])
def uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("store")
    if request.param == "sqlite":
        yield f"sqlite:{folder}/runs.db"
        return
    with serving(Settings(f"sqlite:{folder / 'runs.db'}", home=folder / "home")) as served:
        yield served.join("ann")


@pytest.fixture
def client(uri: str) -> Iterator[TrackClient]:
    with TrackClient(uri) as client:
        yield client


def read(protocol: Protocol, trial: Trial) -> Trial:
    protocol.flush()
    found = protocol.current_trial(trial)
    assert found is not None
    return found


def dropped(trial: Trial) -> int:
    counted: int = trial.metadata.get("dropped_points", {}).get("points", 0)
    return counted


def points(trial: Trial) -> int:
    return sum(trial.metrics.summary(name)["count"] for name in trial.metrics)  # type: ignore[attr-defined] # of stored trials


def plain(value: Any) -> Any:
    """The plain form, as text since NaN differs from itself; None if there is none for all of it."""
    try:
        return repr(normalise(value))
    except BadValue:
        return None


def check(stored: Mapping[str, Any], given: Mapping[str, Any], reason: str | None = None) -> None:
    """Each is there: equal, or with a part that became text, which a warning has named."""
    for name, value in given.items():
        expected = plain(value)
        if expected is None:
            assert reason is None or f" {name}" in reason or f".{name}" in reason, name
            assert name in stored
        else:
            assert repr(stored[name]) == expected, name


def test_the_table_is_large() -> None:
    assert len(ODD_VALUES) >= 150
    assert sum(plain(value) is None for value in ODD_VALUES.values()) >= 60


def parts() -> Iterator[dict[str, Any]]:
    names = list(ODD_VALUES)
    for start in range(0, len(names), TOLD_AT_ONCE):
        yield {name: ODD_VALUES[name] for name in names[start : start + TOLD_AT_ONCE]}


def test_values_given_at_the_creation(client: TrackClient, caplog: pytest.LogCaptureFixture) -> None:
    for given in parts():
        caplog.clear()
        logger = client.new_trial(force=True, tags=dict(given), metadata=dict(given), arguments=given)
        logger.finish()
        found = read(client.protocol, logger.trial)
        for stored in (found.parameters, found.tags, found.metadata):
            check(stored, given, caplog.text)
        assert dropped(found) == 0


def test_values_given_later(client: TrackClient, caplog: pytest.LogCaptureFixture) -> None:
    logger = client.new_trial(force=True, arguments={"a": 1})
    for given in parts():
        logger.log_arguments(given)
        logger.add_tags(given)
        logger.log_metadata(given)
    found = read(client.protocol, logger.trial)
    for stored in (found.parameters, found.tags, found.metadata):
        check(stored, ODD_VALUES, caplog.text)
    assert dropped(found) == 0


def test_values_of_a_nested_configuration_stay_apart(client: TrackClient) -> None:
    logger = client.new_trial(force=True, arguments={"model": {"odd": ODD_VALUES, "lr": 0.1}})
    (model,) = read(client.protocol, logger.trial).parameters.values()
    assert (model["lr"], set(model["odd"])) == (0.1, set(ODD_VALUES))
    assert model["odd"]["v1"] == -0.0


def test_metrics_steps_names_and_contexts(client: TrackClient) -> None:
    logger = client.new_trial(force=True, arguments={"a": 1})
    counts = logged_oddly(logger)
    found = read(client.protocol, logger.trial)
    assert points(found) + dropped(found) >= counts
    assert found.metrics["certain"] == [0.5] * len(SMALL)


def logged_oddly(logger: TrialLogger) -> int:
    """Log each value as metric, step, name and context; returns how many points that were at least."""
    calls = 0
    for name, value in SMALL.items():
        logger.log_metrics({name: value, "certain": 0.5})
        logger.log_metrics({"stepped": 0.5}, step=value)
        logger.log_metrics({"labelled": 0.5}, context={"k": value})
        logger.log_metrics({"contextual": 0.5}, context=value)
        logger.log_metrics(value, {"first": 0.5})
        logger.log_metrics(value)
        logger.log_metrics("pair", value, step=1)
        calls += 8
        if is_hashable(value):
            logger.log_metrics({value: 0.5})
            calls += 1
    return calls - EMPTY


EMPTY = sum(1 for value in ODD_VALUES.values() if issubclass(type(value), Mapping)) + 12
"""Calls that may give nothing at all, such as an empty mapping, or None as no context."""


def is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except Exception:  # noqa: BLE001  # one of the table raises
        return False
    return True


def test_options_of_calls(client: TrackClient, caplog: pytest.LogCaptureFixture) -> None:
    # Fails when one of them raises, which would end the training.
    logger = client.new_trial(force=True, arguments={"a": 1})
    for value in ODD_VALUES.values():
        logger.set_eta_total(value)
        logger.show_eta(value, value)
        logger.set_status(value)
        logger.set_status(Status.Running, value)
        logger.count_dropped(value, value)
        with logger.chrono(value, value):
            pass
    options: list[Any] = [None, "x", math.nan, 0, -1, 10**40, [], float]
    for value in options:
        other = client.new_trial(force=True, arguments={"a": 2})
        other.capture_output(value)
        other.log_system_metrics(value)
        other.finish()
    found = read(client.protocol, logger.trial)
    assert found.status is Status.Running
    assert dropped(found) > len(ODD_VALUES)
    assert sum("used instead: the default" in each.getMessage() for each in caplog.records) == 1
    assert sum("set_eta_total" in each.getMessage() for each in caplog.records) == 1


def test_a_report_whose_output_is_closed_is_warned_about(
    client: TrackClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = io.StringIO()
    closed.close()
    full = open("/dev/full", "w")  # noqa: SIM115 - its end cannot write, either
    for output in (closed, full, None):
        monkeypatch.setattr("sys.stdout", output)
        client.new_trial(force=True).report()
    monkeypatch.undo()
    assert caplog.text.count("the report cannot be printed") == 3
    with suppress(OSError):
        full.close()


def test_a_tracker_takes_them(uri: str) -> None:
    tracker = Tracker(uri)
    tracker.set_experiment("odd")
    with tracker.run(config=ODD_VALUES):
        logger = tracker._active
        for name, value in SMALL.items():
            tracker.record(name, value, 1)
            tracker.record("stepped", 0.5, value)
            tracker.record(value, 0.5, 1)
            tracker.log({name: value}, 2)
            tracker.log({"a": 0.5}, value)
            tracker.log(value)
    found = read(logger.protocol, logger.trial)
    check(found.parameters, ODD_VALUES)
    assert points(found) + dropped(found) >= 5 * len(SMALL)
    tracker.close()


def test_a_provider_takes_them(uri: str) -> None:
    with NativeTracker(TrackConfig(uri=uri)).open(RunConfig(name="odd", hparams=ODD_VALUES)) as run:
        logger: TrialLogger = run.logger  # type: ignore[attr-defined] # of this tracker's runs
        for name, value in ODD_VALUES.items():
            run.scalar(name, value)
            run.scalar(value, 0.5)
            run.scalar("labelled", 0.5, {"k": value})
            run.scalar("contextual", 0.5, value)
            run.set_context(value)
            run.set_context({})
            run.set_step(value)
            run.scalar("stepped", 0.5)
            run.set_step(1)
    with TrackClient(uri) as client:
        found = read(client.protocol, logger.trial)
        check(found.parameters, ODD_VALUES)
        assert points(found) + dropped(found) >= 5 * len(SMALL)


@pytest.fixture(autouse=True)
def warnings_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def test_masked_values_are_missing_and_decimals_are_numbers() -> None:
    client = TrackClient("ephemeral:")
    partly = np.ma.array([1.0, 2.0, 9.0], mask=[False, False, True])
    logger = client.new_trial(arguments={"rows": partly, "one": np.ma.masked, "lr": Decimal("0.5")})
    logger.log_metrics(masked=np.ma.masked, loss=Decimal("0.5"))
    logger.log_histogram("weights", partly)
    found = read(client.protocol, logger.trial)
    assert found.parameters == {"rows": [1.0, 2.0, None], "one": None, "lr": 0.5}
    assert (math.isnan(found.metrics["masked"][0]), found.metrics["loss"]) == (True, [0.5])
    (document,) = client.protocol.fetch_media(logger.trial, "histogram", "weights").values
    assert (document["n"], document["max"]) == (2, 2.0)
