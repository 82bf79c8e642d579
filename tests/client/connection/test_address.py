"""Addresses of servers, as URIs say them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track.connection.address import SocketAddress
from track.connection.offline import Offline
from track_protocol.errors import UriError, UsageError
from track_protocol.uri import Uri


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
    assert (address.hosts, address.timeout, address.plaintext) == ((("host", 8123),), 10.0, False)
    assert address.offline is Offline.ALLOW


@pytest.mark.parametrize(
    ("places", "hosts"),
    [
        ("a,b,c", [("a", 8123), ("b", 8123), ("c", 8123)]),
        ("a,b,c:9000", [("a", 9000), ("b", 9000), ("c", 9000)]),
        ("a:1,b:2", [("a", 1), ("b", 2)]),
        ("a:1,a:2", [("a", 1), ("a", 2)]),
        ("[::1],[::2]:9", [("::1", 9), ("::2", 9)]),
        ("127.0.0.1,127.0.0.2,localhost:9", [("127.0.0.1", 9), ("127.0.0.2", 9), ("localhost", 9)]),
    ],
)
def test_each_host_has_a_port_or_the_last_one_has_that_of_all(
    places: str, hosts: list[tuple[str, int]]
) -> None:
    assert list(SocketAddress(f"socket://ann@{places}").hosts) == hosts


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ("a:1,b", "some of the hosts have a port and some have none: write it after each host, or after the"),
        ("a:1,b,c:2", "some of the hosts have a port"),
        ("a,b:1,c:2", "some of the hosts have a port"),
        ("a,A:8123", "A:8123 is named twice: remove one"),
        ("[::1]:1,[::1]:1", r"\[::1\]:1 is named twice"),
        ("a,b:0", "a:0: no server listens on port 0"),
        ("a:0", "a:0: no server listens on port 0"),
        (",".join(f"node{number}" for number in range(17)), "there are 17 hosts, and at most 16 may be"),
        ("a,,b", "a host is empty"),
        ("a, b", "white space in a host"),
        ("ann:trk_hidden@a,ann:trk_hidden@b", "write the login once, before the first host"),
    ],
)
def test_hosts_that_can_be_meant_in_two_ways_are_refused(places: str, message: str) -> None:
    with pytest.raises(UriError, match=message) as caught:
        SocketAddress(f"socket://{places}")
    assert "trk_hidden" not in str(caught.value)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "B", "127.0.0.1", "::1"]), st.none() | st.integers(0, 3)),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_is_written_is_refused_or_the_place_that_is_written(
    places: list[tuple[str, int | None]],
) -> None:
    (hostname, port), *more = places
    try:
        found = SocketAddress(Uri("socket", hostname, port, more_hosts=tuple(more)).to_text()).hosts
    except UriError:
        return
    assert [name for name, _ in found] == [name for name, _ in places]
    assert len({(name.lower(), port) for name, port in found}) == len(places)
    for host, (_, written) in zip(found, places, strict=True):
        assert host.port == (places[-1][1] or 8123 if written is None else written) > 0


def test_sixteen_hosts_are_accepted() -> None:
    assert len(SocketAddress(f"socket://{','.join(f'node{number}' for number in range(16))}").hosts) == 16


def test_plain_text_is_refused_if_one_host_is_another_machine() -> None:
    with pytest.raises(UsageError, match="plain text"):
        SocketAddress("socket://localhost,example.org:1?security_layer=plaintext")
    assert SocketAddress("socket://localhost,[::1]:1?security_layer=plaintext").plaintext


PIN, OTHER_PIN = "sha256:" + "A" * 43, "sha256:" + "B" * 42 + "A"


@pytest.mark.parametrize(
    ("uri", "same", "covered"),
    [
        ("socket://a,b", True, True),
        ("socket://B:8123,a:8123", True, True),
        ("socket://b", True, True),
        ("socket://b,c", True, False),
        (f"socket://b,c?pin={PIN}", True, True),
        (f"socket://b,c?pin={PIN},{OTHER_PIN}", True, False),
        (f"socket://a,b?pin={OTHER_PIN}", False, False),
        (f"socket://c?pin={PIN}", False, False),
        ("socket://a:1,b:1", False, False),
    ],
)
def test_addresses_with_a_host_in_common_are_of_one_store(uri: str, same: bool, covered: bool) -> None:
    own, other = SocketAddress(f"socket://a,b?pin={PIN}"), SocketAddress(uri)
    assert (own.is_same_server(other), own.covers(other)) == (same, covered)
    assert other.is_same_server(own) is same


def test_the_policy_of_the_uri_overrides_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACK_OFFLINE", "require")
    assert SocketAddress("socket://host").offline is Offline.REQUIRE
    assert SocketAddress("socket://host?offline=Never").offline is Offline.NEVER
    assert SocketAddress("socket://host?offline=allow").offline is Offline.ALLOW


def test_an_invalid_policy_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACK_OFFLINE", "maybe")
    with pytest.raises(UsageError, match="TRACK_OFFLINE=maybe is refused: give allow, require or never"):
        SocketAddress("socket://host")
