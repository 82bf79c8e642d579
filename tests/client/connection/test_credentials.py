from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from track.connection.credentials import (
    LocalCredentials,
    StoredLogin,
    StoredLogins,
    find_secret,
    local_credentials,
)
from track_protocol.errors import AuthenticationError, UsageError
from track_protocol.security.tokens import Secret

CONTENT = {
    "host": "127.0.0.1",
    "port": 8123,
    "pin": "sha256:x",
    "username": "local-1000",
    "token": "hunter2",
    "pid": 42,
    "plaintext": False,
}


def leave(runtime: Path, content: object = CONTENT, mode: int = 0o600) -> Path:
    folder = runtime / "track"
    folder.mkdir(mode=0o700)
    path = folder / "8123.json"
    path.write_text(json.dumps(content))
    path.chmod(mode)
    return path


def look(runtime: Path, port: int = 8123) -> LocalCredentials | None:
    return local_credentials(port, {"XDG_RUNTIME_DIR": str(runtime)})


def test_the_credentials_of_the_users_own_server_are_found(tmp_path: Path) -> None:
    path = leave(tmp_path)
    assert look(tmp_path) == LocalCredentials(
        "127.0.0.1", 8123, "sha256:x", "local-1000", Secret("hunter2"), 42, False, path
    )


def test_what_is_found_does_not_show_its_token(tmp_path: Path) -> None:
    leave(tmp_path)
    assert "hunter2" not in repr(look(tmp_path))


def test_without_a_server_there_is_nothing_and_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert look(tmp_path) is None
    assert not caplog.records


def test_credentials_of_another_port_are_not_used(tmp_path: Path) -> None:
    leave(tmp_path)
    assert look(tmp_path, 8124) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_may_read_or_write_is_not_used(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = leave(tmp_path, mode=mode)
    assert look(tmp_path) is None
    assert str(path) in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.chown(leave(tmp_path), 12345, 12345)
    assert look(tmp_path) is None
    assert "belongs to user 12345" in caplog.text


def test_a_link_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = leave(tmp_path)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert look(tmp_path) is None
    assert "not used" in caplog.text


def test_a_folder_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "track" / "8123.json").mkdir(parents=True)
    assert look(tmp_path) is None
    assert "not used" in caplog.text


@pytest.mark.timeout(10)
def test_a_pipe_in_its_place_does_not_hold_the_client(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "track").mkdir()
    os.mkfifo(tmp_path / "track" / "8123.json", 0o600)
    assert look(tmp_path) is None
    assert "not a regular file" in caplog.text


@pytest.mark.parametrize("content", [[], {}, "text", {**CONTENT, "port": 9}, {**CONTENT, "pid": "x"}])
def test_a_file_that_no_server_wrote_is_not_used(
    tmp_path: Path, content: object, caplog: pytest.LogCaptureFixture
) -> None:
    leave(tmp_path, content)
    assert look(tmp_path) is None
    assert "form that a server writes" in caplog.text


def test_the_secret_of_the_environment_overrides_that_of_a_file(tmp_path: Path) -> None:
    env = {"TRACK_TOKEN": " env\n", "TRACK_TOKEN_FILE": str(tmp_path / "missing")}
    assert find_secret(env) == Secret("env")


def test_the_secret_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("file\n")
    (tmp_path / "token").chmod(0o600)
    assert find_secret({"TRACK_TOKEN": "", "TRACK_TOKEN_FILE": str(tmp_path / "token")}) == Secret("file")


def test_without_any_secret_there_is_none() -> None:
    assert find_secret({}) is None


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff"])
def test_an_empty_token_file_is_an_error_that_names_it(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=str(path)):
        find_secret({"TRACK_TOKEN_FILE": str(path)})


def test_a_token_file_that_anybody_may_read_is_used_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "token").write_text("hunter2")
    (tmp_path / "token").chmod(0o644)
    assert find_secret({"TRACK_TOKEN_FILE": str(tmp_path / "token")}) == Secret("hunter2")
    assert "chmod 600" in caplog.text
    assert "hunter2" not in caplog.text


