from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from track_protocol.errors import UriError
from track_protocol.uri import Uri, boolean, check_options, parse_options, redact


def parts(uri: str, *names: str) -> tuple[Any, ...]:
    found = Uri.parse(uri)
    return tuple(getattr(found, name) for name in names)


def test_all_parts_of_a_uri_are_found() -> None:
    assert Uri.parse("socket://bob:pw@host:8123/a/b?security_layer=AES&n=2#part") == Uri(
        "socket", "host", 8123, "/a/b", "bob", "pw", {"security_layer": "AES", "n": "2"}, "part"
    )


def test_absent_parts_are_none_or_empty() -> None:
    assert Uri.parse("ephemeral:") == Uri("ephemeral", None, None, "", None, None, {}, "")


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:rel.json", "rel.json"),
        ("file://rel.json", "rel.json"),
        ("file://client_test.json", "client_test.json"),
        ("file://a/b.json", "a/b.json"),
        ("file:./a.json", "./a.json"),
        ("file:../a.json", "../a.json"),
        ("file:/abs/x.json", "/abs/x.json"),
        ("file:///abs/x.json", "/abs/x.json"),
        ("file:a%20b.json", "a b.json"),
        ("file:a%3Fb.json", "a?b.json"),
        ("file:a b.json", "a b.json"),
        ("file:/runs#1/a.json#b?strict=0", "/runs#1/a.json#b"),
        ("file:a%23b.json", "a#b.json"),
        ("sqlite:runs #2.db", "runs #2.db"),
        ("file:a@b:c.json?strict=0", "a@b:c.json"),
        ("sqlite:runs.db", "runs.db"),
        ("sqlite:///var/runs.db", "/var/runs.db"),
        ("SQLITE:runs.db", "runs.db"),
        ("sqlite::memory:", ":memory:"),
        ("ephemeral", ""),
        ("none", ""),
    ],
)
def test_the_path_of_a_store_is_found(uri: str, path: str) -> None:
    assert parts(uri, "path", "hostname") == (path, None)


@pytest.mark.parametrize(
    ("uri", "username", "password"),
    [
        ("socket://host:1", None, None),
        ("socket://bob@host:1", "bob", None),
        ("socket://bob:@host:1", "bob", ""),
        ("socket://:pw@host:1", None, "pw"),
        ("socket://bob:a:b@host:1", "bob", "a:b"),
        ("socket://bob:a@b@host:1", "bob", "a@b"),
        ("socket://bob:a/b@host:1", "bob", "a/b"),
        ("socket://bob:a/b:c@d/e@host:1", "bob", "a/b:c@d/e"),
        ("socket://bob:12/3@host:1", "bob", "12/3"),
        ("socket://bob:a%3Ab%40c%2Fd%3Fe%23f%25@host:1", "bob", "a:b@c/d?e#f%"),
        ("socket://b%40c:pw@host:1", "b@c", "pw"),
        ("socket://bob:a+b@host:1", "bob", "a+b"),
        ("socket://bob:a@host:1?backend=mongodb://u:p@h2", "bob", "a"),
    ],
)
def test_user_and_password_are_found(uri: str, username: str | None, password: str | None) -> None:
    assert parts(uri, "username", "password", "hostname", "port") == (username, password, "host", 1)


def test_an_at_sign_in_a_path_belongs_to_the_path_when_no_password_can_be_meant() -> None:
    assert parts("mongodb://host/db@x", "hostname", "path", "username") == ("host", "/db@x", None)


@pytest.mark.parametrize(
    ("place", "hostname", "port"),
    [
        ("host", "host", None),
        ("host:", "host", None),
        ("host:0", "host", 0),
        ("host:65535", "host", 65535),
        ("127.0.0.1:8123", "127.0.0.1", 8123),
        ("[::1]:8123", "::1", 8123),
        ("[::1]", "::1", None),
        ("u:p@[fe80::1%25eth0]:1", "fe80::1%eth0", 1),
        (":8123", "", 8123),
    ],
)
def test_host_and_port_are_found(place: str, hostname: str, port: int | None) -> None:
    assert parts(f"socket://{place}", "hostname", "port") == (hostname, port)


