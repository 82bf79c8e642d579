"""The next start sends what earlier runs left, with real servers and processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orphaned_spools import left_spool, running_script
from spool_scenario import VALUES, SpoolScenario
from track import TrackClient
from track.resend.orphans import destination_at, is_same_server, public_address
from track.spool.folder import Checkpoint, SpoolFolder
from track_protocol.errors import AuthenticationError, ServerUnreachable, UriError, UsageError
from waiting import wait_until


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[SpoolScenario]:
    made = SpoolScenario(tmp_path)
    yield made
    with made.server:
        pass


def start(scenario: SpoolScenario, caplog: pytest.LogCaptureFixture, done: str) -> None:
    """A start that connects, until it says so much of earlier runs."""
    with TrackClient(scenario.uri) as client:
        client.protocol.fetch_trials({})
        wait_until(lambda: done in caplog.text, f"that {done!r} is logged")


@pytest.fixture
def own_spools(
    scenario: SpoolScenario, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> SpoolScenario:
    monkeypatch.setenv("TRACK_SPOOL", str(scenario.spools))
    caplog.set_level("INFO", "track")
    return scenario


def test_the_next_start_sends_what_the_last_one_left(
    own_spools: SpoolScenario, caplog: pytest.LogCaptureFixture
) -> None:
    own_spools.leave_spool()
    own_spools.restart()
    start(own_spools, caplog, "20,000 points of earlier runs were sent")
    assert own_spools.values() == VALUES
    assert list(own_spools.spools.iterdir()) == []


def test_the_next_start_only_reports_it_if_that_is_wanted(
    own_spools: SpoolScenario, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACK_SYNC", "manual")
    path = own_spools.leave_spool()
    own_spools.restart()
    start(own_spools, caplog, f"of earlier runs wait in {own_spools.spools}: track sync")
    assert path.exists()


def test_the_next_start_leaves_alone_what_is_not_its_own(
    own_spools: SpoolScenario, caplog: pytest.LogCaptureFixture
) -> None:
    public = own_spools.uri
    held = left_spool(own_spools.spools, session=b"1" * 16, server=public)
    holder = SpoolFolder.open(held)
    others = [
        held,
        left_spool(own_spools.spools, session=b"2" * 16, server=public.replace("ann", "bob")),
        left_spool(own_spools.spools, session=b"3" * 16, server=public, host="another-host"),
        left_spool(own_spools.spools, session=b"4" * 16, server="socket://ann@localhost:1"),
    ]
    mine = left_spool(own_spools.spools, session=b"5" * 16, server=public)
    start(own_spools, caplog, "0 log calls were damaged and 30 points were rejected")
    assert all(path.exists() for path in others)
    assert not mine.exists()
    holder.close()


def test_what_the_next_start_cannot_send_is_reported_once(
    own_spools: SpoolScenario, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2):
        left_spool(
            own_spools.spools,
            session=bytes([number]) * 16,
            server=own_spools.uri,
            checkpoint=Checkpoint(3, "another store"),
        )
    start(own_spools, caplog, "run 'track doctor', then 'track sync'")
    assert caplog.text.count("'track doctor'") == 1
    assert len(list(own_spools.spools.iterdir())) == 2


def test_a_process_that_ends_at_once_does_not_wait_for_what_others_left(scenario: SpoolScenario) -> None:
    scenario.leave_spool()
    scenario.restart()
    source = 'client.protocol.fetch_trials({})\nsay("asked")\n'
    with running_script(scenario.folder, source, scenario.uri, TRACK_SPOOL=str(scenario.spools)) as script:
        assert script.wait(30) == 0
    assert scenario.track("sync").returncode == 0
    assert scenario.values() == VALUES


def test_a_wrong_word_for_when_to_send_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACK_SYNC", "sometimes")
    with pytest.raises(UsageError, match="auto or manual"):
        TrackClient("socket://localhost:1")


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
    with pytest.raises(AuthenticationError, match="run 'track login'"):
        destination_at(ADDRESS, {"TRACK_URI": uri})


def test_a_server_of_ones_own_that_is_unreachable_is_no_missing_login() -> None:
    # Fails when `destination_at` asks for the login that only a running server leaves.
    link = destination_at("socket://localhost:1", {}).open_link()
    with pytest.raises(ServerUnreachable, match="no server answers at localhost:1"):
        link.open(bytes(16), 10.0)
    link.close()


def test_a_named_user_of_a_server_here_needs_a_login() -> None:
    with pytest.raises(AuthenticationError, match="localhost:1: the login lacks a token"):
        destination_at("socket://bob@localhost:1", {})


def test_a_server_of_ones_own_may_be_any_of_several_hosts() -> None:
    assert destination_at("socket://node1,localhost:1", {}).name == "the server at node1:1 or localhost:1"
    with pytest.raises(AuthenticationError, match="no login for node1:1 or node2:1: run 'track login"):
        destination_at("socket://node1,node2:1", {})


def test_what_is_no_server_is_refused() -> None:
    with pytest.raises(UriError):
        destination_at("sqlite:runs.db", {})


def test_no_secret_is_in_what_is_retained_of_an_address() -> None:
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
        ("socket://ann@node2,node1:8123", True),
        (f"socket://ann@node1,node3:8123?pin={PIN}", True),
        (f"socket://ann@node1,node2:8123?pin={OTHER}", False),
        ("socket://bob@node1,node2:8123", False),
        (f"socket://ann@node2,node3:8123?pin={PIN}", False),
        ("sqlite:runs.db", False),
        ("", False),
    ],
)
def test_a_server_is_the_same_by_host_port_user_and_key(recorded: str, same: bool) -> None:
    assert is_same_server(recorded, f"socket://ann@node1:8123?pin={PIN}") is same
