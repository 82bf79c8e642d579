"""The command ``track server``: what its arguments mean."""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from track_protocol.errors import UsageError
from track_server.app import Settings
from track_server.commands.server import COMMAND
from waiting import wait_until


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    COMMAND.configure(parser)
    return parser.parse_args(words)


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that servers would be started with."""
    reported: list[Settings] = []
    monkeypatch.setattr("track_server.network.process.serve", reported.append)
    return reported


def test_without_arguments_the_server_is_this_machines_own(
    reported: list[Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRACK_HOME", str(tmp_path / "home"))
    assert COMMAND.run(parsed()) == 0
    (settings,) = reported
    assert (settings.host, settings.port, settings.plaintext) == ("127.0.0.1", 8123, False)
    assert settings.store_uri == f"sqlite:{tmp_path}/home/track.db"


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("localhost", ("localhost", 8123)),
        (":9000", ("0.0.0.0", 9000)),  # noqa: S104 - nothing listens
        ("[::1]:9000", ("::1", 9000)),
        ("node7:65535", ("node7", 65535)),
    ],
)
def test_an_address_to_listen_on_is_host_and_port(
    reported: list[Settings], listen: str, address: tuple[str, int]
) -> None:
    COMMAND.run(parsed("ephemeral:", "--listen", listen))
    assert (reported[0].host, reported[0].port) == address


@pytest.mark.parametrize(
    "listen", ["localhost:http", "localhost:99999", "localhost:-1", "localhost:", "a:b:c"]
)
def test_a_port_that_is_none_is_a_mistake_of_the_caller(reported: list[Settings], listen: str) -> None:
    with pytest.raises(UsageError, match="--listen"):
        COMMAND.run(parsed("--listen", listen))
    assert reported == []


def test_every_option_reaches_the_settings(reported: list[Settings], tmp_path: Path) -> None:
    files = {name: str(tmp_path / name) for name in ("home", "certificate", "key", "ready-file")}
    words = [word for name, value in files.items() for word in (f"--{name}", value)]
    words += ["--advertise", "node7", "--security-layer", "plaintext", "--lease", "2.5"]
    COMMAND.run(parsed("file:runs.json", *words))
    (settings,) = reported
    assert settings.lease == 2.5
    assert (settings.backend, settings.advertise, settings.plaintext) == ("file:runs.json", "node7", True)
    assert [settings.home, settings.certificate, settings.key, settings.ready_file] == [
        Path(value) for value in files.values()
    ]


def test_a_home_is_the_same_wherever_the_process_goes(reported: list[Settings]) -> None:
    COMMAND.run(parsed("--home", "here"))
    assert reported[0].home == Path.cwd() / "here"


def test_the_command_serves_until_it_is_asked_to_stop(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"

    def stop_when_ready() -> None:
        wait_until(ready.exists, "the ready file")
        os.kill(json.loads(ready.read_text())["pid"], signal.SIGTERM)

    stopper = threading.Thread(target=stop_when_ready)
    stopper.start()
    words = ["ephemeral:", "--listen", "127.0.0.1:0", "--home", str(tmp_path / "home")]
    assert COMMAND.run(parsed(*words, "--ready-file", str(ready))) == 0
    stopper.join()
