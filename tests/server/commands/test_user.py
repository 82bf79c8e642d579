from __future__ import annotations

import argparse
import io
import json
import os
import socket
from pathlib import Path

import pytest

from track_protocol.errors import ItemNotFound, UsageError
from track_protocol.security.tokens import is_generated
from track_protocol.uri import Uri
from track_protocol.wire.roles import Role
from track_server.accounts.identity import Identity
from track_server.accounts.users import UserStore
from track_server.commands.user import COMMAND
from track_server.network.runtime import ServerRecord, write_server_record


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """That of a server that has run."""
    Identity.load_or_create(tmp_path / "home")
    return tmp_path / "home"


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    COMMAND.configure(parser)
    return COMMAND.run(parser.parse_args(words))


def add(home: Path, capsys: pytest.CaptureFixture[str], *options: str) -> Uri:
    assert run("add", "ann", "--role", "writer", "--home", str(home), *options) == 0
    return Uri.parse(capsys.readouterr().out.removesuffix("\n"))


def record(home: Path, **changes: object) -> None:
    values = {
        "host": "::",
        "port": 9000,
        "advertise": None,
        "pin": "",
        "pid": 1,
        "store": "sqlite:runs.db",
    }
    write_server_record(home, ServerRecord(**{**values, **changes}))  # type: ignore[arg-type] # mixed values


