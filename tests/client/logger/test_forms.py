"""The ways in which a log call may be written: each is stored, or counted with one warning."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import BaseModel

from track import TrackClient, Trial
from track.logger import TrialLogger
from track_protocol.model.aggregators import StatAggregator


@dataclasses.dataclass
class Losses:
    loss: float = 1.0


class Model(BaseModel):
    loss: float = 1.0


Logs = TrackClient | TrialLogger
Call = Callable[[Logs], object]

METRICS: list[tuple[Call, dict[str, Any]]] = [
    (lambda log: log.log_metrics({"loss": 1.0}), {"loss": [1.0]}),
    (lambda log: log.log_metrics({"loss": 1.0}, step=3), {"loss": {3: 1.0}}),
    (lambda log: log.log_metrics({"loss": 1.0}, 3), {"loss": {3: 1.0}}),
    (lambda log: log.log_metrics(3, {"loss": 1.0}), {"loss": {3: 1.0}}),
    (lambda log: log.log_metrics("loss", 1.0), {"loss": [1.0]}),
    (lambda log: log.log_metrics("loss", 1.0, step=3), {"loss": {3: 1.0}}),
    (lambda log: log.log_metrics("loss", 1.0, 3), {"loss": {3: 1.0}}),
    (lambda log: log.log_metrics(3, loss=1.0), {"loss": {3: 1.0}}),
    (lambda log: log.log_metrics("warm-up", loss=1.0), {"loss": {"warm-up": 1.0}}),
    (lambda log: log.log_metrics(3, StatAggregator.lazy(0), loss=1.0), {"loss": {"avg": 1.0}}),
    (lambda log: log.log_metrics({"loss": 1.0}, step=3, acc=0.5), {"loss": {3: 1.0}, "acc": {3: 0.5}}),
    (lambda log: log.log_metrics({"loss": 1.0}, context={"phase": "val"}), {'loss{phase="val"}': [1.0]}),
    (lambda log: log.log_metrics(Losses()), {"loss": [1.0]}),
    (lambda log: log.log_metrics(Model(), step=3), {"loss": {3: 1.0}}),
    (lambda log: log.log_metrics(SimpleNamespace(loss=1.0)), {"loss": [1.0]}),
    (lambda log: log.log_metrics({0: 0.5}), {"0": [0.5]}),
    (lambda log: log.log({"loss": 1.0}, step=3), {"loss": {3: 1.0}}),
    (lambda log: log.log(loss=1.0), {"loss": [1.0]}),
    (
        lambda log: log.log_metrics({"step": 1.0, "aggregator": 2.0, "context": 3.0, "self": 4.0}),
        {"step": [1.0], "aggregator": [2.0], "context": [3.0], "self": [4.0]},
    ),
    (
        lambda log: log.log_metrics({"step": 1.0, "loss": 2.0}, 3, context={"phase": "val"}),
        {'step{phase="val"}': {3: 1.0}, 'loss{phase="val"}': {3: 2.0}},
    ),
    (
        lambda log: log.log_metrics(aggregator=0.5, context=0.25, self=1),
        {"aggregator": [0.5], "context": [0.25], "self": [1]},
    ),
    (
        lambda log: log.log_metrics({"train": {"loss": 1.0, "top": {5: 0.5}}, "lr": 0.1}, step=3),
        {"train.loss": {3: 1.0}, "train.top.5": {3: 0.5}, "lr": {3: 0.1}},
    ),
    (
        lambda log: log.log_metrics(train={"loss": 1.0}, context={"rank": 1}),
        {'train.loss{rank="1"}': [1.0]},
    ),
    (lambda log: log.log_metrics({}), {}),
]


def stored(client: TrackClient) -> Trial:
    assert client.trial is not None
    found = client.protocol.current_trial(client.trial)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def client() -> TrackClient:
    return TrackClient("ephemeral:")


def loggers(client: TrackClient) -> list[Logs]:
    return [client.new_trial(force=True, arguments={}), client]


def read(found: Any) -> Any:
    return {"avg": found["avg"]} if isinstance(found, dict) and "avg" in found else found


def test_every_form_of_a_metric_is_stored(client: TrackClient, caplog: pytest.LogCaptureFixture) -> None:
    for call, expected in METRICS:
        for number in range(2):
            call(loggers(client)[number])
            found = stored(client)
            assert {name: read(each) for name, each in found.metrics.items()} == expected
            assert "dropped_points" not in found.metadata
    assert not caplog.records


MALFORMED: list[tuple[Call, str, int]] = [
    (lambda log: log.log_metrics(0.5), "log_metrics(0.5)", 1),
    (lambda log: log.log_metrics(3, 0.5), "log_metrics(int, 0.5)", 1),
    (lambda log: log.log_metrics([0.5, 0.25]), "log_metrics(list)", 1),
    (lambda log: log.log_metrics("loss"), "log_metrics('loss')", 1),
    (lambda log: log.log_metrics(("loss", 1.0)), "log_metrics(tuple)", 1),
    (lambda log: log.log_metrics("loss", 1.0, 2, 3), "log_metrics('loss', 1.0, int, int)", 3),
    (lambda log: log.log_metrics({"loss": 1.0}, loss=2.0), "loss was given twice", 1),
    (lambda log: log.log_metadata(["a"]), "log_metadata(list)", 1),
    (lambda log: log.add_tags(0.5), "add_tags(0.5)", 1),
    (lambda log: log.add_tags(["a", 1]), "add_tags(list)", 1),
    (lambda log: log.set_status(cast(Any, "nosuch")), "no status has name='nosuch'", 1),
    (lambda log: log.set_status(cast(Any, 5)), "no status has name=None, value=5", 1),
    (lambda log: log.set_status(cast(Any, None)), "NoneType is no status", 1),
    (lambda log: log.log_arguments(0.5), "log_arguments(0.5)", 1),
]


@pytest.mark.parametrize(
    ("call", "tags"),
    [
        (lambda log: log.add_tags("baseline"), {"baseline": True}),
        (lambda log: log.add_tags(["a", "b"]), {"a": True, "b": True}),
        (lambda log: log.add_tags("a", "b", "c"), {"a": True, "b": True, "c": True}),
        (lambda log: log.add_tags("a", "b"), {"a": "b"}),
        (lambda log: log.add_tags("a", team="vision"), {"a": True, "team": "vision"}),
    ],
)
def test_a_tag_may_be_only_a_name(client: TrackClient, call: Call, tags: dict[str, Any]) -> None:
    for number in range(2):
        call(loggers(client)[number])
        client.protocol.flush()
        assert stored(client).tags == tags


def test_anything_else_is_counted_in_the_trial_with_one_warning(
    client: TrackClient, caplog: pytest.LogCaptureFixture
) -> None:
    for call, expected, dropped in MALFORMED:
        for number in range(2):
            caplog.clear()
            log = loggers(client)[number]
            call(log)
            call(log)
            client.protocol.flush()
            assert stored(client).metadata["dropped_points"]["points"] == 2 * dropped
            (reason,) = stored(client).metadata["dropped_points"]["reasons"]
            assert expected in reason
    assert len({record.getMessage() for record in caplog.records}) <= 1


VALUES: list[tuple[str, Call]] = [
    ("metadata", lambda log: log.log_metadata({"a": 1, "aggregator": 2})),
    ("metadata", lambda log: log.log_metadata("a", 1, aggregator=2)),
    ("metadata", lambda log: log.log_metadata(a=1, aggregator=2)),
    ("tags", lambda log: log.add_tags({"a": 1, "aggregator": 2})),
    ("tags", lambda log: log.add_tags("a", 1, aggregator=2)),
    ("parameters", lambda log: log.log_arguments({"a": 1, "aggregator": 2})),
    ("parameters", lambda log: log.log_arguments("a", 1, aggregator=2)),
    ("parameters", lambda log: log.log_arguments(SimpleNamespace(a=1, aggregator=2))),
    ("parameters", lambda log: log.log_arguments(argparse.Namespace(a=1), aggregator=2)),
]


@pytest.mark.parametrize("when", ["before the creation", "later"])
def test_values_come_as_a_mapping_a_pair_or_keywords(client: TrackClient, when: str) -> None:
    for field, call in VALUES:
        for number in range(2):
            logger = client.new_trial(force=True)
            if when == "later":
                logger.ensure()
            call((logger, client)[number])
            client.save()
            found = getattr(stored(client), field)
            assert {name: found[name] for name in found if not name.startswith("_")} == {
                "a": 1,
                "aggregator": 2,
            }


def test_a_parameter_may_be_called_force(client: TrackClient) -> None:
    for given in (True, False, "hard", None):
        client.new_trial(force=True)
        client.log_arguments({"force": given})
        assert stored(client).parameters == {"force": given}
    client.new_trial(force=True)
    client.log_arguments(force=True, lr=1)
    assert stored(client).parameters == {"force": True, "lr": 1}


def test_what_is_said_twice_in_one_record_is_counted(client: TrackClient) -> None:
    logger = client.new_trial(force=True)
    logger.log_metrics({"a.b": 1.0, "a": {"b": 2.0}})
    client.protocol.flush()
    found = stored(client)
    assert (found.metrics["a.b"], found.metadata["dropped_points"]["points"]) == ([1.0], 1)
