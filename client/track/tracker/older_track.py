"""JSON documents of the older Track, copied into a store, again and again if need be.

A document holds projects, groups and trials as `track.serialization.to_json` writes them: in a list, under
keys, inside one another, or one alone, such as a report.  An object is known by its ``dtype``, or else by its
keys.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from track.persistence.protocol import Protocol
from track.recording.parameters import storable
from track.serialization import from_json
from track.tracker.importing import IMPORTED, ImportFailed
from track.tracker.source import storable_name
from track_protocol.errors import BadArguments, BadValue, StoreError
from track_protocol.model.entities import CustomStatus, Project, Status, Trial, TrialGroup
from track_protocol.model.values import normalise

__all__ = ["ImportedDocument", "OlderDocument", "import_document"]

_PROJECT: Final = "project"
_GROUP: Final = "trial_group"
_TRIAL: Final = "trial"
_KEYS: Final[Mapping[str, frozenset[str]]] = {
    _TRIAL: frozenset(("parameters", "metrics", "status")),
    _PROJECT: frozenset(("name", "groups", "trials")),
    _GROUP: frozenset(("name", "project_id", "trials")),
}
"""Keys by which an object is known that does not say what it is."""

_START_BYTES: Final = 64
_COUNTED_BY_STORES: Final = frozenset(("_update_count", "_last_change", "heartbeat"))
_RUNNING: Final = range(Status.RunningGroup.value, Status.ErrorGroup.value)


@dataclass(slots=True)
class ImportedDocument:
    """What an import has done.

    Attributes:
        runs: how many trials the document has.
        new_runs: how many of them the store did not have.
        points: how many points were sent, because the store did not have them.
        skipped: what could not be taken, counted by the reason.
    """

    runs: int = 0
    new_runs: int = 0
    points: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    def skip(self, reason: str) -> None:
        """Count something that could not be taken."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


class OlderDocument:
    """A JSON document with trials.

    Args:
        path: of the file.

    Raises:
        StoreError: it cannot be read, or has no trials, groups or projects.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise StoreError(f"{path} cannot be read ({error.strerror}): correct the path") from error
        except ValueError as error:
            raise StoreError(f"{path} is no JSON document ({error}): choose another file") from error
        self.objects = list(_objects(content, {}))
        if not self.objects:
            raise StoreError(
                f"{path} contains no project, group or trial of an older Track: choose another file"
            )

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether there is a JSON document; it need not be one of Track."""
        try:
            with path.open("rb") as file:
                return file.read(_START_BYTES).lstrip()[:1] in (b"[", b"{")
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class _Object:
    """An object of a document.

    Attributes:
        kind: its ``dtype``.
        content: the object.
        owners: what it was found in, by their ``dtype``.
    """

    kind: str
    content: Mapping[str, Any]
    owners: Mapping[str, Mapping[str, Any]]


def _objects(value: Any, owners: Mapping[str, Mapping[str, Any]]) -> Iterator[_Object]:
    if isinstance(value, list):
        for each in value:
            yield from _objects(each, owners)
    elif isinstance(value, dict):
        kind = _kind(value)
        if kind is not None:
            yield _Object(kind, value, owners)
            owners = {**owners, kind: value}
        if kind != _TRIAL:
            for name, each in value.items():
                if name != "metadata":
                    yield from _objects(each, owners)


def _kind(value: Mapping[str, Any]) -> str | None:
    given = value.get("dtype")
    if given in _KEYS:
        return str(given)
    return next((kind for kind, keys in _KEYS.items() if keys <= value.keys()), None)


def import_document(
    document: OlderDocument,
    protocol: Protocol,
    project: str | None = None,
    show: Callable[[int], None] = lambda remaining: None,
) -> ImportedDocument:
    """Copy every trial that a store does not have, and of the others what is missing.

    Args:
        document: where from.
        protocol: the store.
        project: name of the project of all trials; by default that of the document, or else its file's name.
        show: called with the number of trials that remain.

    Raises:
        ImportFailed: something could not be stored.
        TrackError: the store cannot be used.
    """
    return _Import(document, protocol, project).run(show)


