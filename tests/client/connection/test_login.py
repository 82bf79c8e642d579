"""A secret goes to the server that it belongs to, and nowhere else."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fake_servers import FakePeer, fake_server
from made_certificates import make_certificate
from track import TrackClient
from track.configuration import current_configuration, find_configuration, reset_configuration
from track.connection.address import SocketAddress
from track.connection.credentials import StoredLogin, StoredLogins
from track.connection.login import find_login
from track.connection.trust import KnownServers
from track.connection.trusted_files import TrustedFiles
from track_protocol.errors import AuthenticationError, UsageError
from track_protocol.security.tls import pin_of_certificate
from track_protocol.security.tokens import Secret
from track_protocol.wire.frames import FrameKind, encode_frame

PIN = "sha256:" + "A" * 43
OTHER_PIN = "sha256:" + "B" * 42 + "A"
HERE = "socket://ann@node1:8123"
EVIL = "socket://ann@evil.example:8123"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_folders: None) -> Iterator[Path]:
    """The current folder, in which there is no configuration yet."""
    folder = tmp_path / "repository" / "experiment"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    reset_configuration()
    yield folder
    reset_configuration()


def login(uri: str, **variables: str) -> tuple[str, str] | None:
    return find_login(SocketAddress(uri), variables)


def configure(folder: Path, **content: str) -> Path:
    path = folder / "track.config"
    path.write_text(json.dumps(content))
    return path


def store(server: str = "node1:8123", pin: str = PIN, username: str = "ann", token: str = "stored") -> None:
    StoredLogins().store(StoredLogin((server,), pin, username, Secret(token)))
    KnownServers().save(server, pin)


def test_nothing_says_anything() -> None:
    assert login("socket://node1") is None


def test_the_secret_of_a_uri_comes_first() -> None:
    store()
    assert login("socket://ann:mine@node1:8123", TRACK_TOKEN="env", TRACK_URI=HERE) == ("ann", "mine")


def test_the_error_for_a_user_without_a_secret_says_how_to_log_in() -> None:
    with pytest.raises(AuthenticationError, match="the login lacks a token: run 'track login'"):
        login(HERE)


def test_the_token_of_the_environment_is_for_the_server_that_it_names() -> None:
    variables = {"TRACK_TOKEN": "env", "TRACK_URI": HERE}
    assert login(HERE, **variables) == ("ann", "env")
    assert login("socket://NODE1:8123", **variables) == ("ann", "env")
    with pytest.raises(AuthenticationError, match="lacks a token"):
        login(EVIL, **variables)
    with pytest.raises(AuthenticationError, match="lacks a token"):
        login("socket://ann@node1:8124", **variables)
    assert login("socket://evil.example", **variables) is None


def test_the_token_of_the_environment_is_for_the_key_that_is_named_with_it() -> None:
    variables = {"TRACK_TOKEN": "env", "TRACK_URI": f"{HERE}?pin={PIN}"}
    assert login(f"{HERE}?pin={PIN}", **variables) == login(HERE, **variables) == ("ann", "env")
    assert login(f"socket://node1:8123?pin={OTHER_PIN}", **variables) is None


def test_the_token_of_the_environment_is_for_the_hosts_that_it_names() -> None:
    # Fails when one host in common is enough: the other one would get the token.
    variables = {"TRACK_TOKEN": "env", "TRACK_URI": "socket://ann@node1,node2:8123"}
    assert login("socket://ann@node2,node1:8123", **variables) == ("ann", "env")
    assert login("socket://node2:8123", **variables) == ("ann", "env")
    assert login("socket://node2,evil.example:8123", **variables) is None
    assert login("socket://evil.example,node2:8124", **variables) is None


def test_the_token_of_the_environment_is_for_a_further_host_that_has_to_show_its_key() -> None:
    variables = {"TRACK_TOKEN": "env", "TRACK_URI": f"{HERE}?pin={PIN}"}
    assert login(f"socket://node1,node2:8123?pin={PIN}", **variables) == ("ann", "env")
    assert login(f"socket://node1,node2:8123?pin={PIN},{OTHER_PIN}", **variables) is None
    assert login(f"socket://node2:8123?pin={PIN}", **variables) is None


def test_the_file_of_the_token_is_bound_in_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("filed")
    (tmp_path / "token").chmod(0o600)
    variables = {"TRACK_TOKEN_FILE": str(tmp_path / "token"), "TRACK_URI": HERE}
    assert login(HERE, **variables) == ("ann", "filed")
    assert login("socket://evil.example", **variables) is None


def test_every_server_of_a_multiplexer_is_named() -> None:
    variables = {"TRACK_TOKEN": "env", "TRACK_URI": f"multiplexer:file:a.json;{HERE};sqlite:b.db"}
    assert login(HERE, **variables) == ("ann", "env")
    assert login("socket://evil.example", **variables) is None


def test_without_a_named_server_the_token_is_for_the_one_of_the_program() -> None:
    assert login(HERE, TRACK_TOKEN="env") == ("ann", "env")


@pytest.mark.parametrize("depth", [0, 1])
def test_a_configuration_of_a_repository_does_not_get_the_token(project: Path, depth: int) -> None:
    # Fails when `find_login` takes the server of any `track.config` for the user's own choice.
    path = configure((project, project.parent)[depth], uri=EVIL)
    with pytest.raises(AuthenticationError, match=f"which {path} names, because you have not trusted it"):
        login(EVIL, TRACK_TOKEN="env")
    with pytest.raises(AuthenticationError, match="lacks a token"):
        login(HERE, TRACK_TOKEN="env")
    assert login(HERE, TRACK_TOKEN="env", TRACK_URI=HERE) == ("ann", "env")


def test_a_second_spelling_does_not_hide_the_server_that_a_repository_names(project: Path) -> None:
    # Fails when an option may be set twice: the token was sent to the server of the first spelling.
    configure(project, uri=EVIL, URI="sqlite:runs.db")
    with pytest.raises(UsageError, match="TRACK_URI twice"):
        login(EVIL, TRACK_TOKEN="env")


def test_a_configuration_of_a_repository_does_not_get_a_stored_login(project: Path) -> None:
    store()
    configure(project, uri=HERE)
    with pytest.raises(AuthenticationError, match="you have not trusted"):
        login(HERE)
    assert login(HERE, TRACK_URI=HERE) == ("ann", "stored")


def test_a_configuration_of_a_repository_adds_no_host_to_a_stored_login(project: Path) -> None:
    # Fails when `find_login` compares the lists of hosts as a whole: HERE would not be in the configuration.
    store()
    configure(project, uri="socket://ann@node1,evil.example:8123")
    for uri in ("socket://ann@node1,evil.example:8123", HERE):
        with pytest.raises(AuthenticationError, match="you have not trusted"):
            login(uri)


def test_a_configuration_of_a_repository_names_no_file_with_a_token(project: Path, tmp_path: Path) -> None:
    (tmp_path / "id_ed25519").write_text("a private key")
    configure(project, uri=EVIL, token_file=str(tmp_path / "id_ed25519"))
    with pytest.raises(AuthenticationError, match="lacks a token"):
        login(EVIL)


def test_a_configuration_has_its_own_login(project: Path) -> None:
    configure(project, uri="socket://guest:theirs@evil.example:8123")
    assert login("socket://guest@evil.example:8123", TRACK_TOKEN="env") == ("guest", "theirs")


def test_a_trusted_configuration_may_choose_the_server_until_it_changes(project: Path) -> None:
    store()
    path = configure(project, uri=HERE)
    TrustedFiles().add(find_configuration())
    assert login(HERE, TRACK_TOKEN="env") == ("ann", "env")
    assert login(HERE) == ("ann", "stored")
    path.write_text(json.dumps({"uri": HERE, "offline": "never"}))
    reset_configuration()
    with pytest.raises(AuthenticationError, match="you have not trusted"):
        login(HERE)


def test_the_users_own_configuration_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "track").mkdir()
    configure(tmp_path / "track", uri=HERE, token="configured")
    assert login(HERE) == ("ann", "configured")
    assert login("socket://evil.example", TRACK_TOKEN="env") is None


def link_to(path: Path, owner: int) -> None:
    """Put a link, which belongs to somebody, in the place of a file."""
    path.rename(path.with_name("target"))
    path.symlink_to("target")
    os.chown(path, owner, owner, follow_symlinks=False)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file that a group may write": (lambda path: path.chmod(0o664), "chmod go-w .*/track.config"),
    "a file that everybody may write": (lambda path: path.chmod(0o666), "chmod go-w .*/track.config"),
    "a folder that a group may write": (lambda path: path.parent.chmod(0o775), "chmod go-w .*/track"),
    "a file of another user": (lambda path: os.chown(path, 12345, 12345), "belongs to user 12345"),
    "a link of another user": (lambda path: link_to(path, 12345), "is a link that belongs to user 12345"),
    "a folder of another user": (lambda path: os.chown(path.parent, 12345, 12345), "folder .* user 12345"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("is_named", [False, True])
def test_a_configuration_that_others_can_change_does_not_choose_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, is_named: bool
) -> None:
    # Fails when `_fault` finds nothing: whoever changes the file would get the token, or the data.
    change, said = FAULTS[fault]
    if "another" in fault and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    (tmp_path / "track").mkdir()
    path = configure(tmp_path / "track", uri=HERE.replace("ann@", "ann:secret@"))
    monkeypatch.setenv(*("TRACK_CONFIG", str(path)) if is_named else ("XDG_CONFIG_HOME", str(tmp_path)))
    assert login(HERE) == ("ann", "secret")
    change(path)
    reset_configuration()
    with pytest.raises(AuthenticationError, match=said):
        login(HERE)
    assert login("socket://ann@node2", TRACK_TOKEN="env", TRACK_URI="socket://node2") == ("ann", "env")
    TrustedFiles().add(current_configuration())
    assert login(HERE) == ("ann", "secret")


def test_a_configuration_in_a_sticky_folder_such_as_tmp_is_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACK_CONFIG", str(configure(tmp_path, uri=HERE, token="configured")))
    tmp_path.chmod(0o1777)
    assert login(HERE) == ("ann", "configured")


def test_a_stored_login_is_for_its_server_only() -> None:
    store()
    assert login("socket://node1:8123") == ("ann", "stored")
    assert login(f"{HERE}?pin={PIN}") == ("ann", "stored")
    assert login(f"{HERE}?pin={OTHER_PIN},{PIN}") == ("ann", "stored")
    assert login("socket://evil.example:8123") is None
    with pytest.raises(AuthenticationError, match="lacks a token"):
        login("socket://bob@node1:8123")


def test_a_stored_login_is_not_used_for_another_key(caplog: pytest.LogCaptureFixture) -> None:
    store()
    assert login(f"socket://node1:8123?pin={OTHER_PIN}") is None
    assert "another key is expected there" in caplog.text
    KnownServers().path.unlink()
    assert login("socket://node1:8123") is None


def test_a_stored_login_is_for_all_hosts_that_have_to_show_its_key() -> None:
    store()
    assert login("socket://node2,node1:8123") == ("ann", "stored")
    assert login(f"socket://node2,node1:8123?pin={PIN}") == ("ann", "stored")
    assert login(f"socket://node2,node1:8123?pin={OTHER_PIN}") is None
    assert login("socket://node2:8123") is None


def test_a_stored_login_for_tls_is_not_used_in_plain_text() -> None:
    store("localhost:8123")
    assert login("socket://localhost:8123?security_layer=plaintext") is None


def test_stored_logins_that_cannot_be_used_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    store()
    StoredLogins().path.chmod(0o644)
    assert login("socket://node1:8123") is None
    assert "others may read it" in caplog.text


def test_the_list_of_trusted_files_is_for_its_user_only(project: Path) -> None:
    configure(project, uri=HERE)
    before = os.umask(0)
    try:
        TrustedFiles().add(find_configuration())
    finally:
        os.umask(before)
    assert TrustedFiles().path.stat().st_mode & 0o777 == 0o600


def test_a_server_that_a_repository_names_receives_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server asks for the secret itself, which the URI in its own configuration allows.
    certificate, key = (made := make_certificate()).write(tmp_path)
    heard: list[FakePeer] = []

    def ask_for_the_password(peer: FakePeer) -> None:
        heard.append(peer)
        peer.hear(1)
        peer.socket.sendall(encode_frame(FrameKind.HELLO, [1, "evil", "PASSWORD"]))
        peer.listen_to_the_end()

    monkeypatch.setenv("TRACK_TOKEN", "correct horse")
    with fake_server(ask_for_the_password, certificate, key) as port:
        pin = pin_of_certificate(made.der)
        configure(project, uri=f"socket://ann@127.0.0.1:{port}?pin={pin}&login=password&timeout=2")
        with TrackClient() as client, pytest.raises(AuthenticationError, match="you have not trusted"):
            client.protocol.fetch_projects({})
        socket.create_connection(("127.0.0.1", port)).close()
    assert heard == []
