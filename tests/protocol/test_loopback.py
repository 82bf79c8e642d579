from __future__ import annotations

import pytest

from track_protocol.loopback import is_loopback


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.3.2.1", "::1", "[::1]"])
def test_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example.org", "127.0.0.1.org", "node17"],  # noqa: S104 - nothing listens
)
def test_any_other_host_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)