@pytest.mark.parametrize(
    ("place", "hosts"),
    [
        ("host", (("host", None),)),
        ("a,b,c", (("a", None), ("b", None), ("c", None))),
        ("a,b,c:8123", (("a", None), ("b", None), ("c", 8123))),
        ("a:1,b:2", (("a", 1), ("b", 2))),
        ("u:p@a:1,b:2/path?x=1,2", (("a", 1), ("b", 2))),
        ("[::1]:1,[fe80::1%25eth0],127.0.0.2:3", (("::1", 1), ("fe80::1%eth0", None), ("127.0.0.2", 3))),
        ("a%2Cb,c", (("a,b", None), ("c", None))),
    ],
)
def test_all_hosts_are_found_in_their_order(place: str, hosts: tuple[tuple[str, int | None], ...]) -> None:
    found = Uri.parse(f"socket://{place}")
    assert (found.hosts, (found.hostname, found.port)) == (hosts, hosts[0])


@pytest.mark.parametrize("uri", ["file:a,b.json", "sqlite://a,b.db", "ephemeral:"])
def test_a_uri_of_a_file_has_no_hosts(uri: str) -> None:
    assert Uri.parse(uri).hosts == ()


@pytest.mark.parametrize("place", ["ann:a,b@host", "a,b:pw@host", "ann:pw@host1,ann:pw@host2", ",@host"])
def test_a_comma_before_the_at_sign_is_refused_unless_it_is_encoded(place: str) -> None:
    # Fails when it is taken for a part of the password: the first of two logins would be one.
    with pytest.raises(UriError, match="write the login once, before the first host, and ',' in it as %2C"):
        Uri.parse(f"socket://{place}")
    assert parts("socket://a%2Cb:c%2Cd@h1,h2", "username", "password") == ("a,b", "c,d")


@pytest.mark.parametrize(
    ("query", "backend", "layer"),
    [
        ("security_layer=AES&backend=file:x.json?strict=1&eager=0", "file:x.json?strict=1&eager=0", "AES"),
        ("security_layer=AES&backend=file:x.json", "file:x.json", "AES"),
        ("backend=file:x.json&security_layer=AES", "file:x.json", "AES"),
        ("backend=file%3Ax.json%3Fstrict%3D1&security_layer=AES", "file:x.json?strict=1", "AES"),
        ("backend=file:x.json?strict=1&security_layer=AES", "file:x.json?strict=1&security_layer=AES", None),
        ("backend=socket://u:p%40q@h:1&security_layer=AES", "socket://u:p%40q@h:1", "AES"),
        ("backend=ephemeral&security_layer=AES", "ephemeral", "AES"),
    ],
)
def test_a_query_may_hold_a_uri(query: str, backend: str, layer: str | None) -> None:
    options = Uri.parse(f"socket://h:1?{query}").query
    assert (options["backend"], options.get("security_layer")) == (backend, layer)


def test_a_nested_uri_keeps_its_own_encoding() -> None:
    (query,) = parts("socket://h:1?backend=socket://u:p%2540@h2:2", "query")
    assert parts(query["backend"], "password") == ("p%40",)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", {}),
        ("?a=1", {"a": "1"}),
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("a=1&&b=2&", {"a": "1", "b": "2"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=%26%3D%20", {"a": "&= "}),
        ("pin=sha256:a+b/c=", {"pin": "sha256:a+b/c="}),
        ("strict", {"strict": "true"}),
        ("layer=", {"layer": ""}),
    ],
)
def test_options_are_read(options: str, expected: dict[str, str]) -> None:
    assert parse_options(options) == expected


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "no scheme"),
        ("runs.db", "no scheme"),
        ("/abs/runs.db", "no scheme"),
        ("1file:a", "no scheme"),
        ("://host", "no scheme"),
        (" file:a.json", "white space"),
        ("file:a.json\n", "white space|control"),
        ("file:a\x00.json", "control"),
        ("file:a%00.json", "NUL"),
        ("file:a%ff.json", "not UTF-8"),
        ("socket://host:port", "HOST:PORT"),
        ("socket://host:70000", "not within 0 to 65535"),
        ("socket://host:99999999999", "not within 0 to 65535"),
        ("socket://::1:8123", "in brackets"),
        ("socket://[::1:8123", "in brackets"),
        ("socket://ho st:1", "white space in a host"),
        ("socket://a, b:1", "white space in a host: remove it, also beside a comma"),
        ("socket://a,,b", "a host is empty: write one before and after each comma"),
        ("socket://a,b,", "a host is empty"),
        ("socket://,a", "a host is empty"),
        ("socket://a,:1", "a host is empty"),
        ("socket://,", "a host is empty"),
        ("socket://a:1,b:port", "HOST:PORT"),
        ("socket://a:1,b:70000", "not within 0 to 65535"),
        ("socket://a,::1", "in brackets"),
        ("socket://[::1,::2]", "in brackets"),
        ("socket://host:1?a=1&a=2", "'a' is given twice"),
        ("socket://host:1?=1", "an option has no name"),
        ("socket://host:1?a=x@y", "an '@' after a '\\?'"),
        ("socket://host:1#a@b", "an '@' after a '#'"),
    ],
)
def test_an_invalid_uri_is_refused_with_the_reason(uri: str, reason: str) -> None:
    with pytest.raises(UriError, match=reason):
        Uri.parse(uri)


