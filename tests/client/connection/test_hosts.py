"""Which host is tried next, and what is said about those that cannot be used."""

from __future__ import annotations

import itertools
import logging
from collections import Counter

import pytest

from track.connection.hosts import Host, Hosts, server_name, share_of
from track_protocol.errors import (
    AuthenticationError,
    CallTimeout,
    ConnectionLost,
    EncryptionMismatch,
    PinMismatch,
    ServerUnreachable,
    StoreFailed,
    TooBusy,
    TrackError,
)

A, B, C = (Host(name, 8123) for name in "abc")


def first(hosts: Hosts) -> set[Host]:
    """The hosts that may be tried first."""
    return {hosts.in_turn()[0] for _ in range(200)}


def test_each_round_tries_every_host_once_and_any_of_them_first() -> None:
    # Fails when the order is that of the URI: all clients of several servers would be at the first one.
    orders = Counter(tuple(Hosts([A, B, C]).in_turn()) for _ in range(600))
    assert set(orders) == set(itertools.permutations([A, B, C]))
    assert min(orders.values()) > 40


def test_a_lost_host_comes_after_those_that_have_not_failed() -> None:
    hosts = Hosts([A, B, C])
    hosts.note_lost(A)
    assert first(hosts) == {B, C}
    assert hosts.in_turn()[-1] == A


def test_a_host_that_was_lost_comes_before_one_that_let_no_one_in() -> None:
    hosts = Hosts([A, B, C])
    hosts.note_failed(B)
    hosts.note_lost(A)
    assert hosts.in_turn() == [C, A, B]


def test_of_those_that_failed_the_one_that_failed_first_comes_first() -> None:
    hosts = Hosts([A, B, C])
    for host in (C, A, B, C):
        hosts.note_failed(host)
    assert hosts.in_turn() == [A, B, C]


def test_a_host_that_lets_a_client_in_has_not_failed_any_more() -> None:
    hosts = Hosts([A, B])
    hosts.note_failed(A)
    hosts.note_failed(B)
    hosts.note_open(B)
    assert hosts.in_turn() == [B, A]


@pytest.mark.parametrize(
    ("seconds", "hosts", "timeout", "share"),
    [
        (10.0, 1, 10.0, 10.0),
        (10.0, 2, 10.0, 5.0),
        (9.0, 1, 10.0, 9.0),
        (10.0, 16, 10.0, 2.0),
        (-3.0, 1, 10.0, 2.0),
        (0.5, 4, 0.5, 0.5),
        (60.0, 16, 60.0, 3.75),
    ],
)
def test_a_host_may_take_its_share_of_the_time_that_is_left(
    seconds: float, hosts: int, timeout: float, share: float
) -> None:
    # Fails when one host may take all of it: a silent one would have a run start without its server.
    assert share_of(seconds, hosts, timeout) == share


def test_all_links_of_a_client_stay_at_a_host_until_it_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    # Fails when the order is drawn anew for each link: a client would be at several servers at once.
    caplog.set_level(logging.INFO, "track.connection")
    hosts = Hosts([A, B, C])
    hosts.note_open(B)
    assert first(hosts) == {B}
    hosts.note_failed(A)
    assert first(hosts) == {B}
    hosts.note_lost(B)
    assert first(hosts) == {C}
    assert caplog.messages == []
    hosts.note_open(C)
    hosts.note_open(C)
    assert caplog.messages == ["moved to c:8123, another host of the URI"]


def test_the_error_of_one_host_is_its_own() -> None:
    error = PinMismatch("another key")
    assert Hosts([A]).failure({A: error}) is error


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ((PinMismatch("x"), PinMismatch("y")), PinMismatch),
        ((EncryptionMismatch("x"), PinMismatch("y")), EncryptionMismatch),
        ((PinMismatch("x"), CallTimeout("y")), ServerUnreachable),
        ((ConnectionLost("x"), TooBusy("y")), ServerUnreachable),
        ((AuthenticationError("x"), StoreFailed("y")), StoreFailed),
    ],
)
def test_the_error_of_a_round_passes_if_that_of_one_host_may(
    errors: tuple[TrackError, TrackError], kind: type[TrackError]
) -> None:
    # In the order of the attempts, which is not that of the message.
    error = Hosts([A, B]).failure(dict(zip((B, A), reversed(errors), strict=True)))
    assert type(error) is kind
    assert str(error) == "none of the 2 hosts can be used. a:8123: x; b:8123: y"


def test_hosts_that_failed_for_one_reason_are_named_together() -> None:
    error = Hosts([A, B, C]).failure(dict.fromkeys((A, C), TooBusy("x")) | {B: TooBusy("y")})
    assert str(error) == "none of the 3 hosts can be used. a:8123 and c:8123: x; b:8123: y"


def test_what_a_person_has_to_put_right_at_one_host_is_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hosts = Hosts([A, B])
    for error in (PinMismatch("another key"), PinMismatch("another key"), ServerUnreachable("no route")):
        hosts.report(A, error)
    assert caplog.messages == ["a:8123 is not used, but another host of the URI: another key"]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (("Node17", 1), "node17:1"),
        (("FD00::7", 1), "[fd00::7]:1"),
        (("[FD00::7]", 1), "[fd00::7]:1"),
        (("127.0.0.2", 1), "localhost:1"),
        (("::1", 1), "localhost:1"),
    ],
)
def test_one_host_has_one_name_however_it_is_written(host: tuple[str, int], name: str) -> None:
    assert server_name(*host) == name


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    assert (Host("::1", 8123).shown, A.shown) == ("[::1]:8123", "a:8123")
