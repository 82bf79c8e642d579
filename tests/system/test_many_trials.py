"""Ten thousand trials in one store: created in bulk, listed, filtered, ordered and fetched page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from engine_calls import Caller, points
from running_server import serving
from track.persistence import get_protocol
from track.persistence.protocol import Protocol
from track_protocol.model.entities import Status, Trial
from track_protocol.wire.batch import CallOp, Op
from track_protocol.wire.link import Acked
from track_server.app import Settings
from track_server.engine.engine import Engine
from track_server.stores import open_store

pytestmark = pytest.mark.timeout(600)

TRIALS = 10_000
HASHES = 1_000
"""Every hash has ten revisions."""

PAGE = 1_000


def trial_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def loss_of(number: int) -> float:
    """A value of its own for each trial, in another order than that of creation."""
    return float(number * 7_919 % TRIALS)


def trial_document(number: int) -> dict[str, Any]:
    """What a client sends to create a trial; every fourth is completed."""
    status = Status.Running if number % 4 else Status.Completed
    return {
        "id": trial_id(number),
        "hash": f"hash{number % HASHES}",
        "revision": 0,
        "parameters": {"n": number},
        "status": {"value": status.value, "name": status.name},
    }


def create_all(uri: str) -> None:
    """Trials with one point each, in batches of a client that does not wait for answers."""
    engine = Engine(open_store(uri, exclusive=True))
    caller = Caller(engine)
    for first in range(1, TRIALS + 1, PAGE):
        ops: list[Op] = []
        for number in range(first, first + PAGE):
            ops.append(CallOp(len(ops), "create_trial", {"trial": trial_document(number)}))
            ops.append(points(trial_id(number), len(ops), loss=[loss_of(number)]))
        outcome = caller.log(*ops)
        assert isinstance(outcome, Acked)
        assert outcome.rejected == []
    engine.close()


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Protocol]:
    folder = tmp_path_factory.mktemp("many")
    uri = f"sqlite:{folder / 'runs.db'}"
    create_all(uri)
    with serving(Settings(uri, home=folder / "home")) as served:
        protocol = get_protocol(served.join("ann"))
        yield protocol
        protocol.close()


def numbers(trials: list[Trial]) -> list[int]:
    return [trial.parameters["n"] for trial in trials]


def test_every_trial_is_listed_once_in_the_order_of_creation(protocol: Protocol) -> None:
    found = protocol.fetch_trials({}, fields=["parameters"])
    assert numbers(found) == list(range(1, TRIALS + 1))


def test_trials_of_one_hash_have_revisions_in_the_order_of_creation(protocol: Protocol) -> None:
    found = protocol.fetch_trials({"hash": "hash7"})
    assert numbers(found) == list(range(7, TRIALS + 1, HASHES))
    assert [trial.revision for trial in found] == list(range(TRIALS // HASHES))
    another = protocol.new_trial(Trial(_hash="hash7", parameters={"n": 0}), auto_increment=True)
    assert another is not None
    assert another.revision == TRIALS // HASHES
    assert protocol.delete_trial(another, force=True)


def test_pages_in_an_order_hold_every_trial_once(protocol: Protocol) -> None:
    pages = [
        protocol.fetch_trials(
            {}, order=["-metrics.loss.last"], start=start, limit=PAGE, fields=["parameters"]
        )
        for start in range(0, TRIALS + PAGE, PAGE)
    ]
    assert [len(page) for page in pages] == [*[PAGE] * (TRIALS // PAGE), 0]
    expected = sorted(range(1, TRIALS + 1), key=loss_of, reverse=True)
    assert [number for page in pages for number in numbers(page)] == expected


def test_a_page_of_a_filter_is_that_part_of_what_matches(protocol: Protocol) -> None:
    query = {"status": Status.Completed, "metrics.loss.last": {"$lt": TRIALS / 2}}
    expected = sorted(
        (number for number in range(4, TRIALS + 1, 4) if loss_of(number) < TRIALS / 2), key=loss_of
    )
    page = protocol.fetch_trials(query, order=["metrics.loss.last"], start=200, limit=20)
    assert numbers(page) == expected[200:220]
    assert [trial.metrics["loss"] for trial in page] == [{0: loss_of(number)} for number in expected[200:220]]
    assert len(protocol.fetch_trials(query, fields=["name"])) == len(expected)
