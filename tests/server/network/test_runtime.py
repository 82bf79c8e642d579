from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from track_protocol.errors import StoreCorrupt, UsageError
from track_protocol.security.scram import ClientExchange, ServerExchange
from track_protocol.wire.roles import Role
from track_server.network.runtime import (
    LocalAccess,
    ServerRecord,
    publish_local_access,
    read_server_record,
    write_ready_file,
    write_server_record,
)

RECORD = ServerRecord("::", 8123, "node17", "sha256:x", 42, "sqlite:runs.db")


def publish(runtime: Path, port: int = 8123) -> LocalAccess:
    env = {"XDG_RUNTIME_DIR": str(runtime)}
    return publish_local_access(host="127.0.0.1", port=port, pin="sha256:x", plaintext=False, env=env)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_credential_file_says_how_to_log_in(tmp_path: Path) -> None:
    access = publish(tmp_path)
    assert json.loads((tmp_path / "track" / "8123.json").read_bytes()) == {
        "host": "127.0.0.1",
        "port": 8123,
        "pin": "sha256:x",
        "username": f"local-{os.geteuid()}",
        "token": access.token.reveal(),
        "pid": os.getpid(),
        "plaintext": False,
    }


def test_its_user_is_an_admin_who_logs_in_with_its_token(tmp_path: Path) -> None:
    access = publish(tmp_path)
    assert access.user.role is Role.ADMIN
    client = ClientExchange(access.user.name, access.token, None)
    server = ServerExchange(None)
    assert server.identify(client.first()) == access.user.name
    client.verify(server.conclude(client.final(server.challenge(access.user.verifier, bytes(32)))))


def test_the_credential_file_is_for_its_owner_only(tmp_path: Path) -> None:
    access = publish(tmp_path)
    assert mode_of(access.path) == 0o600
    assert mode_of(access.path.parent) == 0o700


def test_a_credential_folder_that_others_may_read_is_closed(tmp_path: Path) -> None:
    (tmp_path / "track").mkdir(mode=0o755)
    assert mode_of(publish(tmp_path).path.parent) == 0o700


def test_a_runtime_folder_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    assert publish(tmp_path / "run").path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_no_credentials_are_left_in_another_users_folder(tmp_path: Path) -> None:
    (tmp_path / "track").mkdir(mode=0o777)
    os.chown(tmp_path / "track", 12345, 12345)
    with pytest.raises(UsageError, match="not a folder of this user"):
        publish(tmp_path)
    assert list((tmp_path / "track").iterdir()) == []


def test_no_credentials_are_left_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "track").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="not a folder of this user"):
        publish(tmp_path)


def test_what_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    stale, fresh = publish(tmp_path), publish(tmp_path)
    assert fresh.token != stale.token
    assert fresh.token.reveal() in fresh.path.read_text()


def test_two_servers_of_one_user_do_not_share_a_file(tmp_path: Path) -> None:
    assert publish(tmp_path, 8123).path != publish(tmp_path, 8124).path


def test_closing_removes_the_file(tmp_path: Path) -> None:
    access = publish(tmp_path)
    access.withdraw()
    access.withdraw()
    assert not access.path.exists()


def test_closing_leaves_the_file_of_another_server(tmp_path: Path) -> None:
    old, new = publish(tmp_path), publish(tmp_path)
    old.withdraw()
    assert new.path.exists()


def test_closing_leaves_a_file_that_is_not_understood(tmp_path: Path) -> None:
    access = publish(tmp_path)
    access.path.write_bytes(b"[]")
    access.withdraw()
    assert access.path.exists()


def test_the_token_is_not_shown(tmp_path: Path) -> None:
    access = publish(tmp_path)
    assert access.token.reveal() not in repr(access)


def test_the_record_of_a_server_is_read_back_and_for_its_owner_only(tmp_path: Path) -> None:
    write_server_record(tmp_path, RECORD)
    assert read_server_record(tmp_path) == RECORD
    assert mode_of(tmp_path / "server.json") == 0o600


def test_a_home_without_a_server_has_no_record(tmp_path: Path) -> None:
    assert read_server_record(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"host": 1}', "[1, 2]"])
def test_a_damaged_record_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    write_server_record(tmp_path, RECORD)
    (tmp_path / "server.json").write_text(text)
    with pytest.raises(StoreCorrupt, match=r"server\.json"):
        read_server_record(tmp_path)


def test_the_ready_file_appears_atomically(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    write_ready_file(path, {"host": "127.0.0.1", "port": 1, "pin": "sha256:x", "pid": 2})
    assert json.loads(path.read_bytes()) == {"host": "127.0.0.1", "port": 1, "pin": "sha256:x", "pid": 2}
    assert [found.name for found in tmp_path.iterdir()] == ["ready"]
