"""URIs as dictionaries."""

from __future__ import annotations

from track.persistence.utils import parse_options, parse_uri


def test_all_parts_of_a_uri_are_found() -> None:
    assert parse_uri("socket://bob:pw@host:8123/a/b?security_layer=AES&n=2#part") == {
        "scheme": "socket",
        "address": "host",
        "hostname": "host",
        "port": 8123,
        "path": "/a/b",
        "username": "bob",
        "password": "pw",
        "query": {"security_layer": "AES", "n": "2"},
        "fragment": "part",
    }


def test_of_several_hosts_the_first_is_found() -> None:
    parts = parse_uri("socket://bob:pw@[::1]:8123,host:1")
    assert (parts["hostname"], parts["port"], parts["password"]) == ("::1", 8123, "pw")


def test_absent_parts_are_none_or_empty() -> None:
    assert parse_uri("ephemeral:") == {
        "scheme": "ephemeral",
        "address": None,
        "hostname": None,
        "port": None,
        "path": "",
        "username": None,
        "password": None,
        "query": {},
        "fragment": "",
    }


def test_options_of_a_mapping_become_text_and_those_that_are_none_are_left_out() -> None:
    assert parse_options({"a": 1, "b": None, "c": True, "d": "x"}) == {"a": "1", "c": "true", "d": "x"}
    assert parse_options("?a=1") == {"a": "1"}
