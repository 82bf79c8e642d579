"""What an eavesdropper on the wire can read."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine_calls import points
from running_server import serving
from socket_peers import SECONDS, joined
from track_protocol.security.tokens import new_token
from track_protocol.uri import Uri
from track_protocol.wire.batch import CallOp
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore
from track_server.app import Settings
from waiting import wait_until
from wire_recorders import recording_proxy

USER, TOKEN = "josephine-the-user", new_token()
NAMES = {
    "user": USER,
    "token": TOKEN,
    "project": "secret-project",
    "trial": "secret-trial",
    "metric": "secret-metric",
    "tag": "secret-tag",
    "method": "add_trial_tags",
}


def work(port: int, pin: str) -> None:
    """Everything that a training process sends and asks."""
    with joined(
        Uri("socket", "127.0.0.1", port, username=USER, password=TOKEN, query={"pin": pin}).to_text()
    ) as ann:
        ann.call("new_project", project={"uid": NAMES["project"], "name": NAMES["project"]})
        id = ann.new_trial("h", name=NAMES["trial"], project_id=NAMES["project"])["id"]
        ann.log(points(id, 0, None, **{NAMES["metric"]: [1.0]}))
        ann.log(CallOp(0, NAMES["method"], {"trial": id, "tags": {NAMES["tag"]: 1}}))
        assert ann.read("fetch_trials", query={"project_id": NAMES["project"]})[0]["tags"] == {
            NAMES["tag"]: 1
        }


def seen_in(captured: bytes) -> list[str]:
    """Which of the names can be read in what was captured."""
    return [what for what, name in NAMES.items() if name.encode() in captured]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    UserStore(tmp_path / "home").add(USER, Role.WRITER, TOKEN)
    return Settings(backend="ephemeral:", port=0, home=tmp_path / "home")


def test_nothing_that_a_client_sends_is_readable_on_the_wire(settings: Settings) -> None:
    with serving(settings) as served, recording_proxy(served.host, served.port) as recording:
        work(recording.port, served.pin)
    assert recording.connections == 1
    assert recording.upward.startswith(b"\x16\x03")
    assert len(recording.upward) > 1000
    assert len(recording.downward) > 1000
    assert seen_in(recording.everything) == []


def test_in_plain_text_all_names_but_the_token_are_readable(tmp_path: Path, settings: Settings) -> None:
    plain = Settings(backend="ephemeral:", port=0, home=settings.home, plaintext=True)
    with serving(plain) as served, recording_proxy(served.host, served.port) as recording:
        uri = f"socket://{USER}:{TOKEN}@127.0.0.1:{recording.port}?security_layer=plaintext"
        with joined(uri) as ann:
            id = ann.new_trial("h", name=NAMES["trial"])["id"]
            ann.log(points(id, 0, None, **{NAMES["metric"]: [1.0]}))
    assert set(seen_in(recording.everything)) == {"user", "trial", "metric"}


needs_tcpdump = pytest.mark.skipif(shutil.which("tcpdump") is None, reason="the tcpdump command")


@needs_tcpdump
def test_a_packet_capture_contains_nothing_readable(settings: Settings, tmp_path: Path) -> None:
    with serving(settings) as served:
        captured = captured_packets(
            served.port, tmp_path / "wire.pcap", lambda: work(served.port, served.pin)
        )
    assert len(captured) > 2000
    assert b"\x16\x03" in captured
    assert seen_in(captured) == []


def captured_packets(port: int, file: Path, traffic: Callable[[], None]) -> bytes:
    """What tcpdump writes about a port of this machine while there is traffic."""
    log = file.with_suffix(".log")
    command = ["tcpdump", "-i", "lo", "-U", "-s", "0", "-w", str(file), "tcp", "port", str(port)]
    with log.open("w") as output:
        tcpdump = subprocess.Popen(command, stderr=output, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: "listening on" in log.read_text() or tcpdump.poll() is not None, "tcpdump's start")
        if tcpdump.poll() is not None:
            pytest.skip(f"tcpdump may not listen here: {log.read_text().strip()}")
        traffic()
        # The last packets of the conversation end the capture: both sides have said goodbye.
        wait_until(lambda: len(re.findall(b"\x17\x03\x03", file.read_bytes())) >= 10, "the packets")
    finally:
        tcpdump.terminate()
        tcpdump.wait(SECONDS)
    return file.read_bytes()
