"""Reads take turns between the peers that ask."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine_calls import Caller
from track_protocol.errors import ItemNotFound, TooBusy, UnknownMethod
from track_protocol.wire.codec import decode
from track_server.engine.engine import Engine
from track_server.engine.readers import PAGE_BYTES, Page, ReaderPool, Rest
from track_server.engine.recovery import Recovery
from track_server.methods.read import Listing
from track_server.storage.contract import Store
from track_server.storage.unit_of_work import begin
from track_server.stores import open_store

SECONDS = 30.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:{tmp_path / 'runs.db'}", exclusive=True)
    yield opened
    opened.close()


@pytest.fixture
def pool(store: Store) -> Iterator[ReaderPool]:
    """A pool of one thread, so that the order of its turns can be seen."""
    pool = ReaderPool(store, Recovery(store), threads=1)
    yield pool
    pool.close()


def ask(pool: ReaderPool, done: Callable[[Any], None], user: str = "ann", connection: int = 1) -> None:
    pool.submit("fetch_trials", {"query": {}}, done, (user, connection))


def outcome_of(pool: ReaderPool, method: str, **arguments: Any) -> Any:
    outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
    pool.submit(method, arguments, outcomes.put)
    return outcomes.get(timeout=SECONDS)


@pytest.fixture
def held(pool: ReaderPool) -> Iterator[threading.Event]:
    """The pool's only thread is busy until this is set."""
    busy, go_on = threading.Event(), threading.Event()

    def hold(_outcome: Any) -> None:
        busy.set()
        go_on.wait(SECONDS)

    ask(pool, hold)
    assert busy.wait(SECONDS)
    yield go_on
    go_on.set()


def test_a_read_does_not_wait_behind_all_that_another_peer_has_asked(
    pool: ReaderPool, held: threading.Event
) -> None:
    answered: queue.SimpleQueue[str] = queue.SimpleQueue()
    for _ in range(5):
        ask(pool, lambda _: answered.put("ann"), "ann")
    ask(pool, lambda _: answered.put("bob"), "bob")
    held.set()
    assert [answered.get(timeout=SECONDS) for _ in range(6)].index("bob") == 0


def test_a_user_with_many_connections_gets_no_more_turns(pool: ReaderPool, held: threading.Event) -> None:
    answered: queue.SimpleQueue[str] = queue.SimpleQueue()
    for connection in range(20):
        ask(pool, lambda _: answered.put("bob"), "bob", connection)
    ask(pool, lambda _: answered.put("eve"), "eve")
    held.set()
    assert [answered.get(timeout=SECONDS) for _ in range(21)].index("eve") < 3


def test_connections_of_one_user_take_turns(pool: ReaderPool, held: threading.Event) -> None:
    answered: queue.SimpleQueue[int] = queue.SimpleQueue()
    for _ in range(10):
        ask(pool, lambda _: answered.put(2), "ann", 2)
    ask(pool, lambda _: answered.put(3), "ann", 3)
    held.set()
    assert [answered.get(timeout=SECONDS) for _ in range(11)].index(3) < 3


def test_peers_that_ask_alike_take_turns(pool: ReaderPool, held: threading.Event) -> None:
    answered: queue.SimpleQueue[str] = queue.SimpleQueue()
    for peer in ("bob", "eve"):
        for _ in range(20):
            ask(pool, lambda _, peer=peer: answered.put(peer), peer)  # type: ignore[misc] # bound now
    held.set()
    order = [answered.get(timeout=SECONDS) for _ in range(40)]
    assert "bob" in order[:20]
    assert "eve" in order[:20]


def test_what_was_asked_is_answered_before_the_end(store: Store) -> None:
    pool = ReaderPool(store, Recovery(store))
    answered: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for _ in range(20):
        ask(pool, answered.put)
    pool.close()
    assert answered.qsize() == 20
    assert isinstance(outcome_of(pool, "fetch_trials", query={}), TooBusy)


def test_an_error_is_an_outcome(pool: ReaderPool) -> None:
    assert isinstance(outcome_of(pool, "fetch_metrics", trial="none", name="loss"), ItemNotFound)
    assert isinstance(outcome_of(pool, "new_trial", trial={}), UnknownMethod)


def test_an_answer_that_cannot_be_handed_over_ends_no_thread(pool: ReaderPool) -> None:
    def refuse(_outcome: Any) -> None:
        raise RuntimeError("nobody is there")

    ask(pool, refuse)
    assert isinstance(outcome_of(pool, "fetch_trials", query={}), Page)


@pytest.fixture
def many(store: Store) -> Iterator[Store]:
    """The store with 50 trials of some 20 kB."""
    engine = Engine(store)
    caller = Caller(engine)
    for number in range(50):
        caller.new_trial("h", name=f"trial {number}", parameters={"text": "x" * 20_000})
    yield store
    engine.close()


