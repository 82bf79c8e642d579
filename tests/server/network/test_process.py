"""What a server's process says, and how it is started."""

from __future__ import annotations

import resource
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest

from running_server import Served, serving
from track_protocol.errors import TrackError, UsageError
from track_server.app import Settings
from track_server.network.process import announcement, serve, start_track_server
from track_server.network.server import SocketServer


def reported(served: Served) -> str:
    assert served.server is not None
    return announcement(served.server)


def test_the_start_reports_address_store_pin_and_how_to_join(served: Served) -> None:
    text = reported(served)
    for part in (
        f"127.0.0.1:{served.port}",
        "ephemeral:",
        served.pin,
        f"--home {served.home}",
        "AES-256-GCM",
    ):
        assert part in text
    assert f"socket://localhost:{served.port}'" in text
    assert "only this machine" in text


def test_the_start_reports_the_uri_of_a_plain_text_server_as_it_has_to_be(settings: Settings) -> None:
    with serving(replace(settings, plaintext=True)) as served:
        assert f"socket://localhost:{served.port}?security_layer=plaintext'" in reported(served)


def test_a_server_open_to_the_network_says_nothing_of_this_machine_only(settings: Settings) -> None:
    with serving(replace(settings, host="0.0.0.0")) as served:  # noqa: S104 - what is tested
        text = reported(served)
    assert "only this machine" not in text
    assert f"socket://localhost:{served.port}'" in text


def test_two_different_layers_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contradict"):
        start_track_server("nonsense:", "localhost", 0, "AES", "plaintext", home=tmp_path)


@pytest.mark.parametrize("word", ["security_layer", "backend"])
def test_the_layer_is_taken_under_both_documented_names(tmp_path: Path, word: str) -> None:
    with pytest.raises(UsageError, match="security_layer=DES is unknown"):
        start_track_server("nonsense:", "localhost", 0, home=tmp_path, **{word: "DES"})


def test_serving_returns_when_the_server_is_closed(settings: Settings) -> None:
    ready = threading.Event()

    def stop(server: SocketServer) -> None:
        ready.set()
        server.close()

    serve(settings, ready=stop)
    assert ready.is_set()


@pytest.mark.parametrize("outcome", ["stopped", "not started"])
def test_after_serving_signals_do_what_they_did_before(
    settings: Settings, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mine(signum: int, frame: FrameType | None) -> None: ...

    before = signal.signal(signal.SIGTERM, mine)
    try:
        if outcome == "stopped":
            serve(settings, ready=SocketServer.close)
        else:
            with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(TrackError):
                serve(replace(settings, port=taken.getsockname()[1]))
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_serving_allows_as_many_open_files_as_it_may(settings: Settings) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    seen: list[int] = []

    def look(server: SocketServer) -> None:
        seen.append(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        server.close()

    try:
        serve(settings, ready=look)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert seen[0] >= min(settings.limits.connections, hard)
