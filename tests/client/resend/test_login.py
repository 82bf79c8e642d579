from __future__ import annotations

from pathlib import Path

import pytest

from track.resend.login import destination_at, is_same_server, public_address
from track_protocol.errors import AuthenticationError, ServerUnreachable, UriError

ADDRESS = "socket://ann@node1:8123?security_layer=AES&pin=sha256:" + "A" * 43
PIN = "sha256:" + "A" * 43
OTHER = "sha256:" + "B" * 42 + "A"


@pytest.mark.parametrize(
    "environment",
    [
        {"TRACK_TOKEN": "secret"},
        {"TRACK_URI": "socket://ann:secret@node1:8123"},
    ],
)
def test_a_login_comes_from_the_environment(environment: dict[str, str]) -> None:
    assert destination_at(ADDRESS, environment).name == "the server at node1:8123"


def test_a_login_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret\n")
    file.chmod(0o600)
    assert destination_at(ADDRESS, {"TRACK_TOKEN_FILE": str(file)}).timeout == 10.0


@pytest.mark.parametrize(
    "uri",
    [
        "socket://bob:secret@node1:8123",
        "socket://ann:secret@node2:8123",
        "socket://ann:secret@node1:8124",
        "socket://ann@node1:8123",
        "sqlite:runs.db",
        "",
    ],
)
def test_the_login_for_somewhere_else_is_not_used(uri: str) -> None:
    with pytest.raises(AuthenticationError, match=r"--to or in TRACK_URI.*TRACK_TOKEN or TRACK_TOKEN_FILE"):
        destination_at(ADDRESS, {"TRACK_URI": uri})


def test_a_server_of_ones_own_that_is_away_is_no_missing_login() -> None:
    # Fails when `destination_at` asks for the login that only a running server leaves.
    link = destination_at("socket://localhost:1", {}).open_link()
    with pytest.raises(ServerUnreachable, match="no server answers at localhost:1"):
        link.open(bytes(16), 10.0)
    link.close()


def test_a_named_user_of_a_server_here_needs_a_login() -> None:
    with pytest.raises(AuthenticationError, match="no login for localhost:1 as bob"):
        destination_at("socket://bob@localhost:1", {})


def test_what_is_no_server_is_refused() -> None:
    with pytest.raises(UriError):
        destination_at("sqlite:runs.db", {})


def test_no_secret_is_in_what_is_kept_of_an_address() -> None:
    found = destination_at("socket://ann:secret@node1:8123?timeout=3", {})
    assert found.address == "socket://ann@node1:8123?timeout=3"
    assert public_address("socket://ann:secret@node1") == "socket://ann@node1"


@pytest.mark.parametrize(
    ("recorded", "same"),
    [
        ("socket://ann@node1:8123", True),
        ("socket://ann@NODE1?timeout=5", True),
        (f"socket://ann@node1:8123?pin={OTHER},{PIN}", True),
        (f"socket://ann@node1:8123?pin={OTHER}", False),
        ("socket://bob@node1:8123", False),
        ("socket://node1:8123", False),
        ("socket://ann@node2:8123", False),
        ("socket://ann@node1:8124", False),
        ("sqlite:runs.db", False),
        ("", False),
    ],
)
def test_a_server_is_the_same_by_host_port_user_and_key(recorded: str, same: bool) -> None:
    assert is_same_server(recorded, f"socket://ann@node1:8123?pin={PIN}") is same
