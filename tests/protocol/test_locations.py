from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from track_protocol.errors import UsageError
from track_protocol.locations import (
    client_state_folder,
    credential_file,
    default_home,
    local_username,
    runtime_folder,
    sidecar_of,
)


def owners(**folders: int) -> Callable[[Path], int | None]:
    """Folders by their last name, and who owns them."""
    return lambda path: folders.get(path.name.replace("1000", "usual"))


@pytest.mark.parametrize(
    ("env", "home"),
    [
        ({"TRACK_HOME": "/srv/track", "XDG_DATA_HOME": "/data"}, "/srv/track"),
        ({"XDG_DATA_HOME": "/data", "HOME": "/home/a"}, "/data/track"),
        ({"XDG_DATA_HOME": "", "HOME": "/home/a"}, "/home/a/.local/share/track"),
        ({"XDG_DATA_HOME": "relative", "HOME": "/home/a"}, "/home/a/.local/share/track"),
    ],
)
def test_the_home_is_the_first_folder_that_is_set(env: dict[str, str], home: str) -> None:
    assert default_home(env) == Path(home)


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/a"}, "/state/track"),
        ({"HOME": "/home/a"}, "/home/a/.local/state/track"),
    ],
)
def test_the_state_folder_is_the_first_one_that_is_set(env: dict[str, str], folder: str) -> None:
    assert client_state_folder(env) == Path(folder)


def test_without_a_home_the_error_names_the_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(UsageError, match="XDG_STATE_HOME"):
        client_state_folder({})


def test_the_named_runtime_folder_is_used_if_it_is_ours() -> None:
    assert runtime_folder({"XDG_RUNTIME_DIR": "/x/mine"}, 1000, owners(mine=1000)) == Path("/x/mine")


def test_the_named_runtime_folder_is_used_if_we_can_make_it() -> None:
    assert runtime_folder({"XDG_RUNTIME_DIR": "/mine/new"}, 1000, owners(mine=1000)) == Path("/mine/new")


def test_a_named_runtime_folder_that_we_cannot_make_is_skipped() -> None:
    found = runtime_folder({"XDG_RUNTIME_DIR": "/theirs/new"}, 1000, owners(theirs=0, usual=1000))
    assert found == Path("/run/user/1000")


def test_a_relative_runtime_folder_is_skipped() -> None:
    found = runtime_folder({"XDG_RUNTIME_DIR": "mine"}, 1000, owners(mine=1000, usual=1000))
    assert found == Path("/run/user/1000")


def test_another_users_runtime_folder_is_ignored() -> None:
    found = runtime_folder({"XDG_RUNTIME_DIR": "/x/theirs"}, 1000, owners(theirs=0, usual=1000))
    assert found == Path("/run/user/1000")


def test_the_usual_runtime_folder_is_used_when_none_is_named() -> None:
    assert runtime_folder({}, 1000, owners(usual=1000)) == Path("/run/user/1000")


@pytest.mark.parametrize("usual", [{}, {"usual": 0}])
def test_without_a_runtime_folder_of_ours_it_is_one_by_our_number(usual: dict[str, int]) -> None:
    assert runtime_folder({"TMPDIR": "/scratch"}, 1000, owners(**usual)) == Path("/scratch/track-1000")
    assert runtime_folder({}, 1000, owners(**usual)) == Path("/tmp/track-1000")  # noqa: S108 - nothing is written


def test_each_port_has_a_credential_file() -> None:
    assert credential_file(Path("/run/user/1000"), 8123) == Path("/run/user/1000/track/8123.json")


def test_the_servers_own_user_is_named_by_number() -> None:
    assert local_username(1000) == "local-1000"


def test_the_database_of_a_file_store_is_hidden_beside_its_document() -> None:
    assert sidecar_of(Path("/data/runs.json")) == Path("/data/.runs.json.db")
