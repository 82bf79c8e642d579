"""What is set for a user, a project or a job: the file ``track.config`` and ``TRACK_`` variables over it.

The file holds JSON, an object whose keys are those of `options`; a key with dots may be written as it is, or
as objects in one another.  It is the first of these that is there:

1. the file that `find_configuration` is given,
2. the file that ``TRACK_CONFIG`` names,
3. ``track.config`` in the current folder, or else in the nearest folder above it,
4. ``track/track.config`` in ``$XDG_CONFIG_HOME``, by default ``~/.config``.

A file of the third kind that another user could have written is ignored, with a warning:
it could send the logged values to another server.  It may also have come with somebody else's repository:
until the user has trusted it, neither a stored login nor the environment's token is used for the server that
it names, see `track.connection.login`, and it does not choose the folder of spools.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from track_protocol.errors import UsageError

__all__ = [
    "DEFAULT_STORE",
    "Configuration",
    "OptionNotFound",
    "current_configuration",
    "environment",
    "find_configuration",
    "none",
    "options",
    "reset_configuration",
    "switched_on",
]

_log: Final = logging.getLogger("track.configuration")

DEFAULT_STORE: Final = "sqlite:track.db"
"""In the current folder: where `track.init` stores runs when nothing says where, and commands find them."""

_NAME: Final = "track.config"
_VARIABLE: Final = "TRACK_CONFIG"
_PREFIX: Final = "TRACK_"
_LONGEST: Final = 1024 * 1024
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class OptionNotFound(UsageError, KeyError):
    """An option that is set nowhere and has no default."""

    # That of KeyError shows the quoted text.
    __str__ = Exception.__str__


class _NoDefault:
    """Marks an option that must be set."""

    def __repr__(self) -> str:
        return "no default"


none: Final = _NoDefault()
"""The default of an option that must be set."""


class Configuration(dict[str, Any]):
    """The content of a ``track.config``; empty without one.

    Attributes:
        path: the file, None when there is none.
        digest: SHA-256 of the file's content, in hexadecimal digits.
        is_project: whether it was found in the current folder or above it, so that the user need not know it.
        fault: why other users can change it, and the remedy; empty if they cannot.
    """

    def __init__(
        self,
        content: Mapping[str, Any] | None = None,
        path: Path | None = None,
        digest: str = "",
        *,
        is_project: bool = False,
        fault: str = "",
    ) -> None:
        super().__init__(content or {})
        self.path = path
        self.digest = digest
        self.is_project = is_project
        self.fault = fault

    @property
    def variables(self) -> dict[str, str]:
        """What it says, as ``TRACK_`` variables."""
        return dict(_flat("", self))


class _State:
    """The configuration of this process, None before it was looked for."""

    found: Configuration | None = None


def options(key: str, default: Any = none) -> Any:
    """The value of an option.

    It is that of the variable ``TRACK_<KEY>`` (in capitals, dots as underscores; read as JSON where it is
    JSON, else as text; an empty one counts as not set), else that of ``track.config``, else `default`.

    Args:
        key: its name, with dots between the parts.
        default: the value when it is set nowhere.

    Raises:
        OptionNotFound: it is set nowhere, and there is no default.
        UsageError: ``track.config`` cannot be read.
    """
    variable = _variable(key)
    if text := os.environ.get(variable):
        return _from_text(text)
    found = _lookup(current_configuration(), key.split("."))
    if not isinstance(found, _NoDefault):
        return found
    if isinstance(default, _NoDefault):
        raise OptionNotFound(
            f"the option {key!r} is not set: set {variable}, or {key!r} in a {_NAME}, or give a default"
        )
    return default


def find_configuration(file: str | os.PathLike[str] | None = None) -> Configuration:
    """Find and read the configuration; it is that of this process until `reset_configuration`.

    Args:
        file: the file to read; by default it is looked for, see above.

    Raises:
        UsageError: the file (or the one that ``TRACK_CONFIG`` names) is not there, or holds no JSON object.
    """
    path, is_project = _named(file), False
    if path is None:
        path = next(_of_the_project(), None)
        is_project = path is not None
    path = path or next(_of_the_user(), None)
    _State.found = Configuration() if path is None else _read(path, is_project)
    return _State.found


def current_configuration() -> Configuration:
    """The configuration of this process, which is looked for once.

    Raises:
        UsageError: ``track.config`` cannot be read.
    """
    return find_configuration() if _State.found is None else _State.found


def reset_configuration() -> None:
    """Clear the cache: the next option reads the file again."""
    _State.found = None


def environment() -> Mapping[str, str]:
    """The environment, and beneath it what ``track.config`` says, as if ``TRACK_`` variables said it.

    So ``{"offline": "never", "spool": {"limit": "1G"}}`` stands for ``TRACK_OFFLINE=never`` and
    ``TRACK_SPOOL_LIMIT=1G``.

    Raises:
        UsageError: ``track.config`` cannot be read.
    """
    configuration = current_configuration()
    return {**configuration.variables, **os.environ} if configuration else os.environ


def switched_on(environment: Mapping[str, str], variable: str, *, default: bool = False) -> bool:
    """Whether a variable that is 1 or 0 says yes; one that is empty or not set leaves it at the default.

    Raises:
        UsageError: it is neither.
    """
    value = environment.get(variable, "")
    if value not in ("", "0", "1"):
        raise UsageError(f"{variable} is {value[:80]!r}: set it to 1 or to 0")
    return value == "1" if value else default


def _named(file: str | os.PathLike[str] | None) -> Path | None:
    named = file or os.environ.get(_VARIABLE)
    return Path(named).absolute() if named else None


def _of_the_project() -> Iterator[Path]:
    """The files that are there and may be used, the nearest first."""
    try:
        here = Path.cwd()
    except OSError:
        return  # the current folder is deleted
    for folder in (here, *here.parents):
        path = folder / _NAME
        if _is_file(path) and _is_ours(path):
            yield path


def _of_the_user() -> Iterator[Path]:
    base, home = os.environ.get("XDG_CONFIG_HOME", ""), os.environ.get("HOME")
    folder = Path(base) if base.startswith("/") else Path(home) / ".config" if home else None
    if folder is not None and _is_file(path := folder / "track" / _NAME):
        yield path


def _is_file(path: Path) -> bool:
    """A folder on the way may be closed to this user, as the home of another one is: nothing is set there."""
    try:
        return path.is_file()
    except OSError:
        return False


def _is_ours(path: Path) -> bool:
    found = path.stat()
    owners = {found.st_uid, path.lstat().st_uid}
    others = owners - _owners()
    if not others and not found.st_mode & stat.S_IWOTH:
        return True
    _log.warning(
        "%s is ignored: %s can change it and could redirect your data; if it is right, name it in %s",
        path,
        f"user {others.pop()}" if others else "everybody",
        _VARIABLE,
    )
    return False


def _owners() -> set[int]:
    """Who may change what this user relies on."""
    return {os.geteuid(), 0}


def _fault(path: Path, found: os.stat_result) -> str:
    """Why other users can change a file, and the remedy: by itself, a link to it, or the folders of both."""
    if found.st_uid not in _owners():
        return f"it belongs to user {found.st_uid}: make a copy of your own"
    if (link := path.lstat()).st_uid not in _owners():
        return f"it is a link that belongs to user {link.st_uid}: make a link of your own"
    if found.st_mode & _OTHERS_WRITE:
        return f"others may write to it: chmod go-w {path}"
    for folder in dict.fromkeys((path.parent, path.resolve().parent)):
        inside = folder.stat()
        if inside.st_uid not in _owners():
            return f"its folder {folder} belongs to user {inside.st_uid}: move it to a folder of your own"
        if inside.st_mode & _OTHERS_WRITE and not inside.st_mode & stat.S_ISVTX:
            return f"others may write to its folder: chmod go-w {folder}"
    return ""


def _read(path: Path, is_project: bool) -> Configuration:
    try:
        with path.open("rb") as file:
            data, fault = file.read(_LONGEST), _fault(path, os.fstat(file.fileno()))
        content = json.loads(data)
    except OSError as error:
        raise UsageError(f"the configuration {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the configuration {path} is not JSON ({error}): correct it") from error
    if not isinstance(content, dict):
        raise UsageError(f'the configuration {path} is not a JSON object: write {{"KEY": VALUE}}')
    # Else `options` and `variables` could find different values, and the server that one of them names would
    # not count as one that this file names.
    variables = [name for name, _ in _flat("", content)]
    if twice := next((name for name in variables if variables.count(name) > 1), None):
        raise UsageError(f"the configuration {path} sets {twice} twice, in different spellings: remove one")
    digest = hashlib.sha256(data).hexdigest()
    return Configuration(content, path, digest, is_project=is_project, fault=fault)


def _lookup(content: Mapping[str, Any], parts: list[str]) -> Any:
    """The value at a dotted key, of which any number of parts may be written together."""
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name not in content:
            continue
        inner = content[name]
        if length == len(parts):
            return inner
        if isinstance(inner, dict) and not isinstance(found := _lookup(inner, parts[length:]), _NoDefault):
            return found
    return none


def _flat(prefix: str, content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{key}.", value)
        elif isinstance(value, bool):
            yield _variable(prefix + key), "1" if value else "0"
        elif value is not None:
            yield _variable(prefix + key), value if isinstance(value, str) else json.dumps(value)


def _variable(key: str) -> str:
    return _PREFIX + key.replace(".", "_").replace("-", "_").upper()


def _from_text(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
