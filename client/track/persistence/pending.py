"""Creating projects, groups and trials, whether or not their store is there.

A creation is a call, whose answer is the item as it is stored.  While the store is unreachable it is logged
like anything else and looked up later.  A project or group is known by its uid and a trial by the id drawn
here, so what is logged after the creation does not need the answer, and a creation that was stored although
its answer got lost is the same one when it is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from track.connection.offline import Offline
from track.outbox import Outbox
from track.outbox.records import RECORD_BYTES_LIMIT, estimate_size
from track.structure import CONTINUED
from track_protocol.errors import CallTimeout, ServerUnreachable, StoreFull, TooBusy
from track_protocol.model.documents import Document
from track_protocol.model.entities import Trial

__all__ = ["GROUP", "PROJECT", "TRIAL", "EntityType", "PendingCreates"]

_log: Final = logging.getLogger("track")

_PATIENCE: Final = 1.0
"""Seconds that creating something waits, once, for a store that is unreachable."""

_UNREACHABLE: Final = (ServerUnreachable, TooBusy, StoreFull)
_HEAD: Final = 1_024
"""Bytes that a record has beside its document, at most."""


@dataclass(frozen=True, slots=True)
class EntityType:
    """The calls that make and find a kind of item.

    Attributes:
        name: of the argument.
        key: field by which it is looked up.
        create: inserts one, as a record.
        insert: inserts one, and answers.
        look_up: finds it.
        options: further arguments of `insert`.
    """

    name: str
    key: str
    create: str
    insert: str
    look_up: str
    options: Mapping[str, Any] = field(default_factory=dict)


PROJECT: Final = EntityType("project", "uid", "create_project", "new_project", "get_project")
GROUP: Final = EntityType(
    "group", "uid", "create_group", "new_trial_group", "get_trial_group", {"or_get": False}
)
TRIAL: Final = EntityType("trial", "id", "create_trial", "new_trial", "get_trial", {"auto_increment": True})
_TYPES: Final = {kind.create: kind for kind in (PROJECT, GROUP, TRIAL)}


class PendingCreates:
    """The objects that this process created in one store.

    Args:
        outbox: of the store.
        offline: the policy while the store is unreachable; None for one in this process.
    """

    def __init__(self, outbox: Outbox, offline: Offline | None) -> None:
        self._outbox = outbox
        self._offline = offline
        self._provisional: dict[bytes, list[Trial]] = {}

    @property
    def may_work_offline(self) -> bool:
        """Whether the store may be unreachable now."""
        return self._offline is not None and (self._offline.may_start_alone or self._outbox.reached)

    @property
    def unresolved(self) -> list[bytes | str]:
        """Ids and uids of objects not yet seen in the store."""
        created = self._outbox.unconfirmed
        return [*created, *(id for id in self._provisional if id not in created)]

    def create(self, kind: EntityType, document: Document) -> Any:
        """Create what the document says.

        Args:
            kind: of item.
            document: of the item, in plain values and with its key.

        Returns:
            The document as it is stored; while the store is unreachable, as it was given.  None if the
            options say so.

        Raises:
            ServerUnreachable: the store is unreachable, and the policy is not to start without it.
            TrackError: the store refuses it.
        """
        if not self.may_work_offline:
            return self._insert(kind, document)
        outbox, key = self._outbox, document[kind.key]
        known_unreachable = outbox.is_known_unreachable
        try:
            return outbox.call_soon(kind.insert, {kind.name: document, **kind.options}, _PATIENCE)
        except _UNREACHABLE as error:
            if _HEAD + estimate_size(document) > RECORD_BYTES_LIMIT:
                return self._insert(kind, document)
            outbox.create(key, kind.create, {kind.name: document})
            self._report_unreachable(kind, document, error, first=not known_unreachable)
            return document

    def put(self, kind: EntityType, document: Document) -> None:
        """Create what the document says, unless it is there; how it is stored is not looked up.

        Args:
            kind: of item.
            document: of the item, in plain values and with its key.
        """
        if _HEAD + estimate_size(document) > RECORD_BYTES_LIMIT:
            self._insert(kind, document)
        else:
            self._outbox.log(kind.create, {kind.name: document})

    def expect(self, *trials: Trial) -> None:
        """Update these objects of one trial once its revision is known."""
        for trial in trials:
            if trial.id is not None and trial.id in self._outbox.unconfirmed:
                self._provisional.setdefault(trial.id, []).append(trial)

    def ask_for(self, trial: Trial) -> list[Document] | Trial:
        """The stored documents of a trial's id; while the store is unreachable, what is known here."""
        assert trial.id is not None
        try:
            found: list[Document] = self._outbox.call_soon(
                TRIAL.look_up, {TRIAL.name: {TRIAL.key: trial.id}}, self._outbox.connect_timeout
            )
        except _UNREACHABLE as error:
            shown = trial.id.hex()
            _log.warning(
                "the store is unreachable, so trial %s is shown as this process knows it: %s", shown, error
            )
            known = replace(trial, metrics={}, chronos={})
            self._provisional.setdefault(trial.id, []).append(known)
            return known
        return found

    def resolve(self, keys: Iterable[bytes | str], timeout: float | None) -> None:
        """Look up created objects that should be stored by now.

        Args:
            keys: some that were `unresolved`.
            timeout: seconds, if there are less than a creation waits at most.
        """
        for key in keys:
            creation = self._outbox.unconfirmed.get(key)
            kind = TRIAL if creation is None else _TYPES[creation[0]]
            try:
                found = self._look_up(kind, key, _PATIENCE if timeout is None else min(timeout, _PATIENCE))
            except _UNREACHABLE:
                return  # the next flush tries again
            self._outbox.unconfirmed.pop(key, None)
            if found is not None and kind is TRIAL:
                self.update_trials([found])
            elif isinstance(key, bytes):
                self._provisional.pop(key, None)  # the store refused it, and reported that

    def update_trials(self, documents: Iterable[Document]) -> None:
        """Update the trials of this process with their stored form."""
        for document in documents:
            self._outbox.unconfirmed.pop(document["id"], None)
            for known in self._provisional.pop(document["id"], ()):
                known._hash, known.revision = document["hash"], document["revision"]

    def _insert(self, kind: EntityType, document: Document) -> Any:
        return self._outbox.call(kind.insert, {kind.name: document, **kind.options})

    def _look_up(self, kind: EntityType, key: bytes | str, timeout: float) -> Document | None:
        found = self._outbox.call_soon(kind.look_up, {kind.name: {kind.key: key}}, timeout)
        # A trial's definition may name several; an id names one.
        return next(iter(found), None) if isinstance(found, list) else found

    def _report_unreachable(
        self, kind: EntityType, document: Document, error: Exception, *, first: bool
    ) -> None:
        if first and self._offline is Offline.REQUIRE:
            _log.warning(
                "offline=require: new objects and logged values are queued on disk until you run 'track sync'"
            )
        elif first and isinstance(error, CallTimeout):
            _log.warning(
                "the store is slow to answer; still waiting, and new records are queued: %s",
                error,
            )
        elif first:
            _log.warning(
                "new objects and logged values are queued until the store is reachable again: %s", error
            )
        # A slow store will say which revision it is; only of one that is unreachable the id is all there is.
        if kind is TRIAL and not isinstance(error, CallTimeout):
            shown = document[kind.key].hex()
            _log.warning(
                "trial %s gets its revision when it is stored; resume it with %s=%s", shown, CONTINUED, shown
            )