def login(username: str = "ann", *servers: str, token: str = "trk_1", pin: str = "sha256:x") -> StoredLogin:
    return StoredLogin(servers or ("node1:8123",), pin, username, Secret(token))


def test_a_stored_login_is_found_for_its_server_and_user_only(tmp_path: Path) -> None:
    logins = StoredLogins(tmp_path / "track")
    assert logins.find(["node1:8123"]) is None
    logins.store(login())
    logins.store(login("bob"))
    assert logins.find(["node1:8123"], "ann") == login()
    assert logins.find(["node1:8123"]) == login("bob")
    assert logins.find(["node1:8124"], "ann") is logins.find(["node1:8123"], "eve") is None


def test_a_login_replaces_the_earlier_one_of_its_user(tmp_path: Path) -> None:
    logins = StoredLogins(tmp_path)
    for token in ("trk_1", "trk_2"):
        logins.store(login(token=token))
    assert json.loads(logins.path.read_text())["logins"] == [
        {"servers": ["node1:8123"], "pin": "sha256:x", "username": "ann", "token": "trk_2"}
    ]


def test_a_login_is_that_of_all_servers_of_its_store(tmp_path: Path) -> None:
    logins = StoredLogins(tmp_path)
    logins.store(login("ann", "node1:8123", "node2:8123"))
    for servers in (["node1:8123"], ["node2:8123"], ["node3:8123", "node2:8123"]):
        found = logins.find(servers)
        assert found is not None
        assert found.token == Secret("trk_1")
    assert logins.find(["node3:8123"]) is None
    assert logins.remove(["node2:8123"])
    assert logins.find(["node1:8123"]) is None


def test_a_new_token_replaces_the_earlier_one_at_all_servers_with_that_key(tmp_path: Path) -> None:
    logins = StoredLogins(tmp_path)
    logins.store(login("ann", "node1:8123", "node2:8123"))
    logins.store(login("ann", "node2:8123", "node3:8123", token="trk_2"))
    everywhere = login("ann", "node2:8123", "node3:8123", "node1:8123", token="trk_2")
    assert logins.find(["node1:8123"]) == everywhere
    logins.store(login("ann", "node1:8123", token="trk_3", pin="sha256:y"))
    assert logins.find(["node2:8123"]) is None


def test_a_login_without_a_key_is_for_the_servers_that_it_names_only(tmp_path: Path) -> None:
    # Fails when `find` is content with one of them: nothing would bind the token to the others.
    logins = StoredLogins(tmp_path)
    logins.store(login("ann", "localhost:1", "localhost:2", pin=""))
    assert logins.find(["localhost:1", "localhost:3"]) is None
    assert logins.find(["localhost:2", "localhost:1"]) is not None


def test_a_login_is_removed_by_server_and_user(tmp_path: Path) -> None:
    logins = StoredLogins(tmp_path)
    logins.store(login())
    logins.store(login("bob"))
    assert logins.remove(["node1:8123"], "ann")
    assert not logins.remove(["node1:8123"], "ann")
    assert logins.remove(["node1:8123"])
    assert logins.find(["node1:8123"]) is None


@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_stored_logins_are_for_their_user_only_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    logins, before = StoredLogins(tmp_path / "track"), os.umask(mask)
    try:
        logins.store(login())
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (logins.path, logins.path.parent)] == [0o600, 0o700]


def test_logins_that_others_may_read_are_refused(tmp_path: Path) -> None:
    logins = StoredLogins(tmp_path)
    logins.store(login())
    logins.path.chmod(0o644)
    with pytest.raises(AuthenticationError, match="others may read it: chmod 600"):
        logins.find(["node1:8123"])


def test_logins_behind_a_link_are_refused(tmp_path: Path) -> None:
    logins = StoredLogins(tmp_path)
    logins.store(login())
    logins.path.rename(tmp_path / "elsewhere")
    logins.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuthenticationError, match="it is a symbolic link"):
        logins.find(["node1:8123"])
