"""Stored trials in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from track import TrackClient, Trial
from track.persistence.protocol import Protocol
from track.reading.runs import Runs
from track_protocol.errors import BadArguments, BadQuery


class Counting(Protocol):
    """A store that counts how often it is asked for complete trials."""

    def __init__(self, protocol: Protocol) -> None:
        super().__init__("")
        self._protocol = protocol
        self.asked = 0

    def fetch_projects(self, *args: Any, **kwargs: Any) -> Any:
        return self._protocol.fetch_projects(*args, **kwargs)

    def fetch_groups(self, *args: Any, **kwargs: Any) -> Any:
        return self._protocol.fetch_groups(*args, **kwargs)

    def fetch_fields(self, *args: Any, **kwargs: Any) -> Any:
        return self._protocol.fetch_fields(*args, **kwargs)

    def fetch_trials(
        self,
        query: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        start: int = 0,
        limit: int | None = None,
        order: Sequence[str] | None = None,
        fields: Sequence[str] | None = None,
    ) -> list[Trial]:
        self.asked += fields is None
        return self._protocol.fetch_trials(query, start=start, limit=limit, order=order, fields=fields)


@pytest.fixture
def store(client: TrackClient) -> Counting:
    """Seven trials with a learning rate from 0 to 6 and as much loss as they are from 3."""
    for number in range(7):
        with client.new_trial(force=True, name=f"t{number}", arguments={"lr": number}) as trial:
            trial.log_metrics(step=1, loss=float(abs(number - 3)))
    return Counting(client.protocol)


def names(runs: Sequence[Trial]) -> list[str | None]:
    return [trial.name for trial in runs]


def test_trials_that_were_not_fetched_are_not_counted(store: Any) -> None:
    found = Runs(store)
    assert repr(found) == "<trials, none of them fetched yet>"
    assert repr(Runs(store, limit=0)) == "<0 trials>"
    len(found)
    assert "fetched" not in repr(found)


def test_all_trials_come_in_the_order_of_their_creation(store: Counting) -> None:
    assert names(Runs(store)) == [f"t{number}" for number in range(7)]


def test_nothing_is_asked_before_it_is_needed(store: Counting) -> None:
    Runs(store, page=2)
    assert store.asked == 0


def test_a_page_takes_one_question(store: Counting) -> None:
    runs = Runs(store, page=3)
    assert runs[2].name == "t2"
    assert store.asked == 1
    assert runs[3].name == "t3"
    assert store.asked == 2


def test_what_was_fetched_is_not_asked_again(store: Counting) -> None:
    runs = Runs(store, page=3)
    assert (len(runs), len(list(runs)), store.asked) == (7, 7, 3)


def test_two_loops_at_once_each_see_all(store: Counting) -> None:
    runs = Runs(store, page=2)
    assert len([(a, b) for a in runs for b in runs]) == 49


def test_whether_there_are_any_takes_one_page(store: Counting) -> None:
    assert Runs(store, page=2)
    assert not Runs(store, {"parameters.lr": {"$gt": 100}})
    assert store.asked == 2


@pytest.mark.parametrize(
    "index", [-1, slice(-2, None), slice(2, None), slice(None), slice(1, 4), slice(5, 2, -1)]
)
def test_indices_mean_the_same_as_in_a_list(store: Counting, index: Any) -> None:
    assert Runs(store, page=2)[index] == list(Runs(store))[index]


def test_an_index_behind_the_end_is_an_error(store: Counting) -> None:
    with pytest.raises(IndexError):
        Runs(store)[7]


@pytest.mark.parametrize("limit", [0, 1, 2, 5, 100])
def test_a_limit_holds_over_pages(store: Counting, limit: int) -> None:
    assert len(Runs(store, limit=limit, page=2)) == min(limit, 7)


def test_a_filter_selects(store: Counting) -> None:
    assert names(Runs(store, "params.lr >= 2 and metrics.loss < 2")) == ["t2", "t3", "t4"]


def test_a_query_selects(store: Counting) -> None:
    assert names(Runs(store, {"parameters.lr": {"$gt": 4}})) == ["t5", "t6"]


def test_a_trial_that_changes_its_place_meanwhile_comes_once(client: TrackClient, store: Counting) -> None:
    runs = Runs(store, order="-created", page=3)
    first = runs[2]
    client.new_trial(force=True, name="newer", arguments={"lr": 9})
    assert names(runs) == [f"t{number}" for number in range(6, -1, -1)]
    assert first.name == "t4"


def test_an_order_sorts_over_pages(store: Counting) -> None:
    assert names(Runs(store, order="-parameters.lr", page=2, limit=3)) == ["t6", "t5", "t4"]
    assert names(Runs(store, order=["loss", "-created"], limit=3)) == ["t3", "t4", "t2"]


def test_an_order_that_there_is_not_suggests_another(store: Counting) -> None:
    with pytest.raises(BadQuery, match="did you mean 'loss'"):
        Runs(store, order="los")


def test_a_filter_that_is_not_understood_is_an_error_at_once(store: Counting) -> None:
    with pytest.raises(BadQuery, match="column"):
        Runs(store, "lr <")
    assert store.asked == 0


def test_a_negative_limit_is_an_error(store: Counting) -> None:
    with pytest.raises(BadArguments, match="limit=-1"):
        Runs(store, limit=-1)


def test_the_columns_have_parameters_and_last_values(store: Counting) -> None:
    columns = Runs(store, limit=2).columns()
    assert list(columns["params.lr"]) == [0, 1]
    assert list(columns["metrics.loss"]) == [3.0, 2.0]
    assert list(columns["status"]) == ["Completed"] * 2


def test_a_trial_without_a_value_has_none(client: TrackClient) -> None:
    client.new_trial(force=True, arguments={"a": 1})
    client.new_trial(force=True, arguments={"b": 2})
    client.save()
    columns = Runs(client.protocol).columns()
    assert list(columns["params.a"]) == [1, None]
    assert list(columns["params.b"]) == [None, 2]


def test_a_notebook_shows_a_table(store: Counting) -> None:
    html = Runs(store)._repr_html_()
    assert html.count("<tr>") == 8
    assert "<th>params.lr</th>" in html


def test_a_notebook_shows_the_first_of_many(client: TrackClient) -> None:
    for number in range(31):
        client.new_trial(force=True, arguments={"n": number})
    client.save()
    html = Runs(client.protocol)._repr_html_()
    assert html.count("<tr>") == 31
    assert "the first 30 trials" in html
