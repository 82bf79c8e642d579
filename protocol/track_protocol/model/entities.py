"""The data model: projects hold groups and trials, a trial is one training run."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Final

from track_protocol.errors import BadValue, UsageError
from track_protocol.model.values import MAX_DEPTH, converter_of

__all__ = [
    "LOST",
    "PRUNED",
    "STATUS_NAMES",
    "CustomStatus",
    "Project",
    "Status",
    "Trial",
    "TrialGroup",
    "new_id",
    "status",
]


class Status(enum.Enum):
    """Where a trial is in its life cycle; the hundreds digit is the group of the value."""

    CreatedGroup = 0
    RunningGroup = 100
    Running = 101
    ErrorGroup = 200
    Interrupted = 201
    Exception = 202
    Broken = 203
    FinishedGroup = 300
    Suspended = 301
    Completed = 302

    def __str__(self) -> str:
        return self.name.lower()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CustomStatus:
    """A status of the user's own.

    Attributes:
        name: its name.
        value: its number; the hundreds digit places it in a group of `Status`.
    """

    name: str
    value: int

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        """Equal to a custom status of the same name and value, and to the text that is its name."""
        if isinstance(other, str):
            return other == self.name
        if isinstance(other, CustomStatus):
            return (other.name, other.value) == (self.name, self.value)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)


LOST: Final = CustomStatus("lost", 204)
"""Of a trial that was running when all its processes disconnected and did not come back in time."""

PRUNED: Final = CustomStatus("pruned", 303)
"""Of a trial that Optuna gave up because it was not promising."""

STATUS_NAMES: Final[Mapping[str, str]] = {
    "created": Status.CreatedGroup.name,
    **{each.name.lower(): each.name for each in (*Status, LOST, PRUNED)},
}
"""The names of the known statuses, by how people write them."""


def status(name: str | None = None, value: int | None = None) -> Status | CustomStatus:
    """The status that has this name and value (either may be left out): a known one, else a `CustomStatus`.

    Raises:
        UsageError: both arguments are None, or a custom status lacks its name or its value.
    """
    if name is not None and value is None:
        name = STATUS_NAMES.get(name.lower(), name)
    known: Status | CustomStatus
    for known in (*Status, LOST, PRUNED):
        if (name, value) != (None, None) and name in (None, known.name) and value in (None, known.value):
            return known
    if name is None or value is None:
        raise UsageError(
            f"no status has name={name!r}, value={value!r}: "
            f"a custom status needs both; known are {', '.join(known.name for known in Status)}"
        )
    return CustomStatus(name, value)


def new_id() -> bytes:
    """A fresh 16-byte identity (a random UUID), unique without asking anybody."""
    # Deferred: a process that only reads never pays for this import.
    import uuid

    return uuid.uuid4().bytes


_TAGS: Final = "tags"


class _ByUid(ABC):
    """Equal to another object of its class that has the same uid."""

    @property
    @abstractmethod
    def uid(self) -> str:
        """The identity."""

    def __eq__(self, other: object) -> bool:
        return self.uid == other.uid if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.uid)


class _Named(_ByUid):
    """Its uid follows from its name."""

    _uid: str | None

    @property
    def uid(self) -> str:
        """The identity, computed when first read and fixed from then on."""
        if self._uid is None:
            self._uid = self.compute_uid()
        return self._uid

    @uid.setter
    def uid(self, uid: str) -> None:
        self._uid = uid

    @abstractmethod
    def compute_uid(self) -> str:
        """The uid that follows from the name."""


@dataclasses.dataclass(eq=False)
class Project(_Named):
    """A set of groups and trials; equal to another project of the same uid.

    Attributes:
        name: unique in a store.
        description: free text.
        metadata: values by name.
        groups: the groups, as objects or as their uids.
        trials: the trials, as objects or as their uids.
        tags: those of all its trials, which cannot override them; stored in the metadata, as ``tags``.
    """

    _uid: str | None = None
    name: str | None = None
    description: str | None = None
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    groups: set[Any] = dataclasses.field(default_factory=set)
    trials: set[Any] = dataclasses.field(default_factory=set)
    tags: dict[str, Any] = dataclasses.field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        if self.tags:
            self.metadata = {**self.metadata, _TAGS: self.tags}
        elif isinstance(stored := self.metadata.get(_TAGS), dict):
            self.tags = stored

    def compute_uid(self) -> str:
        """The name."""
        return self.name or ""


@dataclasses.dataclass(eq=False)
class TrialGroup(_Named):
    """A named set of trials; equal to another group of the same uid.

    Attributes:
        name: unique in its project.
        description: free text.
        metadata: values by name.
        trials: the trials, as objects or as their uids.
        project_id: uid of its project.
    """

    _uid: str | None = None
    name: str | None = None
    description: str | None = None
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    trials: set[Any] = dataclasses.field(default_factory=set)
    project_id: str | None = None

    def compute_uid(self) -> str:
        """SHA-256 of the project's uid and the name, as 64 hexadecimal digits."""
        return _digest("group", self.project_id, self.name)


