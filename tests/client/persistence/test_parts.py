"""Configurations that are larger than a record, or than a frame: over a socket as on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from running_server import serving
from track import TrackClient, Trial
from track_protocol.model.aggregators import TimeSeriesAggregator
from track_server.app import Settings

FLAT = {f"k{number}": "x" * 1_000 for number in range(1_500)}
NESTED = {"lr": 0.1, "model": {"layers": FLAT, "name": "m"}}


@pytest.fixture(scope="module", params=["sqlite", "socket"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackClient]:
    folder: Path = tmp_path_factory.mktemp("store")
    if request.param == "sqlite":
        yield TrackClient(f"sqlite:{folder}/runs.db")
        return
    with serving(Settings(f"sqlite:{folder / 'runs.db'}", home=folder / "home")) as served:
        client = TrackClient(served.join("ann"))
        yield client
        client.close()


def stored(client: TrackClient) -> Trial:
    assert client.trial is not None
    client.protocol.flush()
    found = client.protocol.current_trial(client.trial)
    assert found is not None
    return found


@pytest.mark.parametrize("values", [FLAT, NESTED], ids=["flat", "nested"])
def test_a_trial_may_be_created_with_more_than_a_frame(client: TrackClient, values: dict[str, Any]) -> None:
    logger = client.new_trial(force=True, tags=values, metadata=dict(values), arguments=values)
    assert logger.trial.parameters == values
    found = stored(client)
    assert found.parameters == found.tags == values
    assert found.metadata.items() >= values.items()
    assert found.uid == logger.trial.uid


@pytest.mark.parametrize("values", [FLAT, NESTED], ids=["flat", "nested"])
def test_more_than_a_record_may_be_logged_later(client: TrackClient, values: dict[str, Any]) -> None:
    client.new_trial(force=True, arguments={"a": 1})
    client.log_arguments(values)
    client.add_tags(values)
    client.log_metadata(values)
    found = stored(client)
    assert found.parameters == {"a": 1, **values}
    assert found.tags == values
    assert found.metadata.items() >= values.items()
    assert "dropped_points" not in found.metadata


def test_a_large_dict_takes_the_place_of_the_one_before(client: TrackClient) -> None:
    client.new_trial(force=True, arguments={"a": 1})
    client.log_metadata(model={"old": 1})
    client.log_metadata(model=FLAT)
    assert stored(client).metadata["model"] == FLAT


def test_large_values_join_lists_one_by_one(client: TrackClient) -> None:
    client.new_trial(force=True, arguments={"a": 1})
    many = dict.fromkeys("abcdefgh", "y" * 60000)
    client.log_metadata(many, aggregator=TimeSeriesAggregator.lazy())
    found = stored(client)
    assert {name: found.metadata[name] for name in many} == {name: [value] for name, value in many.items()}


ROWS = [[number, "z" * 1_000] for number in range(1_200)]


@pytest.mark.parametrize(
    "values", [{"rows": ROWS}, {"model": {"rows": ROWS, "lr": 0.1}}], ids=["flat", "nested"]
)
def test_a_large_list_is_stored_in_parts(client: TrackClient, values: dict[str, Any]) -> None:
    # Fails when lists are not divided: over 384 KiB they are dropped.
    client.new_trial(force=True, tags=values, arguments=values)
    assert stored(client).parameters == stored(client).tags == values
    client.new_trial(force=True, arguments={"a": 1})
    for _ in range(2):  # it takes the place of the one before
        client.log_metadata(values)
    client.log_arguments(values)
    found = stored(client)
    assert found.parameters == {"a": 1, **values}
    assert found.metadata.items() >= values.items()
    assert "dropped_points" not in found.metadata


def test_what_cannot_be_divided_is_counted(client: TrackClient) -> None:
    client.new_trial(force=True, arguments={"a": 1})
    client.log_metadata(rows=[1, ["z" * 10_000] * 60, 2], small=1)
    found = stored(client)
    assert (found.metadata["rows"], found.metadata["small"]) == ([1, 2], 1)
    assert found.metadata["dropped_points"]["points"] == 1