def test_adding_prints_the_join_uri_alone_on_standard_output(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("add", "ann", "--role", "writer", "--home", str(home)) == 0
    out, err = capsys.readouterr()
    assert out.startswith("socket://ann:trk_")
    assert out.count("\n") == 1
    assert out.endswith("\n")
    assert "trk_" not in err


def test_where_no_server_ever_ran_no_user_is_added_and_nothing_is_made(tmp_path: Path) -> None:
    # Fails when the command makes an identity that no server has: its URI would lead nowhere.
    with pytest.raises(UsageError, match=r"no server has run in .*start 'track server' there first"):
        run("add", "ann", "--role", "writer", "--home", str(tmp_path / "typo"))
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_the_join_uri_may_go_to_a_new_file_of_this_user_only(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mask: int
) -> None:
    path, before = tmp_path / "ann.uri", os.umask(mask)
    try:
        run("add", "ann", "--role", "writer", "--home", str(home), "--output", str(path))
    finally:
        os.umask(before)
    out, err = capsys.readouterr()
    uri = Uri.parse(path.read_text().removesuffix("\n"))
    assert is_generated(str(uri.password))
    assert path.stat().st_mode & 0o777 == 0o600
    assert (out, "trk_" in err, f"it is in {path}" in err) == ("", False, True)


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_a_file_that_is_there_gets_no_token(home: Path, tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "ann.uri", tmp_path / "other"
    if kind != "dangling link":
        other.write_text("mine")
    path.symlink_to(other) if "link" in kind else path.write_text("mine")
    with pytest.raises(UsageError, match="exists already: name a new file"):
        run("add", "ann", "--role", "writer", "--home", str(home), "--output", str(path))
    assert UserStore(home).list() == ()
    assert other.exists() == (kind != "dangling link")


def test_a_user_who_cannot_be_added_leaves_no_file(home: Path, tmp_path: Path) -> None:
    UserStore(home).add("ann", Role.WRITER)
    with pytest.raises(UsageError, match="exists already, and its token"):
        run("add", "ann", "--role", "writer", "--home", str(home), "--output", str(tmp_path / "ann.uri"))
    assert not (tmp_path / "ann.uri").exists()


def test_the_join_uri_holds_user_token_address_layer_and_pin(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = add(home, capsys)
    assert (uri.scheme, uri.username, uri.hostname, uri.port) == ("socket", "ann", socket.gethostname(), 8123)
    assert uri.password is not None
    assert is_generated(uri.password)
    assert uri.query == {"security_layer": "AES", "pin": Identity.load_or_create(home).pin}


def test_a_name_with_an_at_sign_survives_the_uri(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "ann@example.org", "--role", "reader", "--home", str(home)) == 0
    assert Uri.parse(capsys.readouterr().out.strip()).username == "ann@example.org"


def test_the_added_user_has_the_role(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(home, capsys)
    assert [(user.name, user.role) for user in UserStore(home).list()] == [("ann", "writer")]


def test_the_address_is_the_one_of_the_running_server(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(home, host="10.0.0.7")
    uri = add(home, capsys)
    assert (uri.hostname, uri.port) == ("10.0.0.7", 9000)


@pytest.mark.parametrize("host", ["::", "0.0.0.0"])  # noqa: S104 - nothing listens there
def test_a_server_on_all_addresses_is_reached_by_the_machines_name(
    home: Path, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    record(home, host=host)
    assert add(home, capsys).hostname == socket.gethostname()


def test_a_server_says_under_which_name_it_is_reached(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(home, advertise="track.example.org")
    assert add(home, capsys).hostname == "track.example.org"


def test_a_server_on_loopback_gives_localhost_and_says_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(home, host="127.0.0.1")
    assert run("add", "ann", "--role", "writer", "--home", str(home)) == 0
    out, err = capsys.readouterr()
    assert Uri.parse(out.strip()).hostname == "localhost"
    assert "this machine only" in err


def test_a_server_in_plain_text_gives_a_uri_without_encryption(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(home, host="127.0.0.1", plaintext=True)
    assert add(home, capsys).query == {}


def test_host_and_port_can_be_given(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(home)
    uri = add(home, capsys, "--host", "fd00::7", "--port", "1234")
    assert (uri.hostname, uri.port) == ("fd00::7", 1234)


def test_several_hosts_have_one_port(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(home, host="127.0.0.1")
    uri = add(home, capsys, "--host", "node1,[fd00::7],node3")
    assert uri.hosts == (("node1", None), ("fd00::7", None), ("node3", 9000))


@pytest.mark.parametrize("host", ["node:1", "a/b", "a@b", "a b", "a,,b", "a,", "a, b"])
def test_what_is_no_host_is_refused_before_anybody_is_added(home: Path, host: str) -> None:
    with pytest.raises(UsageError, match="--port"):
        run("add", "ann", "--role", "writer", "--home", str(home), "--host", host)
    assert UserStore(home).list() == ()


def test_the_pin_is_that_of_the_certificate_the_server_shows(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Identity.load_or_create(tmp_path / "other")
    record(home, certificate=str(other.certificate_path))
    assert add(home, capsys).query["pin"] == other.pin


def test_the_home_is_that_of_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACK_HOME", str(home))
    assert run("add", "ann", "--role", "admin") == 0
    assert capsys.readouterr().out
    assert len(UserStore(home).list()) == 1


def test_a_password_comes_from_standard_input_and_is_printed_nowhere(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    assert run("add", "ann", "--role", "writer", "--home", str(home), "--password") == 0
    out, err = capsys.readouterr()
    assert "correct horse" not in out + err
    assert Uri.parse(out.strip()).password is None
    user = UserStore(home).lookup("ann")
    assert user is not None
    assert user.verifier.iterations == 600_000


@pytest.mark.parametrize("typed", ["", "\n", "seven77\n"])
def test_a_short_password_is_refused(home: Path, typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    with pytest.raises(UsageError, match="at least 8"):
        run("add", "ann", "--role", "writer", "--home", str(home), "--password")
    assert UserStore(home).list() == ()


def test_a_password_is_no_argument(home: Path) -> None:
    with pytest.raises(SystemExit):
        run("add", "ann", "--role", "writer", "--home", str(home), "--password", "correct horse")


@pytest.mark.parametrize("words", [["add", "ann"], ["add", "ann", "--role", "king"], [], ["drop"]])
def test_wrong_arguments_are_a_usage_error(words: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run(*words)
    assert left.value.code == 2


def test_the_list_shows_names_and_roles_and_no_secrets(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = add(home, capsys).password
    assert token is not None
    assert run("list", "--home", str(home)) == 0
    out = capsys.readouterr().out
    assert out.startswith("ann  writer  ")
    assert token not in out


def test_the_list_for_machines_holds_no_secrets(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(home, capsys)
    assert run("list", "--json", "--home", str(home)) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert set(row) == {"name", "role", "created"}


def test_an_empty_list_says_what_to_do(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--home", str(home)) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "track user add" in err


def test_a_removed_user_is_not_found(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(home, capsys)
    assert run("remove", "ann", "--home", str(home)) == 0
    assert UserStore(home).list() == ()


def test_removing_an_unknown_user_is_not_found(home: Path) -> None:
    with pytest.raises(ItemNotFound) as missing:
        run("remove", "ann", "--home", str(home))
    assert missing.value.exit_code == 3