@dataclasses.dataclass(eq=False)
class Trial(_ByUid):
    """One training run; equal to another trial of the same uid.

    Attributes:
        revision: how many earlier trials have the same hash.
        name: free text, part of the hash.
        description: free text.
        tags: labels by name.
        version: version of the code, part of the hash.
        group_id: uid of its group.
        project_id: uid of its project.
        parameters: the arguments of the run, part of the hash.
        metadata: values by name.
        metrics: by name, ``{step: value}``, or a list when logged without steps.
        chronos: by name, the timings in seconds.
        media: by kind and name, ``count``, ``first_step``, ``last_step`` and ``last_time``, without content.
        status: where it is in its life.
        errors: texts of the errors that ended it.
        id: 16 bytes made by the client that created it; None when it never had one.
        created: when the store made it, in seconds since the epoch; None before that.
        started: when it was first started; None if it never was.
        ended: when it last ended; None while it has not, and again once it is resumed.
    """

    _hash: str | None = None
    revision: int = 0
    name: str | None = None
    description: str | None = None
    tags: dict[str, Any] = dataclasses.field(default_factory=dict)
    version: str | None = None
    group_id: str | None = None
    project_id: str | None = None
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    chronos: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    status: Status | CustomStatus | None = Status.CreatedGroup
    errors: list[str] = dataclasses.field(default_factory=list)
    id: bytes | None = dataclasses.field(default=None, repr=False, kw_only=True)
    media: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict, kw_only=True)
    created: float | None = dataclasses.field(default=None, kw_only=True)
    started: float | None = dataclasses.field(default=None, kw_only=True)
    ended: float | None = dataclasses.field(default=None, kw_only=True)

    @property
    def uid(self) -> str:
        """``{hash}_{revision}``; setting it sets both.

        Raises:
            UsageError: a text of another form is set.
        """
        return f"{self.hash}_{self.revision}"

    @uid.setter
    def uid(self, uid: str) -> None:
        hash, _, revision = uid.rpartition("_")
        if not hash or not revision.isdecimal():
            raise UsageError(f"{uid!r:.80} is not the uid of a trial: give HASH_REVISION")
        self._hash, self.revision = hash, int(revision)

    @property
    def hash(self) -> str:
        """The hash, computed when first read and fixed from then on."""
        if self._hash is None:
            self._hash = self.compute_hash()
        return self._hash

    @hash.setter
    def hash(self, hash: str) -> None:
        self._hash = hash

    def compute_hash(self) -> str:
        """SHA-256 of name, version and parameters, as 64 hexadecimal digits.

        The order of dict keys does not count; ``1``, ``1.0``, ``True`` and ``'1'`` do differ.

        Raises:
            BadValue: the parameters are nested deeper than a store accepts.
        """
        return _digest(self.name, self.version, self.parameters)

    def __hash__(self) -> int:
        # Without the revision: a store may change it while the trial is already in a set.
        return hash(self.hash)


# The canonical form: each value is a tag, the length of its body and the body, so that no two
# different values have the same bytes.  It must never change: it names the trials of every store.


def _digest(*parts: Any) -> str:
    return hashlib.sha256(_canonical(parts, 0)).hexdigest()


def _canonical(value: Any, depth: int) -> bytes:
    if depth > 2 * MAX_DEPTH:
        raise BadValue(f"parameters are nested deeper than {MAX_DEPTH}: flatten them, or look for a cycle")
    encode = _ENCODERS.get(type(value))
    if encode is not None:
        return encode(value, depth)
    convert = converter_of(value)
    return _canonical(_stable_text(value) if convert is None else convert(value), depth + 1)


def _frame(tag: bytes, body: bytes) -> bytes:
    return b"%b%d:%b" % (tag, len(body), body)


def _sequence(value: Any, depth: int) -> bytes:
    return _frame(b"l", b"".join(_canonical(item, depth + 1) for item in value))


def _mapping(value: dict[Any, Any], depth: int) -> bytes:
    pairs = [_canonical(key, depth + 1) + _canonical(item, depth + 1) for key, item in value.items()]
    return _frame(b"d", b"".join(sorted(pairs)))


def _stable_text(value: Any) -> str:
    """Text of an object of unknown type that stays the same from one process to the next."""
    if hasattr(value, "__qualname__"):
        return f"{getattr(value, '__module__', '')}.{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))


_ENCODERS: Final[dict[type, Callable[[Any, int], bytes]]] = {
    NoneType: lambda value, depth: _frame(b"n", b""),
    bool: lambda value, depth: _frame(b"b", b"1" if value else b"0"),
    int: lambda value, depth: _frame(b"i", b"%x" % value),
    float: lambda value, depth: _frame(b"f", repr(value).encode()),
    str: lambda value, depth: _frame(b"s", value.encode(errors="surrogatepass")),
    bytes: lambda value, depth: _frame(b"y", value),
    list: _sequence,
    tuple: _sequence,
    dict: _mapping,
}