def test_the_message_names_the_uri() -> None:
    with pytest.raises(UriError, match=r"^socket://bob:\*\*\*@host:port: "):
        Uri.parse("socket://bob:hunter2@host:port")


ALLOWED: dict[str, Callable[[str], Any]] = {"strict": boolean, "retries": int, "token": int, "backend": int}


def test_options_are_converted() -> None:
    assert check_options(Uri.parse("file:a.json?strict=no&retries=3"), ALLOWED) == {
        "strict": False,
        "retries": 3,
    }


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "file:a.json?stirct=1",
            "file: option 'stirct' is not known, did you mean 'strict'; known are backend, retries",
        ),
        ("file:a.json?zzz=1", "file: option 'zzz' is not known; known are"),
        ("file:a.json?strict=maybe", "file: option strict=maybe is refused: give true or false"),
        ("file:a.json?retries=many", "file: option retries=many is refused: invalid literal"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(uri: str, message: str) -> None:
    with pytest.raises(UriError) as caught:
        check_options(Uri.parse(uri), ALLOWED)
    assert str(caught.value).startswith(message)


def test_an_option_that_another_program_reads_is_left_out() -> None:
    assert check_options(Uri.parse("file:a.json?objective=loss&strict=1"), ALLOWED) == {"strict": True}


def test_a_scheme_without_options_says_so() -> None:
    with pytest.raises(UriError, match="option 'a' is not known: it has no options"):
        check_options(Uri.parse("file:a.json?a=1"), {})


def test_the_value_of_a_refused_secret_option_is_not_shown() -> None:
    def refuse(text: str) -> str:
        raise ValueError("too short")

    with pytest.raises(UriError) as caught:
        check_options(Uri.parse("file:a.json?token=hunter2"), {"token": refuse})
    assert "hunter2" not in str(caught.value)


def test_the_password_in_a_refused_nested_uri_is_not_shown() -> None:
    def refuse(text: str) -> str:
        raise ValueError("no such backend")

    with pytest.raises(UriError) as caught:
        check_options(Uri.parse("socket://h:1?backend=socket://u:hunter2@h"), {"backend": refuse})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["1", "true", "Yes", "on"])
def test_boolean_accepts_words_for_true(text: str) -> None:
    assert boolean(text) is True


@pytest.mark.parametrize("text", ["0", "false", "No", "off"])
def test_boolean_accepts_words_for_false(text: str) -> None:
    assert boolean(text) is False


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("file:a.json?strict=1", "file:a.json?strict=1"),
        ("socket://host:8123?security_layer=AES", "socket://host:8123?security_layer=AES"),
        ("socket://bob@host:8123", "socket://bob@host:8123"),
        ("socket://bob:hunter2@host:8123/p?a=1#f", "socket://bob:***@host:8123/p?a=1#f"),
        ("socket://bob:h/u:n@ter2@host:8123", "socket://bob:***@host:8123"),
        ("socket://:hunter2@host:8123", "socket://:***@host:8123"),
        ("file:a.json?token=hunter2&a=1", "file:a.json?token=***&a=1"),
        ("file:a.json?API_KEY=hunter2", "file:a.json?API_KEY=***"),
        ("socket://h:1?backend=socket://u:hunter2@h2:2?a=1", "socket://h:1?backend=socket://u:***@h2:2?a=1"),
        ("socket://h:1?backend=socket%3A%2F%2Fu%3Ahunter2%40h2", "socket://h:1?backend=socket://u:***@h2"),
        ("socket://bob:hun?ter2@host:8123", "socket://bob:***@host:8123"),
        ("socket://bob:12?hunter2=a@host:8123", "socket://bob:***@host:8123"),
        ("socket://bob:12#hunter2@host:8123", "socket://bob:***@host:8123"),
        ("socket:bob:hunter2@host:8123", "socket::***@host:8123"),
        ("bob:hunter2@host", "bob::***@host"),
        ("socket://bob:hunter2", "socket://bob:***"),
        ("socket://host:99999", "socket://host:99999"),
        ("socket://bob:hunter2@a:1,[::1]:2?x=1", "socket://bob:***@a:1,[::1]:2?x=1"),
        ("socket://bob:hunter2@a,bob:hunter2@b:1", "socket://bob:***@b:1"),
        ("socket://bob:hun,ter2@a,b:1", "socket://bob:***@a,b:1"),
        ("socket://a:1,,b:2", "socket://a:1,,b:2"),
        ("socket://a:1,bob:hunter2", "socket://a:1,bob:***"),
        ("socket://bob:hunter2,b:1", "socket://bob:***"),
        ("socket://host:port?token=hunter2", "socket://host:***?token=***"),
        ("file:a\x1b.json", "file:a?.json"),
        ("", ""),
    ],
)
def test_secrets_are_hidden(uri: str, shown: str) -> None:
    assert redact(uri) == shown


secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(secrets, st.booleans())
def test_a_password_is_never_shown_however_it_was_written(secret: str, encoded: bool) -> None:
    password = f"hunter2{secret}hunter2"
    written = quote(password, safe="") if encoded else password
    assert "hunter2" not in redact(f"socket://bob:{written}@host:8123?security_layer=AES")


@settings(max_examples=60)
@given(secrets.filter(lambda secret: "\0" not in secret), secrets.filter(lambda secret: "\0" not in secret))
def test_an_encoded_user_and_password_are_decoded(username: str, password: str) -> None:
    uri = f"socket://{quote(username, safe='')}:{quote(password, safe='')}@host:8123"
    assert parts(uri, "username", "password", "hostname", "port") == (username, password, "host", 8123)


def test_a_repr_hides_the_password_and_the_text_has_it() -> None:
    uri = Uri.parse("socket://bob:hunter2@host:8123")
    assert (repr(uri), uri.to_text()) == (
        "Uri('socket://bob:***@host:8123')",
        "socket://bob:hunter2@host:8123",
    )


@pytest.mark.parametrize("uri", ["byob:/%2Fhost/a", "file:////a.json", "file:/%2Fa.json"])
def test_a_path_that_begins_with_two_slashes_does_not_become_a_host(uri: str) -> None:
    assert Uri.parse(Uri.parse(uri).to_text()) == Uri.parse(uri)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
hostnames = st.sampled_from(["host", "127.0.0.1", "::1", "fe80::1%eth0", "a,b", "ho st"])
ports = st.none() | st.integers(0, 65535)
places = st.tuples(hostnames, ports)


def uri_of(hosts: list[tuple[str, int | None]], **other: Any) -> Uri:
    (hostname, port), *more = hosts
    return Uri(hostname=hostname, port=port, more_hosts=tuple(more), **other)


uris = st.builds(
    uri_of,
    st.tuples(hostnames | st.just(""), ports).map(lambda place: [place])
    | st.lists(places, min_size=2, max_size=4),
    scheme=st.sampled_from(["socket", "mongodb", "byob"]),
    path=texts.map(lambda text: text and f"/{text}"),
    username=st.none() | texts.filter(bool),
    password=st.none() | texts,
    query=st.dictionaries(
        st.sampled_from(["a", "security_layer", "backend", "pin"]), texts | st.just("file:a?b=1&c")
    ),
    fragment=texts,
) | st.builds(Uri, scheme=st.sampled_from(["file", "sqlite", "ephemeral"]), path=texts)


@given(uris)
def test_a_uri_round_trips_through_its_text(uri: Uri) -> None:
    assert Uri.parse(uri.to_text()) == uri


@given(st.lists(places.filter(lambda place: place[0] != "ho st"), min_size=1, max_size=4), secrets)
def test_the_hosts_are_shown_and_the_password_is_not(
    hosts: list[tuple[str, int | None]], secret: str
) -> None:
    uri = uri_of(hosts, scheme="socket", username="bob").to_text()
    written = uri.replace("@", f":hunter2{quote(secret, safe='')}hunter2@", 1)
    assert redact(written) == uri.replace("@", ":***@", 1)


@given(st.text(max_size=30) | st.text(":/@?#&=%[]ab1.+,", max_size=30).map("socket://".__add__))
def test_any_text_is_parsed_or_refused_and_always_redacted(text: str) -> None:
    redact(text)
    try:
        Uri.parse(text)
    except UriError:
        return
    assert Uri.parse(Uri.parse(text).to_text()) == Uri.parse(text)
