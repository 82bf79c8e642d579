"""The content of a store in a JSON file, as objects in memory."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from track.persistence.registry import get_protocol
from track.process.files import replace_file
from track.serialization import from_json, to_json
from track_protocol.errors import BadArguments, UsageError
from track_protocol.locations import sidecar_of
from track_protocol.model.entities import Project, Trial, TrialGroup
from track_protocol.uri import Uri

__all__ = ["LocalStorage", "load_database"]

_COUNT = "_update_count"


@dataclass
class LocalStorage:
    """A copy of a store: projects, groups and trials by their uids.

    It follows the file on demand, and writes to no store: to change one, open it with
    `track.persistence.local.FileProtocol`.

    Attributes:
        target_file: the file it was read from, and is written to by `commit`.
    """

    target_file: str | None = None
    _objects: dict[str, Any] = field(default_factory=dict)
    _projects: set[str] = field(default_factory=set)
    _groups: set[str] = field(default_factory=set)
    _trials: set[str] = field(default_factory=set)
    _project_names: dict[str, str] = field(default_factory=dict)
    _group_names: dict[str, str] = field(default_factory=dict)
    _trial_names: dict[str, str] = field(default_factory=dict)
    _old_rev_tags: dict[str, int] = field(default_factory=dict)

    @property
    def objects(self) -> dict[str, Any]:
        """Everything by uid."""
        return self._objects

    @property
    def projects(self) -> set[str]:
        """Uids of the projects."""
        return self._projects

    @property
    def groups(self) -> set[str]:
        """Uids of the groups."""
        return self._groups

    @property
    def trials(self) -> set[str]:
        """Uids of the trials."""
        return self._trials

    @property
    def project_names(self) -> dict[str, str]:
        """Uids of the projects by name."""
        return self._project_names

    @property
    def group_names(self) -> dict[str, str]:
        """Uids of the groups by name; of several projects' groups of one name, the newest."""
        return self._group_names

    @property
    def trial_names(self) -> dict[str, str]:
        """Uids of the trials by name; of several of one name, the newest."""
        return self._trial_names

    def reload(self, filename: str | os.PathLike[str] | None = None) -> None:
        """Discard everything, and read the file.

        Args:
            filename: the file; by default the one of before.

        Raises:
            UsageError: there is none.
            StoreError: it cannot be read.
        """
        found = load_database(self._named(filename))
        for each in fields(self):
            setattr(self, each.name, getattr(found, each.name))

    def smart_reload(self, filename: str | os.PathLike[str] | None = None) -> None:
        """Read the file, and bring the objects that are here up to date: they stay the same objects.

        Args:
            filename: see `reload`.

        Raises:
            UsageError, StoreError: see `reload`.
        """
        known = self._objects
        tags = {uid: self.get_current_version_tag(each) for uid, each in known.items()}
        self.reload(filename)
        self._old_rev_tags = tags
        for uid, new in self._objects.items():
            old = known.get(uid)
            if type(old) is type(new):
                vars(old).update(vars(new))
                self._objects[uid] = old

    def commit(self, file_name_override: str | os.PathLike[str] | None = None, **kwargs: Any) -> None:
        """Write everything to a JSON file that `load_database` reads.

        Args:
            file_name_override: the file; by default the one it was read from.
            kwargs: none so far.

        Raises:
            UsageError: there is no file, or it is a store that others use.
            BadArguments: there are further arguments.
        """
        if kwargs:
            raise BadArguments(f"commit takes file_name_override only, not {', '.join(kwargs)}")
        name = Path(self._named(file_name_override))
        if _is_store(name):
            raise UsageError(
                f"{name} is a store, and this is a copy of it: change the store with FileProtocol, or name "
                "another file with file_name_override"
            )
        by_kind = {"projects": self._projects, "groups": self._groups, "trials": self._trials}
        document = {
            kind: [to_json(each) for uid, each in self._objects.items() if uid in uids]
            for kind, uids in by_kind.items()
        }
        replace_file(name, json.dumps(document, indent=2).encode())

    def get_current_version_tag(self, obj: Project | TrialGroup | Trial) -> int:
        """How many changes of the object itself the store had counted when this was read."""
        count = obj.metadata.get(_COUNT)
        return count if isinstance(count, int) else 0

    def get_previous_version_tag(self, obj: Project | TrialGroup | Trial) -> int:
        """The same of the time before the last `smart_reload`; 0 for what was not here then."""
        return self._old_rev_tags.get(obj.uid, 0)

    def _named(self, given: str | os.PathLike[str] | None) -> str:
        name = given if given is not None else self.target_file
        if name is None:
            raise UsageError("this storage has no file: name one")
        return os.fspath(name)

    def _add(self, obj: Any, uids: set[str], names: dict[str, str]) -> None:
        self._objects[obj.uid] = obj
        uids.add(obj.uid)
        if obj.name is not None:
            names[obj.name] = obj.uid


def load_database(json_name: str | os.PathLike[str] | None) -> LocalStorage:
    """Read a store's JSON file, or one that ``commit(file_name_override=…)`` wrote.

    Of a store it has everything that is committed, also what the document on disk does not show yet.

    Args:
        json_name: the file, or its ``file:`` URI; one that is not there is empty, and so is None.

    Raises:
        StoreError: it is something else, is damaged, or a server holds it.
    """
    if json_name is None:
        return LocalStorage()
    name = os.fspath(json_name)
    path = Path(Uri.parse(name).path if name.startswith(("file:", "pickled:")) else name)
    storage = LocalStorage(str(path))
    if _is_store(path):
        found = _stored(path)
    elif path.exists():
        found = _written(path)
    else:
        return storage
    for project in found["projects"]:
        storage._add(project, storage.projects, storage.project_names)
    for group in found["groups"]:
        storage._add(group, storage.groups, storage.group_names)
    for trial in found["trials"]:
        storage._add(trial, storage.trials, storage.trial_names)
    return storage


def _is_store(path: Path) -> bool:
    """Whether a ``file:`` store is there, and not what `LocalStorage.commit` or `Protocol.commit` wrote."""
    if not path.exists():
        return sidecar_of(path).exists()
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    # Ours begins with its format; a file that `commit` wrote begins with the projects.
    return not start.replace(b" ", b"").replace(b"\n", b"").startswith(b'{"projects"')


def _stored(path: Path) -> dict[str, list[Any]]:
    protocol = get_protocol(Uri("file", path=str(path)).to_text())
    try:
        return {
            "projects": list(protocol.fetch_projects({})),
            "groups": list(protocol.fetch_groups({})),
            "trials": [
                replace(each, metrics=dict(each.metrics), chronos=dict(each.chronos))
                for each in protocol.fetch_trials({})
            ],
        }
    finally:
        protocol.close()


def _written(path: Path) -> dict[str, list[Any]]:
    try:
        raw = json.loads(path.read_text("utf-8"))
        return {kind: [from_json(each) for each in raw[kind]] for kind in ("projects", "groups", "trials")}
    except (ValueError, KeyError, TypeError) as error:
        raise BadArguments(
            f"{path} was not written by commit(file_name_override=...) ({error!r}): name another file"
        ) from error
