"""``track login`` with real servers: what it accepts, what it stores, and who may use that."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from command_runner import run
from running_server import Served, serving
from track import TrackClient
from track.commands.login import COMMAND
from track.configuration import reset_configuration
from track.connection.address import SocketAddress
from track.connection.credentials import StoredLogins
from track.connection.login import find_login
from track_protocol.errors import AuthenticationError, ItemNotFound, ServerUnreachable, UsageError
from track_protocol.security.tokens import new_token
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore
from track_server.app import Settings


@pytest.fixture
def served(tmp_path: Path, own_folders: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server that this process is not let into as its own user."""
    with serving(Settings(backend="ephemeral:", home=tmp_path / "home")) as server:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        reset_configuration()
        yield server


@pytest.fixture
def enter(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(f"{text}\n"))


@pytest.fixture
def token(served: Served) -> str:
    return UserStore(served.home).add("ann", Role.WRITER)


def address(served: Served, user: str = "ann@") -> str:
    return f"socket://{user}{served.host}:{served.port}"


def test_a_login_is_checked_stored_and_used(
    served: Served, token: str, enter: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    enter(token)
    assert run(COMMAND, f"{address(served)}?pin={served.pin}") == 0
    out = capsys.readouterr().out
    assert "as ann (writer); the token is in" in out
    assert token not in out
    for uri in (address(served), address(served, ""), f"socket://ann@localhost:{served.port}"):
        with TrackClient(uri) as client:
            client.set_project(name="p")


def test_the_complete_uri_may_be_entered(served: Served, enter: Any) -> None:
    enter(served.join("bob"))
    assert run(COMMAND) == 0
    stored = StoredLogins().find([f"localhost:{served.port}"])
    assert stored is not None
    assert (stored.username, stored.pin) == ("bob", served.pin)


def test_without_a_pin_the_key_that_proved_itself_is_stored(served: Served, token: str, enter: Any) -> None:
    enter(token)
    run(COMMAND, address(served))
    stored = StoredLogins().find([f"localhost:{served.port}"], "ann")
    assert stored is not None
    assert stored.pin == served.pin


def test_the_configured_server_is_the_default(
    served: Served, token: str, enter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACK_URI", address(served))
    enter(token)
    assert run(COMMAND) == 0
    assert StoredLogins().find([f"localhost:{served.port}"], "ann") is not None


def test_a_token_that_the_server_does_not_accept_is_not_stored(
    served: Served, token: str, enter: Any
) -> None:
    enter(new_token())
    with pytest.raises(AuthenticationError, match="not accepted"):
        run(COMMAND, address(served))
    assert not StoredLogins().path.exists()


def test_a_server_that_does_not_answer_is_reported(served: Served, token: str, enter: Any) -> None:
    enter(token)
    with pytest.raises(ServerUnreachable):
        run(COMMAND, "socket://ann@127.0.0.1:1")


@pytest.mark.parametrize("text", ["", " "])
def test_nothing_entered_is_reported(served: Served, enter: Any, text: str) -> None:
    enter(text)
    with pytest.raises(UsageError, match="nothing was entered"):
        run(COMMAND, address(served))


def test_a_user_must_be_named(served: Served, token: str, enter: Any) -> None:
    enter(token)
    with pytest.raises(UsageError, match="a user name and a token are needed"):
        run(COMMAND, address(served, ""))


def test_a_token_on_the_command_line_is_refused(served: Served, token: str) -> None:
    with pytest.raises(UsageError, match="every user of this machine can see a token") as refused:
        run(COMMAND, address(served, f"ann:{token}@"))
    assert token not in str(refused.value)


def test_a_stored_login_is_removed(served: Served, token: str, enter: Any) -> None:
    enter(token)
    run(COMMAND, address(served))
    assert run(COMMAND, "--remove", address(served)) == 0
    with pytest.raises(ItemNotFound, match="no login is stored"):
        run(COMMAND, "--remove", address(served))
    with pytest.raises(AuthenticationError, match="lacks a token"):
        find_login(SocketAddress(address(served)))


def test_the_command_reads_the_token_from_standard_input(served: Served, token: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "track.cli", "login", address(served)],
        input=f"{token}\n",
        text=True,
        capture_output=True,
        check=False,
        env=os.environ,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert token not in ran.stdout
