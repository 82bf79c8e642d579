"""``track server`` as a process: signals, crashes, stores it refuses, users that come and go."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from engine_calls import points
from running_server import Served, ServerProcess
from socket_peers import SECONDS, Joined, joined
from track_protocol.errors import (
    AuthenticationError,
    ConnectionLost,
    PermissionDenied,
    StoreFailed,
    TrackError,
)
from track_protocol.locations import credential_file
from track_protocol.wire.columns import column_from_wire, unpack
from track_protocol.wire.link import Acked
from track_server.stores import open_store
from waiting import wait_until

STORES = ["sqlite:{}/runs.db", "file:{}/runs.json"]

needs_a_user_without_privileges = pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None,
    reason="the setpriv command, to run without root's powers",
)


@pytest.fixture(autouse=True)
def own_runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What servers leave for their own user is each test's own."""
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))


@pytest.fixture(params=STORES, ids=["sqlite", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.param).format(tmp_path)


def refused(tmp_path: Path, *words: str, prefix: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit code and the one line of a server that does not start."""
    command = [
        *prefix,
        sys.executable,
        "-m",
        "track.cli",
        "server",
        *words,
        "--home",
        str(tmp_path / "home-2"),
    ]
    if "--listen" not in words:
        command += ["--listen", "127.0.0.1:0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith("track: ")
    return ended.returncode, ended.stderr


def values_of(reader: Joined, id: bytes, count: int) -> list[float]:
    answer = reader.read("fetch_metrics", trial=id, name="loss")
    return list(unpack(column_from_wire(answer["values"], count)))


# -- starting ------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows what a process has loaded")
def test_the_first_start_keeps_nothing_of_what_made_the_identity(tmp_path: Path) -> None:
    with ServerProcess("ephemeral:", tmp_path / "home") as server:
        loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "apsw" in loaded
        assert "cryptography" not in loaded


# -- stopping ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("store", "number"), [(STORES[0], signal.SIGTERM), (STORES[1], signal.SIGINT)], indirect=["store"]
)
def test_a_signal_drains_the_server(tmp_path: Path, store: str, number: signal.Signals) -> None:
    session = uuid.uuid4().bytes
    with ServerProcess(store, tmp_path / "home") as server:
        uri = server.served.join("ann")
        credentials = credential_file(tmp_path / "runtime", server.served.port)
        assert credentials.exists()
        with joined(uri, session) as ann:
            id = ann.new_trial()["id"]
            for value in range(500):
                ann.send(points(id, loss=[float(value)]))
            acked = acknowledged_until_the_end(ann, lambda: server.process.send_signal(number))
        assert server.process.wait(SECONDS) == 0
        assert not credentials.exists()
        assert "Traceback" not in server.log.read_text()
    with ServerProcess(store, tmp_path / "home") as server, joined(server.served.join("eve")) as eve:
        assert values_of(eve, id, acked - 1) == [float(value) for value in range(acked - 1)]


def acknowledged_until_the_end(ann: Joined, begin_the_end: Callable[[], None]) -> int:
    """The last number that a server acknowledges that is stopped while it is busy."""
    acked = [ann.next_events()]
    begin_the_end()
    with pytest.raises(ConnectionLost, match="stopping"):
        acked.extend(iter(ann.next_events, []))  # which never comes
    last = acked[-1][-1]
    assert isinstance(last, Acked)
    return last.last_seq


def test_a_server_may_be_stopped_as_soon_as_it_says_that_it_is_ready(tmp_path: Path) -> None:
    with ServerProcess("ephemeral:", tmp_path / "home") as server:
        assert server.stop() == 0


def test_the_ready_file_names_the_process_and_the_start_reports_how_to_join(tmp_path: Path) -> None:
    with ServerProcess("ephemeral:", tmp_path / "home") as server:
        ready = json.loads((tmp_path / "home.ready.json").read_text())
        assert ready["pid"] == server.process.pid
        wait_until(lambda: "track user add" in server.log.read_text(), "the announcement")
        assert ready["pin"] in server.log.read_text()


def test_a_killed_server_needs_no_cleaning_up_and_has_lost_nothing(tmp_path: Path, store: str) -> None:
    with ServerProcess(store, tmp_path / "home") as server:
        served, uri = server.served, server.served.join("ann")
        with joined(uri) as ann:
            id = ann.new_trial()["id"]
            for value in range(100):
                ann.log(points(id, loss=[float(value)]))
            server.kill()
    with (
        ServerProcess(store, tmp_path / "home", port=served.port) as again,
        joined(uri) as ann,
        joined(f"socket://localhost:{served.port}") as own,
    ):
        assert again.served.pin == served.pin
        assert values_of(ann, id, 100) == [float(value) for value in range(100)]
        assert own.opened.role == "admin"


def test_a_server_whose_writer_thread_dies_ends_with_an_error(tmp_path: Path) -> None:
    program = (str(Path(__file__).parent.parent / "support" / "crashing_server.py"), "12")
    with ServerProcess("ephemeral:", tmp_path / "home", program=program) as server:
        with joined(server.served.join("ann")) as ann, pytest.raises((StoreFailed, ConnectionLost)):
            list(iter(ann.new_trial, None))  # for ever
        assert server.process.wait(SECONDS) == 1
        log = server.log.read_text()
        assert "CRITICAL" in log
        assert "the writer thread of ephemeral: died" in log
        assert "restart the server" in log


# -- starting ------------------------------------------------------------------------------------


def test_a_second_server_on_the_same_store_is_refused_with_the_first_ones_pid(
    tmp_path: Path, store: str
) -> None:
    with ServerProcess(store, tmp_path / "home") as server:
        code, line = refused(tmp_path, store)
        assert code == 1
        assert f"pid {server.process.pid}" in line
        assert f"127.0.0.1:{server.served.port}" in line
        with joined(server.served.join("ann")) as ann:
            assert ann.new_trial()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, line = refused(tmp_path, "ephemeral:", "--listen", address)
    assert code == 1
    assert address in line
    assert "another port" in line


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("ephemeral:", "--listen", "nonsense.invalid"), "cannot listen on"),
        (("ephemeral:", "--listen", "localhost:http"), "--listen localhost:http"),
        (("cockroach://localhost",), "a store is one of"),
        (("sqlite:",), "sqlite:runs.db"),
        (("socket://ann:hidden@host",), "a store is one of"),
        (("ephemeral:", "--security-layer", "DES"), "security_layer=DES"),
        (("ephemeral:", "--security-layer", "plaintext", "--listen", "0.0.0.0:0"), "would show every token"),
    ],
)
def test_a_mistake_on_the_command_line_is_reported_in_one_line(
    tmp_path: Path, words: tuple[str, ...], part: str
) -> None:
    code, line = refused(tmp_path, *words)
    assert code == 2
    assert part in line
    assert "hidden" not in line


def test_a_store_of_a_newer_version_is_refused_and_unchanged(tmp_path: Path, store: str) -> None:
    path = made(store)
    content = path.read_bytes()
    if store.startswith("sqlite"):
        newer = content[:60] + (99).to_bytes(4, "big") + content[64:]
    else:
        newer = re.sub(rb'"version": \d+', b'"version": 99', content)
    assert newer != content
    path.write_bytes(newer)
    code, line = refused(tmp_path, store)
    assert code == 1
    assert "version 99" in line
    assert "upgrade Track" in line or "update the software" in line
    assert path.read_bytes() == newer


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b'{"format": "track"}', b"SQLite"])
def test_a_corrupt_document_is_refused_and_unchanged(tmp_path: Path, content: bytes) -> None:
    path = made(f"file:{tmp_path}/runs.json")
    path.write_bytes(content)
    code, line = refused(tmp_path, f"file:{path}")
    assert code == 1
    assert str(path) in line
    assert path.read_bytes() == content


def test_a_file_that_is_no_database_is_refused_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.write_text("notes")
    code, line = refused(tmp_path, f"sqlite:{path}")
    assert code == 1
    assert "not a SQLite database" in line
    assert path.read_text() == "notes"


@needs_a_user_without_privileges
def test_a_read_only_store_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    made(f"sqlite:{folder}/runs.db")
    (folder / "runs.db.lock").unlink()
    for file in folder.iterdir():
        file.chmod(0o400)
    folder.chmod(0o500)
    powerless = ("setpriv", "--inh-caps=-all", "--bounding-set=-all") if os.geteuid() == 0 else ()
    try:
        code, line = refused(tmp_path, f"sqlite:{folder}/runs.db", prefix=powerless)
    finally:
        folder.chmod(0o700)
    assert code == 1
    assert "cannot be written" in line


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    code, line = refused(tmp_path, f"sqlite:{tmp_path}/nothing/runs.db")
    assert code == 1
    assert f"{tmp_path}/nothing does not exist" in line


def made(store: str) -> Path:
    """The main file of a store that was just made and closed."""
    opened = open_store(store, exclusive=True)
    opened.close()
    return Path(store.partition(":")[2])


# -- users ---------------------------------------------------------------------------------------


def track_user(served: Served, *words: str) -> str:
    command = [sys.executable, "-m", "track.cli", "user", *words, "--home", str(served.home)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_user_joins_by_the_printed_uri_alone_until_removed(tmp_path: Path) -> None:
    with ServerProcess("ephemeral:", tmp_path / "home", "--advertise", "127.0.0.1") as server:
        uri = track_user(server.served, "add", "ann", "--role", "writer").strip()
        with joined(uri) as ann:
            assert ann.new_trial()
            track_user(server.served, "remove", "ann")
            with pytest.raises(TrackError) as ended:
                ann.link.poll(5.0)
            assert isinstance(ended.value, PermissionDenied)
        with pytest.raises(AuthenticationError):
            Joined(uri)
