"""Addresses of servers, as URIs say them."""

from __future__ import annotations

import pytest

from track.connection.address import SocketAddress
from track.connection.offline import Offline
from track_protocol.errors import UriError, UsageError


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        ("socket:", "socket://HOST:PORT"),
        ("socket://", "socket://HOST:PORT"),
        ("sqlite:runs.db", "socket://HOST:PORT"),
        ("socket://host/path", "ends with the port"),
        ("socket://host:99999", "port"),
        ("socket://host?pim=sha256:abc", "pim"),
        ("socket://host?pin=sha256:abc", "not a pin"),
        ("socket://host?security_layer=DES", "AES"),
        ("socket://host?timeout=soon", "timeout"),
        ("socket://host?timeout=0", "timeout"),
        ("socket://host?timeout=nan", "timeout"),
        ("socket://host?login=token", "login=token is refused: give password"),
        ("socket://host?offline=maybe", "offline=maybe is refused: give allow, require or never"),
    ],
)
def test_an_invalid_address_is_refused(uri: str, part: str) -> None:
    with pytest.raises(UriError, match=part):
        SocketAddress(uri)


def test_the_message_about_a_bad_address_hides_the_token() -> None:
    with pytest.raises(UriError) as caught:
        SocketAddress("socket://ann:trk_hidden@host/path")
    assert "trk_hidden" not in str(caught.value)


def test_plain_text_toward_another_machine_is_refused() -> None:
    with pytest.raises(UsageError, match="plain text"):
        SocketAddress("socket://example.org?security_layer=plaintext")


def test_a_port_and_a_timeout_have_defaults() -> None:
    address = SocketAddress("socket://host")
    assert (address.port, address.timeout, address.plaintext) == (8123, 10.0, False)
    assert address.offline is Offline.ALLOW


def test_the_policy_of_the_uri_overrides_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACK_OFFLINE", "require")
    assert SocketAddress("socket://host").offline is Offline.REQUIRE
    assert SocketAddress("socket://host?offline=Never").offline is Offline.NEVER
    assert SocketAddress("socket://host?offline=allow").offline is Offline.ALLOW


def test_an_invalid_policy_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACK_OFFLINE", "maybe")
    with pytest.raises(UsageError, match="TRACK_OFFLINE=maybe is refused: give allow, require or never"):
        SocketAddress("socket://host")
