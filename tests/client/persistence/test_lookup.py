"""How people name trials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from command_runner import fill
from track.persistence import get_protocol
from track.persistence.lookup import find_trial
from track.persistence.protocol import Protocol
from track_protocol.errors import ItemNotFound, UsageError


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
