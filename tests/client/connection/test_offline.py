from __future__ import annotations

import pytest

from track.connection.offline import Offline, offline_policy, parse_offline
from track_protocol.errors import UsageError


@pytest.mark.parametrize(
    ("policy", "may_start_alone", "may_connect"),
    [(Offline.ALLOW, True, True), (Offline.REQUIRE, True, False), (Offline.NEVER, False, True)],
)
def test_what_each_policy_allows(policy: Offline, may_start_alone: bool, may_connect: bool) -> None:
    assert (policy.may_start_alone, policy.may_connect) == (may_start_alone, may_connect)


@pytest.mark.parametrize("policy", Offline)
def test_a_policy_is_read_by_its_name(policy: Offline) -> None:
    assert parse_offline(policy.value.upper()) is policy


def test_another_name_is_refused_with_the_three_that_there_are() -> None:
    with pytest.raises(ValueError, match="give allow, require or never"):
        parse_offline("")


@pytest.mark.parametrize(
    ("given", "env", "expected"),
    [
        (None, {}, Offline.ALLOW),
        (None, {"TRACK_OFFLINE": ""}, Offline.ALLOW),
        (None, {"TRACK_OFFLINE": "never"}, Offline.NEVER),
        (Offline.REQUIRE, {"TRACK_OFFLINE": "never"}, Offline.REQUIRE),
    ],
)
def test_the_uri_then_the_environment_then_allow(
    given: Offline | None, env: dict[str, str], expected: Offline
) -> None:
    assert offline_policy(given, env) is expected


def test_an_environment_that_names_none_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="TRACK_OFFLINE=sometimes is refused: give allow, require or never"):
        offline_policy(None, {"TRACK_OFFLINE": "sometimes"})
