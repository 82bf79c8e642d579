"""``track board``, as a process of its own, in front of real stores."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from board_process import BoardProcess, board_of
from board_visits import SECONDS, Visit
from command_runner import fill, run
from other_user import as_other_user, needs_two_users
from running_server import ServerProcess, environment, serving
from track import TrackClient
from track.commands.board import COMMAND
from track_protocol.errors import ItemNotFound, UsageError
from track_protocol.wire.roles import Role
from track_server.app import Settings
from track_server.http.sessions import Login, SessionTable
from waiting import wait_until


def own(board: BoardProcess) -> Visit:
    """A visit of the user whose process it is."""
    visit = Visit(board.url)
    assert visit.log_in().status == 200
    return visit


@pytest.fixture
def file(tmp_path: Path) -> str:
    uri = f"sqlite:{tmp_path / 'runs.db'}"
    fill(uri)
    return uri


def test_the_printed_address_logs_in_once(file: str) -> None:
    with board_of(file) as served:
        assert urlsplit(served.url).hostname == "127.0.0.1"
        visit = Visit(served.url)
        assert visit.log_in(code=served.code).json["role"] == "admin"
        assert len(visit.call("fetch_trials", query={}).json) == 3
        assert Visit(served.url).log_in(code=served.code).status == 401


@needs_two_users
def test_a_code_is_what_lets_another_user_in(file: str) -> None:
    with board_of(file) as served:

        def visits() -> None:
            assert Visit(served.url).log_in().status == 401
            assert Visit(served.url).log_in(code=served.code).status == 200

        as_other_user(visits)


def test_only_this_machine_reaches_it(file: str) -> None:
    with board_of(file) as served, socket.socket() as other:
        other.bind(("127.0.0.2", urlsplit(served.url).port or 0))  # it is not on every address


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_a_store_in_a_file_is_shown_and_changed(tmp_path: Path, scheme: str) -> None:
    uri = f"{scheme}:{tmp_path / 'runs'}"
    fill(uri)
    with board_of(uri) as served:
        visit = own(served)
        session = visit.get("/api/v1/session").json
        assert session["uri"] == f"{scheme}:{tmp_path / 'runs'}"
        (first, *_) = visit.call("fetch_trials", query={}).json
        assert visit.call("rename_trial", trial=first["id"], name="renamed").status == 200
        assert visit.call("set_project_metadata", project="vision", metadata={"views": {}}).status == 200
        assert visit.post("/api/v1/filter", {"filter": "name = renamed"}).status == 200
        assert served.end() == 0
    with TrackClient(uri) as client:
        assert "renamed" in {trial.name for trial in client.protocol.fetch_trials({})}


def test_what_another_process_writes_is_told(file: str) -> None:
    with board_of(file) as served, own(served).listening() as events:
        next(events)
        with TrackClient(file) as client:
            client.new_trial(force=True, arguments={"lr": 1.0})
        assert any(data["trials"] for name, _, data in events if name == "changed")


@pytest.mark.parametrize(("role", "status"), [(Role.READER, 403), (Role.WRITER, 200)])
def test_a_server_is_shown_with_the_role_of_the_login(tmp_path: Path, role: Role, status: int) -> None:
    with serving(Settings(backend="ephemeral:", home=tmp_path / "home")) as server:
        fill(server.join("script"))
        with board_of(server.join("viewer", role)) as served:
            visit = own(served)
            session = visit.get("/api/v1/session").json
            assert session["role"] == str(role)
            assert "***" in session["store"]
            assert session["uri"].startswith("socket://viewer@")
            (first, *_) = visit.call("fetch_trials", query={}).json
            assert visit.call("rename_trial", trial=first["id"], name="renamed").status == status
            assert visit.call("fetch_table", query={}, columns=["name"]).json["total"] == 3


def test_the_store_is_that_of_the_environment_or_of_this_users_server(file: str, tmp_path: Path) -> None:
    with board_of(TRACK_URI=file) as served:
        assert own(served).get("/api/v1/session").json["store"] == file
    home = tmp_path / "home"
    with ServerProcess("ephemeral:", home) as server, ExitStack() as stack:
        stack.callback(server.stop)
        empty = tmp_path / "empty"
        empty.mkdir()
        stack.enter_context(working_in(empty))
        served = stack.enter_context(board_of(TRACK_HOME=str(home)))
        assert own(served).get("/api/v1/session").json["uri"] == f"socket://localhost:{server.served.port}"
        served.end()


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_while_pages_listen(file: str, number: int) -> None:
    with board_of(file) as served, ExitStack() as stack:
        visit = own(served)
        streams = [stack.enter_context(visit.listening()) for _ in range(8)]
        for events in streams:
            next(events)
        idle = visit.connect()
        idle.request("GET", "/api/v1/session", headers=visit.headers())
        idle.getresponse().read()
        assert served.end(number) == 0
        for events in streams:
            assert list(events) == []
        idle.close()


def test_it_ends_while_its_server_does_not_answer(tmp_path: Path) -> None:
    with serving(Settings(backend="ephemeral:", home=tmp_path / "home")) as server:
        uri = server.join("viewer")
        with board_of(uri) as served:
            visit = own(served)
            assert server.server is not None
            server.server.close()
            stuck = visit.connect()
            stuck.request(
                "POST",
                "/api/v1/call/fetch_projects",
                b'{"query": {}}',
                visit.headers(Content_Type="application/json"),
            )
            assert served.end() == 0
            stuck.close()


def test_the_usual_port_is_left_to_who_has_it(file: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match="no address"), board_of(file, "--port", str(port)):
            pass


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ItemNotFound):
        run(COMMAND, f"sqlite:{tmp_path / 'none.db'}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("--port", "70000"), ("cometml:a/b",)])
def test_what_cannot_be_shown_is_explained(file: str, words: tuple[str, ...]) -> None:
    given = words if ":" in words[0] else (file, *words)
    with pytest.raises(UsageError):
        run(COMMAND, *given)


def test_all_logins_of_this_users_server_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACK_HOME", str(tmp_path))
    assert run(COMMAND, "--logout") == 0
    table = SessionTable(tmp_path / "board.db")
    table.open(Login("rita", Role.READER))
    assert run(COMMAND, "--logout") == 0
    assert capsys.readouterr().out == "0 logins ended\n1 login ended\n"
    assert table.clear() == 0
    table.release()


@pytest.mark.parametrize(
    ("env", "opens"),
    [({"DISPLAY": ":0"}, True), ({}, False), ({"DISPLAY": ":0", "SSH_CONNECTION": "a"}, False)],
)
def test_a_browser_is_opened_on_a_desktop_only_and_without_the_code(
    file: str, tmp_path: Path, env: dict[str, str], opens: bool
) -> None:
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {seen}.new; mv {seen}.new {seen}\n')
    browser.chmod(0o755)
    cleared = dict.fromkeys(("DISPLAY", "WAYLAND_DISPLAY"), "")
    command = [sys.executable, "-m", "track.cli", "board", file, "--port", "0"]
    given = {**environment(**cleared), "BROWSER": str(browser), **env}
    if "SSH_CONNECTION" not in env:
        given.pop("SSH_CONNECTION", None)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=given, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().partition("#")[0]
        if opens:
            wait_until(seen.exists, "the browser")
            assert seen.read_text().strip() == address
        process.terminate()
        assert process.wait(SECONDS) == 0
    assert seen.exists() == opens