class _Import:
    """One import under way."""

    def __init__(self, document: OlderDocument, protocol: Protocol, project: str | None) -> None:
        self._document = document
        self._protocol = protocol
        self._project = project
        self._done = ImportedDocument()
        self._projects: dict[str, Project] = {}
        self._groups: dict[str, TrialGroup] = {}
        self._dropped_count = protocol.dropped_count

    def run(self, show: Callable[[int], None]) -> ImportedDocument:
        objects = {kind: [each for each in self._document.objects if each.kind == kind] for kind in _KEYS}
        for each in objects[_PROJECT]:
            self._read(each, self._take_project)
        for each in objects[_GROUP]:
            self._read(each, self._take_group)
        seen: set[bytes] = set()
        for number, each in enumerate(objects[_TRIAL]):
            show(len(objects[_TRIAL]) - number)
            self._read(each, lambda each: self._take_trial(each, seen))
        self._protocol.flush()
        if self._protocol.dropped_count != self._dropped_count:
            raise ImportFailed(
                f"{self._document.path} could not be stored completely; the log has the reasons: "
                "remove the cause and import again, which sends only what is missing"
            )
        return self._done

    def _read(self, each: _Object, take: Callable[[_Object], None]) -> None:
        try:
            take(each)
        except BadArguments as error:
            self._done.skip(f"a {each.kind} that cannot be read: {error}")

    # -- projects and groups ---------------------------------------------------------------------

    def _take_project(self, each: _Object) -> None:
        read: Project = from_json({**each.content, "groups": [], "trials": []}, _PROJECT)
        stored = self._in_project(read.name, read.description, read.metadata)
        for name in (read.uid, read.name):
            if name:
                self._projects[name] = stored

    def _take_group(self, each: _Object) -> None:
        read: TrialGroup = from_json({**each.content, "trials": []}, _GROUP)
        project = self._project_of(each, read.project_id)
        metadata = storable(read.metadata, "metadata")
        group = TrialGroup(
            name=read.name, description=read.description, metadata=metadata, project_id=project.uid
        )
        stored = self._protocol.new_trial_group(group) or group
        for member in (read.uid, *_uids(each.content.get("trials"))):
            self._groups[member] = stored

    def _in_project(
        self, name: str | None, description: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Project:
        named = self._project or name or self._document.path.stem
        plain = storable(metadata or {}, "metadata")
        return self._protocol.new_project(Project(name=named, description=description, metadata=plain))

    def _project_of(self, each: _Object, uid: Any) -> Project:
        owner = each.owners.get(_PROJECT, {})
        for known in (uid, owner.get("uid"), owner.get("name")):
            if isinstance(known, str) and known in self._projects:
                return self._projects[known]
        found = self._in_project(None)
        self._projects[found.uid] = found
        return found

    # -- trials ----------------------------------------------------------------------------------

    def _take_trial(self, each: _Object, seen: set[bytes]) -> None:
        content = each.content
        read: Trial = from_json({**content, "metrics": {}, "chronos": {}}, _TRIAL)
        read.id = read.id or _id_of(read, content)
        if read.id in seen:
            return  # it is listed in its project and in its group
        seen.add(read.id)
        self._done.runs += 1
        known = self._protocol.current_trial(Trial(id=read.id))
        trial = known or self._new_trial(each, read)
        if known is None:
            self._done.new_runs += 1
        at = _time_of(content, self._document.path)
        self._copy(trial, "metric", content.get("metrics"), at)
        self._copy(trial, "chronos", content.get("chronos"), at)
        status = _ended(read.status)
        if trial.status is Status.Suspended and status != trial.status:
            # Only now, so that a trial whose import was interrupted does not look complete.
            self._protocol.set_trial_status(trial, status)

    def _new_trial(self, each: _Object, read: Trial) -> Trial:
        project = self._project_of(each, read.project_id)
        owner = each.owners.get(_GROUP, {}).get("uid")
        group = next(
            (self._groups[uid] for uid in (read.group_id, owner, read.uid) if uid in self._groups), None
        )
        metadata = {name: value for name, value in read.metadata.items() if name not in _COUNTED_BY_STORES}
        imported: dict[str, Any] = {"document": str(self._document.path), "uid": read.uid}
        statistics = {
            name: value
            for name, value in _mapping(each.content.get("chronos")).items()
            if isinstance(value, dict)
        }
        if statistics:
            imported["chronos"] = statistics
        trial = replace(
            read,
            tags=storable(read.tags, "tags"),
            parameters=storable(read.parameters, "parameters"),
            metadata=storable({**metadata, IMPORTED: imported}, "metadata"),
            project_id=project.uid,
            group_id=None if group is None else group.uid,
            status=Status.Suspended,
            metrics={},
            chronos={},
        )
        self._protocol.put_trial(trial)
        return trial

    def _copy(self, trial: Trial, kind: str, series: Any, at: float) -> None:
        stored = trial.metrics if kind == "metric" else trial.chronos
        for name, values in _mapping(series).items():
            points = list(self._points(kind, values))
            summary = getattr(stored, "summary", None)
            there = summary(storable_name(name))["count"] if summary and storable_name(name) in stored else 0
            new = [(step, at, value) for step, value in points[there:]]
            if new:
                self._protocol.log_trial_points(
                    trial, storable_name(name), new, "metric" if kind == "metric" else "chrono"
                )
                self._done.points += len(new)

    def _points(self, kind: str, values: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(values, dict) and {"avg", "count"} <= values.keys():
            what = "timer" if kind == "chronos" else "metric"
            where = "; the metadata 'imported' have them" if kind == "chronos" else ""
            self._done.skip(f"a {what} of which the document has statistics only{where}")
            return
        if isinstance(values, dict):
            pairs = [(_step(step), value) for step, value in values.items()]
        else:
            pairs = [(None, value) for value in (values if isinstance(values, list) else [values])]
        for step, value in pairs:
            try:
                yield step, normalise(value, "value")
            except BadValue as error:
                self._done.skip(f"a point that cannot be stored: {error}")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _uids(members: Any) -> list[str]:
    """Uids of the trials of a group; in some documents they are the trials themselves."""
    return [each for each in members if isinstance(each, str)] if isinstance(members, list) else []


def _step(key: str) -> Any:
    """Keys of JSON are text; numbers are meant."""
    try:
        return json.loads(key)
    except ValueError:
        return key


def _ended(status: Status | CustomStatus | None) -> Status | CustomStatus:
    """What was running when the document was written runs no longer."""
    return Status.Suspended if status is None or status.value in _RUNNING else status


def _id_of(trial: Trial, content: Mapping[str, Any]) -> bytes:
    """The id of a trial, wherever a copy of its document is."""
    named = trial.uid if content.get("hash") or content.get("uid") else json.dumps(content, sort_keys=True)
    return hashlib.sha256(json.dumps(["track import", named]).encode()).digest()[:16]


def _time_of(content: Mapping[str, Any], path: Path) -> float:
    """When the points of a trial were logged at the latest: the document has no times of single points."""
    metadata = _mapping(content.get("metadata"))
    known = [metadata.get(name) for name in ("_last_change", "heartbeat")]
    times = [float(each) for each in known if isinstance(each, (int, float)) and each > 0]
    return max(times, default=path.stat().st_mtime if path.exists() else time.time())
