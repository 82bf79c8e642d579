"""Where files are on a machine: one rule for the client and the server, computed without I/O.

The package platformdirs would replace only `_base`: it reads no environment but this process's own, has other
folders on macOS, and does not check who owns the runtime folder, on which logins without a password rely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from track_protocol.errors import UsageError

__all__ = [
    "client_state_folder",
    "credential_file",
    "default_home",
    "local_username",
    "runtime_folder",
    "sidecar_of",
]


def default_home(env: Mapping[str, str]) -> Path:
    """The server's home: ``$TRACK_HOME``, else ``$XDG_DATA_HOME/track``, else ``~/.local/share/track``.

    Args:
        env: the environment, as `os.environ` has it.

    Raises:
        UsageError: none of the variables is set, and the user has no home folder.
    """
    if home := env.get("TRACK_HOME"):
        return Path(home)
    return _base(env, "XDG_DATA_HOME", ".local/share") / "track"


def client_state_folder(env: Mapping[str, str]) -> Path:
    """Folder of the client's state: ``$XDG_STATE_HOME/track``, else ``~/.local/state/track``.

    Args:
        env: the environment, as `os.environ` has it.

    Raises:
        UsageError: the variable is not set, and the user has no home folder.
    """
    return _base(env, "XDG_STATE_HOME", ".local/state") / "track"


def runtime_folder(env: Mapping[str, str], uid: int, owner_of: Callable[[Path], int | None]) -> Path:
    """The user's own folder for files that exist as long as a login.

    ``$XDG_RUNTIME_DIR`` if it is ours or could be (it names somebody else's after ``sudo -E``, and
    often nothing at all in a container), else ``/run/user/UID`` if it is there and ours, else
    ``$TMPDIR/track-UID`` (``/tmp`` by default).

    Args:
        env: the environment.
        uid: the effective user id.
        owner_of: the user id that owns a folder, or None if there is no such folder.
    """
    named = Path(env.get("XDG_RUNTIME_DIR", ""))
    owner = owner_of(named)
    if named.is_absolute() and uid == (owner_of(named.parent) if owner is None else owner):
        return named
    usual = Path("/run/user") / str(uid)
    if owner_of(usual) == uid:
        return usual
    # Another user may have made it first, so each user of this folder checks who owns it.
    return Path(env.get("TMPDIR") or "/tmp") / f"track-{uid}"  # noqa: S108 - as said above


def credential_file(runtime: Path, port: int) -> Path:
    """Where a server on `port` leaves the credentials for its own user."""
    return runtime / "track" / f"{port}.json"


def local_username(uid: int) -> str:
    """The name under which a server knows its own user; no other user may have such a name."""
    return f"local-{uid}"


def sidecar_of(document: Path) -> Path:
    """The database of a ``file:`` store, beside its JSON document, which is written later."""
    return document.with_name(f".{document.name}.db")


def _base(env: Mapping[str, str], variable: str, fallback: str) -> Path:
    # The XDG specification says that a relative path is invalid and is to be ignored.
    named = env.get(variable, "")
    if named.startswith("/"):
        return Path(named)
    if home := env.get("HOME"):
        return Path(home) / fallback
    try:
        return Path.home() / fallback
    except RuntimeError:
        raise UsageError(f"this user has no home folder: set HOME, or {variable} to a folder") from None