def test_a_long_list_comes_in_pages_of_bounded_size(many: Store, pool: ReaderPool) -> None:
    page = outcome_of(pool, "fetch_trials", query={})
    sizes, names = [len(page.data)], [each["name"] for each in decode(page.data)]
    while page.rest is not None:
        outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
        pool.submit_rest(page.rest, outcomes.put)
        page = outcomes.get(timeout=SECONDS)
        sizes.append(len(page.data))
        names += [each["name"] for each in decode(page.data)]
    assert names == [f"trial {number}" for number in range(50)]
    assert len(sizes) >= 5
    assert max(sizes) < 2 * PAGE_BYTES + 200_000


def test_a_trial_that_is_deleted_between_two_pages_is_left_out(many: Store, pool: ReaderPool) -> None:
    page = outcome_of(pool, "fetch_trials", query={}, fields=["id", "parameters"])
    last = outcome_of(pool, "fetch_trials", query={}, fields=["id"], start=49)
    (gone,) = decode(last.data)
    tx = begin(many)
    tx.delete_trial(gone["id"])
    tx.commit()
    found = decode(page.data)
    while page.rest is not None:
        outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
        pool.submit_rest(page.rest, outcomes.put)
        page = outcomes.get(timeout=SECONDS)
        found += decode(page.data)
    assert len(found) == 49
    assert gone["id"] not in {each["id"] for each in found}


def test_a_first_page_does_not_wait_for_further_pages(many: Store) -> None:
    pool = ReaderPool(many, Recovery(many), threads=2)
    long = outcome_of(pool, "fetch_trials", query={})
    busy, finish = threading.Event(), threading.Event()

    def hold(_outcome: Any) -> None:
        busy.set()
        finish.wait(2 * SECONDS)

    for connection in range(4):
        pool.submit_rest(long.rest, hold, ("ann", connection))
    assert busy.wait(SECONDS)
    assert isinstance(outcome_of(pool, "get_trial", trial={"uid": "none"}), Page)
    finish.set()
    pool.close()


def test_a_page_ends_after_some_milliseconds(pool: ReaderPool) -> None:
    def slow(_view: Any, keys: Sequence[Any]) -> list[dict[str, Any]]:
        time.sleep(0.001 * len(keys))
        return [{"key": key} for key in keys]

    outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
    pool.submit_rest(Rest("fetch_trials", Listing(range(2_000), slow), 0), outcomes.put)
    page = outcomes.get(timeout=SECONDS)
    assert 1 <= len(decode(page.data)) < 1_000
    assert page.rest.start < 1_000


def test_a_list_of_large_items_is_read_a_few_at_a_time(pool: ReaderPool) -> None:
    given: list[int] = []

    def small_at_first(_view: Any, keys: Sequence[Any]) -> list[dict[str, Any]]:
        given.append(len(keys))
        return [{"key": key} for key in keys]

    outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
    pool.submit_rest(Rest("fetch_tails", Listing(range(50), small_at_first, 4), 0), outcomes.put)
    page = outcomes.get(timeout=SECONDS)
    while page.rest is not None:
        pool.submit_rest(page.rest, outcomes.put)
        page = outcomes.get(timeout=SECONDS)
    assert sum(given) >= 50
    assert max(given) == 4


def test_an_item_that_cannot_be_read_is_an_error_in_its_place(pool: ReaderPool) -> None:
    def read(_view: Any, keys: Sequence[Any]) -> list[Any]:
        return [TooBusy("not now") if key == 1 else None if key == 2 else {"key": key} for key in keys]

    outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
    pool.submit_rest(Rest("fetch_columns", Listing(range(4), read), 0), outcomes.put)
    assert decode(outcomes.get(timeout=SECONDS).data) == [{"key": 0}, {"error": "not now"}, None, {"key": 3}]


@pytest.mark.parametrize("later", [("bob", 1), ("ann", 2)], ids=["another user", "another connection"])
def test_who_comes_later_does_not_get_the_time_that_others_used_before(
    pool: ReaderPool, later: tuple[str, int]
) -> None:
    first = ("ann", 1)
    answered: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    busy, finish = threading.Event(), threading.Event()

    def hold(_outcome: Any) -> None:
        busy.set()
        finish.wait(SECONDS)

    def take_10_ms(peer: tuple[str, int], _outcome: Any) -> None:
        time.sleep(0.01)
        answered.put(peer)

    ask(pool, lambda _outcome: time.sleep(1.0), *first)
    ask(pool, hold, *first)
    for _ in range(40):
        ask(pool, partial(take_10_ms, first), *first)
    assert busy.wait(SECONDS)  # the first has used a second
    for _ in range(40):
        ask(pool, partial(take_10_ms, later), *later)
    finish.set()
    assert first in [answered.get(timeout=SECONDS) for _ in range(40)]
