"""How people name trials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from command_runner import fill
from track.persistence import get_protocol
from track.persistence.lookup import find_trial
from track.persistence.protocol import Protocol
from track_protocol.errors import ItemNotFound, UsageError
from track_protocol.model.entities import Trial


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/runs.db"


@pytest.fixture
def uids(uri: str) -> list[str]:
    return fill(uri)


@pytest.fixture
def protocol(uri: str, uids: list[str]) -> Iterator[Protocol]:
    with closing(get_protocol(uri)) as protocol:
        yield protocol


def test_a_trial_is_named_by_uid_prefix_id_or_name(protocol: Protocol, uids: list[str]) -> None:
    first = find_trial(protocol, uids[1])
    assert first.id is not None
    for name in (uids[1][:12], f"{uids[1][:12]}_0", uids[1][:64], first.id.hex(), "résumé 猫"):
        assert find_trial(protocol, name).uid == uids[1]


@pytest.mark.parametrize("name", ["nobody", "", "0123", "zz_0", "0" * 32])
def test_a_missing_trial_is_an_error(protocol: Protocol, name: str) -> None:
    with pytest.raises(ItemNotFound, match="no trial is called"):
        find_trial(protocol, name)


def test_a_name_of_several_trials_is_not_enough(protocol: Protocol, uids: list[str]) -> None:
    with pytest.raises(UsageError, match="'first' matches 2 trials") as caught:
        find_trial(protocol, "first")
    assert uids[0][:12] in str(caught.value)


def test_a_name_of_very_many_trials_fetches_none_of_them(protocol: Protocol) -> None:
    for number in range(20):
        protocol.new_trial(Trial(name="many", parameters={"n": number}))
    protocol.flush()

    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        raise AssertionError("whole trials were fetched")

    protocol.fetch_trials = refuse  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="'many' matches 20 trials") as caught:
        find_trial(protocol, "many")
    assert str(caught.value).count("…") == 5


def test_a_uid_is_not_that_of_a_trial_whose_name_it_is(protocol: Protocol, uids: list[str]) -> None:
    protocol.new_trial(Trial(name=uids[0]))
    protocol.flush()
    assert find_trial(protocol, uids[0]).name == "first"
