"""What is set for a user, a project or a job."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from track import TrackClient
from track.configuration import (
    OptionNotFound,
    environment,
    find_configuration,
    options,
    reset_configuration,
)
from track.connection.offline import Offline, offline_policy
from track.persistence.null import NullProtocol
from track_protocol.errors import TrackError, UsageError

Configure = Callable[[Path, Any], Path]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder within another one, and no configuration from elsewhere."""
    folder = tmp_path / "project" / "sub"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    reset_configuration()
    yield folder
    reset_configuration()


@pytest.fixture
def configure() -> Configure:
    def write(path: Path, content: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_an_option_that_is_set_nowhere_has_its_default() -> None:
    assert (options("color", "red"), options("color", default=None)) == ("red", None)


def test_without_a_default_the_error_says_where_it_can_be_set() -> None:
    with pytest.raises(OptionNotFound, match=r"^the option 'socket\.port' .* TRACK_SOCKET_PORT") as caught:
        options("socket.port")
    assert isinstance(caught.value, TrackError)
    assert isinstance(caught.value, KeyError)


@pytest.mark.parametrize(
    "content", [{"socket": {"port": 1}}, {"socket.port": 1}, {"socket": {"host": "x"}, "socket.port": 1}]
)
def test_a_dotted_key_may_be_nested_or_not(project: Path, configure: Configure, content: Any) -> None:
    configure(project / "track.config", content)
    assert options("socket.port") == 1


def test_a_part_of_the_configuration_is_an_option_too(project: Path, configure: Configure) -> None:
    configure(project / "track.config", {"socket": {"port": 1}, "none": None})
    assert (options("socket"), options("none", 5)) == ({"port": 1}, None)
    with pytest.raises(OptionNotFound):
        options("socket.port.number")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 0.001),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ('"3"', "3"),
        ("file:a.json", "file:a.json"),
        ("NaN", "NaN"),
        ("", "of the file"),
    ],
)
def test_the_environment_comes_first_as_json_where_it_is_json(
    project: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch, text: str, value: Any
) -> None:
    configure(project / "track.config", {"batch": {"size": "of the file"}})
    monkeypatch.setenv("TRACK_BATCH_SIZE", text)
    assert options("batch.size", "default") == value


def test_the_file_is_looked_for_in_the_documented_order(
    tmp_path: Path, project: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [
        tmp_path / "config/track/track.config",
        tmp_path / "track.config",
        project.parent / "track.config",
        project / "track.config",
        tmp_path / "named by the variable",
        tmp_path / "given",
    ]
    assert (find_configuration(), find_configuration().path) == ({}, None)
    for path in places[:4]:
        configure(path, {"from": str(path)})
        reset_configuration()
        assert (options("from"), find_configuration().path) == (str(path), path)
    monkeypatch.setenv("TRACK_CONFIG", str(configure(places[4], {"from": "the variable"})))
    assert find_configuration()["from"] == "the variable"
    assert find_configuration(configure(places[5], {"from": "the call"}))["from"] == "the call"
    assert options("from") == "the call"


def test_it_is_read_once_until_it_is_reset(project: Path, configure: Configure) -> None:
    configure(project / "track.config", {"a": 1})
    before = options("a")
    configure(project / "track.config", {"a": 2})
    assert (before, options("a")) == (1, 1)
    reset_configuration()
    assert options("a") == 2


@pytest.mark.parametrize("content", ["{", "[1]", "\x00", '{"a": 1} x', '{"a":' * 100_000])
def test_an_invalid_file_is_refused_with_its_path(project: Path, configure: Configure, content: str) -> None:
    path = configure(project / "track.config", content)
    with pytest.raises(UsageError, match=str(path)):
        options("a", 1)


@pytest.mark.parametrize("content", [{"a": 1, "A": 2}, {"a.b": 1, "a": {"b": 1}}, {"a-b": 1, "a_b": ""}])
def test_an_option_that_is_spelled_in_two_ways_is_refused(
    project: Path, configure: Configure, content: dict[str, object]
) -> None:
    configure(project / "track.config", content)
    with pytest.raises(UsageError, match="twice"):
        options("a", 1)


def test_a_named_file_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="missing"):
        find_configuration(tmp_path / "missing")
    monkeypatch.setenv("TRACK_CONFIG", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match="gone"):
        options("a", 1)


def test_a_file_that_anybody_could_write_is_not_used(
    project: Path, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    configure(project / "track.config", {"uri": "socket://mallory:1"}).chmod(0o666)
    assert options("uri", "none") == "none"
    assert "could redirect your data" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_not_used_unless_it_is_named(
    project: Path, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    path = configure(project / "track.config", {"a": 1})
    os.chown(path, 12345, 12345)
    assert options("a", None) is None
    assert "12345" in caplog.text
    assert find_configuration(path) == {"a": 1}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_link_of_another_user_is_not_used(
    project: Path, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    (project / "track.config").symlink_to(configure(project / "mine", {"a": 1}))
    assert options("a") == 1
    os.chown(project / "track.config", 12345, 12345, follow_symlinks=False)
    reset_configuration()
    assert options("a", None) is None
    assert "12345" in caplog.text


class TestWhatReadsIt:
    def test_a_client_without_a_backend_uses_the_uri_of_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TRACK_URI", f"file:{tmp_path}/a.json")
        with TrackClient() as client:
            client.set_project(name="here")
            client.save()
        assert "here" in (tmp_path / "a.json").read_text()

    def test_or_that_of_the_file(self, tmp_path: Path, project: Path, configure: Configure) -> None:
        configure(project / "track.config", {"uri": "ephemeral:"})
        with TrackClient() as client:
            assert not isinstance(client.protocol, NullProtocol)

    def test_without_either_it_tracks_nothing(self) -> None:
        with TrackClient() as client:
            assert isinstance(client.protocol, NullProtocol)

    def test_a_given_backend_takes_precedence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TRACK_URI", "ephemeral:")
        with TrackClient("none") as client:
            assert isinstance(client.protocol, NullProtocol)

    def test_the_file_stands_for_variables_that_are_not_set(
        self, project: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure(
            project / "track.config",
            {"offline": "never", "spool": {"limit": "1G"}, "resume": True, "sync": None, "rows": [1]},
        )
        found = environment()
        assert offline_policy(None) is Offline.NEVER
        assert (found["TRACK_SPOOL_LIMIT"], found["TRACK_RESUME"], found["TRACK_ROWS"]) == ("1G", "1", "[1]")
        assert "TRACK_SYNC" not in found
        monkeypatch.setenv("TRACK_OFFLINE", "require")
        assert offline_policy(None) is Offline.REQUIRE
