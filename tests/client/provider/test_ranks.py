"""What a process of a distributed job knows of the others, before it has a process group."""

from __future__ import annotations

import pytest

from track.provider.ranks import is_first, rank, several


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, None), ({"RANK": "0"}, 0), ({"RANK": "3"}, 3), ({"RANK": "none"}, None)],
)
def test_the_rank_is_that_of_the_environment(environment: dict[str, str], expected: int | None) -> None:
    assert rank(environment) == expected


@pytest.mark.parametrize(("said", "first"), [("0", True), ("1", False)])
def test_rank_0_is_the_first(monkeypatch: pytest.MonkeyPatch, said: str, first: bool) -> None:
    monkeypatch.setenv("RANK", said)
    assert is_first() is first


def test_a_process_without_a_group_does_not_communicate() -> None:
    assert not several()
