"""Who a user is toward the other end of a socket."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from socket_programs import start, user
from track.utils.identity import socket_identity
from track_protocol.errors import AuthenticationError, UriError


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_it_is_made_once_and_for_its_user_only() -> None:
    first = socket_identity()
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o600
    assert socket_identity() == first


def test_processes_that_start_at_once_have_the_same(tmp_path: Path) -> None:
    program = "from track.utils.identity import socket_identity; print(socket_identity().pins)"
    with ThreadPoolExecutor(4) as pool:
        started = [start(program, env=user(tmp_path)) for _ in range(4)]
        pins = set(pool.map(lambda process: process.communicate(timeout=60)[0], started))
    assert (len(pins), "sha256:" in pins.pop()) == (1, True)


def test_one_that_others_may_read_is_refused() -> None:
    socket_identity().path.chmod(0o640)
    with pytest.raises(AuthenticationError, match="0640"):
        socket_identity()


def test_a_file_without_a_certificate_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    socket_identity().path.write_text("nothing")
    with pytest.raises(AuthenticationError, match="no certificate"):
        socket_identity()
    monkeypatch.setenv("TRACK_SOCKET_IDENTITY", str(tmp_path / "missing.pem"))
    with pytest.raises(AuthenticationError, match=r"missing\.pem"):
        socket_identity()


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(AuthenticationError, match="XDG_STATE_HOME"):
        socket_identity()


def test_a_malformed_pin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACK_SOCKET_PIN", "sha256:abc")
    with pytest.raises(UriError, match="not a pin"):
        socket_identity()
