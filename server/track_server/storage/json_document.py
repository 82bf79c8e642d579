"""The readable JSON document of a store: everything it holds, for people and for reading it back.

::

    {
      "format": "track",            always
      "version": 1,                 of this layout
      "generation": "5d41…",        which history it belongs to
      "transaction": 812,           the last transaction it includes
      "projects": [{"uid": …, "name": …, "groups": [uids], "trials": [uids]}],
      "groups": [{"uid": …, "name": …, "project_id": …, "trials": [uids]}],
      "trials": [{"id": hex, "uid": …, …, "metrics": {"loss": {"aggregator": …, "steps": [0, 1],
                  "times": [seconds since the epoch], "values": [0.5, 0.25]}}, "chronos": {…}}],
      "sessions": [{"sid": hex, "user": …, "epoch": 1, "last_seq": 97,
                  "last_reply": null, "partial": 0, "ended": null}],
      "rejected": [{"session": hex, "user": …, "runs": [[5, 7]], "method": "points", "trial": hex, …}],
      "leases": [{"trial": hex, "sid": hex, "rank": null, "superseded": false}],
      "blobs": [{"digest": hex, "size": bytes, "time": …, "content": base64}],
      "checksum": "0c1d2e3f"        CRC-32 of all that is in front of it, from the first byte on
    }

A trial that was rewound also has ``superseded``: series by name, as in ``metrics``; one with media has
``media``: such series by name, by kind.

``steps`` is null when no point of the series has a step.  What JSON has no form for is written as
`track_server.storage.exactjson` says.  The checksum distinguishes a document as it was written from an
edited one.
"""

from __future__ import annotations

import json
import math
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import apsw

from track_protocol.errors import BadValue, StoreCorrupt, StoreError, StoreTooNew
from track_protocol.model.aggregators import aggregator_from_spec
from track_protocol.model.documents import check_document
from track_protocol.model.media import blob_of
from track_protocol.model.rejected import Rejected, rejected_from_document, rejected_to_document
from track_protocol.model.seriesname import check_series_name
from track_protocol.wire.batch import CHRONO, METRIC, SUPERSEDED
from track_protocol.wire.columns import Column, pack, unpack
from track_server.storage.contract import Blob, Document, Lease, Points, SessionState
from track_server.storage.exactjson import dumps, loads
from track_server.storage.unit_of_work import UnitOfWork

__all__ = [
    "VERSION",
    "DocumentHeader",
    "WholeView",
    "document_lines",
    "is_as_written",
    "load_document",
    "parse_document",
]

VERSION: Final = 1
"""Of the document that this software writes and reads."""

_FORMAT: Final = "track"
_INDENT: Final = "  "
_REMEDY: Final = "correct it, restore a backup, or rename it to start a new store"
_CHECKSUM: Final = f'{_INDENT}"checksum": "'
_END: Final = '"\n}\n'
_BEHIND: Final = len(_CHECKSUM) + 8 + len(_END)
"""Bytes of a document behind what its checksum is of."""

_DO_NOT_FIT: Final = (
    *(LookupError, TypeError, ValueError, AttributeError, ArithmeticError),
    *(apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError),
)
"""What comes of a value that is of another type than the document has in its place."""

_FIELDS: Final = (("metrics", METRIC), ("chronos", CHRONO))


@dataclass(frozen=True, slots=True)
class DocumentHeader:
    """What a document says of itself.

    Attributes:
        generation: which history it belongs to.
        transaction: number of the last transaction it includes.
    """

    generation: str
    transaction: int = 0


class WholeView(Protocol):
    """What the document needs from a store: everything, a little at a time, in order of insertion."""

    def every_project(self) -> Iterator[Document]:
        """All projects."""

    def every_group(self) -> Iterator[Document]:
        """All groups."""

    def every_trial(self) -> Iterator[Document]:
        """All trials, with their summaries of series."""

    def superseded(self, trial: bytes) -> dict[str, Document]:
        """Summaries of a trial's superseded series, by name."""

    def every_session(self) -> Iterator[SessionState]:
        """All sessions."""

    def every_rejected(self) -> Iterator[Rejected]:
        """All records that were rejected."""

    def every_lease(self) -> Iterator[Lease]:
        """All leases."""

    def every_blob(self) -> Iterator[Blob]:
        """All blobs."""

    def points(self, trial: bytes, kind: str, name: str, start: int, limit: int) -> Points | None:
        """See `track_server.storage.contract.View.points`."""

    def blob_data(self, digest: str, offset: int, limit: int) -> bytes:
        """See `track_server.storage.contract.View.blob_data`."""


class _Text(str):
    """JSON that is ready."""

    __slots__ = ()


# -- writing -------------------------------------------------------------------------------------


def document_lines(view: WholeView, header: DocumentHeader) -> Iterator[str]:
    """The text of the document, piece by piece; never more than one series is in memory.

    Args:
        view: what to write down.
        header: generation and transaction of that view.
    """
    crc = 0
    for piece in _lines(view, header):
        crc = zlib.crc32(piece.encode(), crc)
        yield piece
    yield f"{_CHECKSUM}{crc:08x}{_END}"


def _lines(view: WholeView, header: DocumentHeader) -> Iterator[str]:
    """What the checksum is of."""
    yield "{\n"
    for name, value in (
        ("format", _FORMAT),
        ("version", VERSION),
        ("generation", header.generation),
        ("transaction", header.transaction),
    ):
        yield f"{_INDENT}{dumps(name)}: {dumps(value)},\n"
    yield from _member("projects", view.every_project())
    yield from _member("groups", view.every_group())
    yield from _member("trials", (_trial(view, document) for document in view.every_trial()))
    yield from _member("sessions", map(_session, view.every_session()))
    yield from _member("rejected", map(_rejected, view.every_rejected()))
    yield from _member("leases", map(_lease, view.every_lease()))
    yield from _member("blobs", (_blob(view, known) for known in view.every_blob()))


def _member(name: str, items: Iterable[Document]) -> Iterator[str]:
    yield f"{_INDENT}{dumps(name)}: ["
    separator = "\n"
    for item in items:
        yield separator + 2 * _INDENT
        yield from _laid_out(item, 3)
        separator = ",\n"
    yield "],\n" if separator == "\n" else f"\n{_INDENT}],\n"


def _laid_out(value: Any, depth: int) -> Iterator[str]:
    """JSON with a line for each key and each item that is a dict itself; other lists in one line.

    A function in the place of a value is called when its value is due.
    """
    if callable(value):
        value = value()
    if isinstance(value, _Text):
        yield value
    elif type(value) is dict and value:
        plain = all(type(key) is str and key[:1] != "$" for key in value)
        colon, opening, closing = (": ", "{", "}") if plain else (", ", '{"$dict": [', "]}")
        before, behind = ("", "") if plain else ("[", "]")
        items = (
            _chained(f"{before}{dumps(key)}{colon}", _laid_out(item, depth + 1), behind)
            for key, item in value.items()
        )
        yield from _enclosed(opening, items, closing, depth)
    elif type(value) is list and any(type(item) is dict for item in value):
        yield from _enclosed("[", (_laid_out(item, depth + 1) for item in value), "]", depth)
    else:
        yield dumps(value)


def _chained(before: str, pieces: Iterator[str], behind: str) -> Iterator[str]:
    yield before
    yield from pieces
    yield behind


def _enclosed(opening: str, items: Iterable[Iterator[str]], closing: str, depth: int) -> Iterator[str]:
    line = "\n" + depth * _INDENT
    separator = opening + line
    for pieces in items:
        yield separator
        yield from pieces
        separator = "," + line
    yield line[: -len(_INDENT)] + closing


def _trial(view: WholeView, document: Document) -> Document:
    id = document["id"]
    shown = {**document, "id": id.hex()}
    media = shown.pop("media")
    for field, kind in _FIELDS:
        shown[field] = _every_series(view, id, kind, document[field])
    more = {
        SUPERSEDED: _every_series(view, id, SUPERSEDED, view.superseded(id)),
        "media": {kind: _every_series(view, id, kind, names) for kind, names in media.items()},
    }
    return {**shown, **{field: series for field, series in more.items() if series}}


def _every_series(
    view: WholeView, trial: bytes, kind: str, summaries: Document
) -> dict[str, Callable[[], Document]]:
    def later(name: str, summary: Document) -> Callable[[], Document]:
        return lambda: _series(view, trial, kind, name, summary)

    return {name: later(name, summary) for name, summary in summaries.items()}


def _series(view: WholeView, trial: bytes, kind: str, name: str, summary: Document) -> Document:
    points = view.points(trial, kind, name, 0, summary["count"])
    assert points is not None
    return {
        "aggregator": summary.get("aggregator"),
        "steps": _column(points.steps) if any(step is not None for step in unpack(points.steps)) else None,
        "times": _column(points.times),
        "values": _column(points.values),
    }


def _column(column: Column) -> _Text:
    values = unpack(column)
    # The standard encoder writes plain numbers many times faster, but has no JSON for the others.
    if column.code == "q" or (column.code == "d" and math.isfinite(sum(values))):
        return _Text(json.dumps(list(values), separators=(",", ":")))
    return _Text(dumps(list(values)))


def _session(state: SessionState) -> Document:
    reply = None if state.last_reply is None else list(state.last_reply)
    return {
        "sid": state.sid.hex(),
        "user": state.user,
        "epoch": state.epoch,
        "last_seq": state.last_seq,
        "last_reply": reply,
        "partial": state.partial,
        "ended": state.ended,
    }


def _rejected(record: Rejected) -> Document:
    trial = None if record.trial is None else record.trial.hex()
    return {**rejected_to_document(record), "session": record.session.hex(), "trial": trial}


def _blob(view: WholeView, known: Blob) -> Document:
    content = b64encode(view.blob_data(known.digest, 0, known.stored)).decode("ascii")
    return {"digest": known.digest, "size": known.size, "time": known.time, "content": content}


def _lease(lease: Lease) -> Document:
    return {
        "trial": lease.trial.hex(),
        "sid": lease.sid.hex(),
        "rank": lease.rank,
        "superseded": lease.superseded,
    }


# -- reading -------------------------------------------------------------------------------------


def is_as_written(data: bytes) -> bool:
    """Whether a document is unedited since it was written: its checksum is that of its content."""
    content, end = data[:-_BEHIND], data[-_BEHIND:]
    return end == f"{_CHECKSUM}{zlib.crc32(content):08x}{_END}".encode()


def parse_document(data: bytes, path: str) -> tuple[DocumentHeader, Document]:
    """Check that some bytes are a document of ours.

    Args:
        data: the entire file.
        path: where it is, for messages.

    Returns:
        its header, and the rest for `load_document`.

    Raises:
        StoreCorrupt: it is no JSON, or lacks what a document has.
        StoreError: it is JSON of something else.
        StoreTooNew: it was written by a newer version of this software.
    """
    raw = _parsed(data, path)
    if not isinstance(raw, dict) or raw.get("format") != _FORMAT:
        raise StoreError(f"{path} is JSON, but not a Track store: choose another file name for the store")
    version, generation, transaction = map(raw.get, ("version", "generation", "transaction"))
    if type(version) is int and version > VERSION:
        raise StoreTooNew(
            f"{path} has version {version} of the document, this software knows up to {VERSION}: "
            "update the software"
        )
    if type(version) is not int or version < 1 or type(generation) is not str or type(transaction) is not int:
        raise StoreCorrupt(f"{path} lacks its version, generation or transaction: {_REMEDY}")
    return DocumentHeader(generation, transaction), raw


def _parsed(data: bytes, path: str) -> Any:
    try:
        return loads(data.decode())
    except UnicodeDecodeError as error:
        raise StoreCorrupt(f"{path} is not text at offset {error.start}: {_REMEDY}") from error
    except BadValue as error:
        cause = error.__cause__
        why = str(cause)
        if isinstance(cause, json.JSONDecodeError):
            why = f"{cause.msg} at line {cause.lineno}, column {cause.colno}"
        raise StoreCorrupt(f"{path} is not valid JSON ({why}): {_REMEDY}") from error


def load_document(document: Document, tx: UnitOfWork, path: str) -> None:
    """Put all that a document holds into a store without projects, groups, trials and blobs.

    Sessions that the store knows stay as they are.

    Args:
        document: from `parse_document`.
        tx: a transaction of that store; the caller commits it, or rolls it back after an error.
        path: where it came from, for messages.

    Raises:
        StoreCorrupt: something in it is missing, of another type, or does not fit the rest.
    """
    try:
        _load_structure(document, tx)
        _load_state(document, tx)
        _load_blobs(document, tx)
        tx.flush()
    except _DO_NOT_FIT as error:
        raise StoreCorrupt(
            f"{path} is JSON, but its parts are inconsistent ({error!r}): {_REMEDY}"
        ) from error


def _load_structure(document: Document, tx: UnitOfWork) -> None:
    """Projects, groups and trials with their points."""
    for project in document["projects"]:
        tx.put_project(check_document("project", project))
    for group in document["groups"]:
        tx.put_group(check_document("group", group))
    for trial in document["trials"]:
        _load_trial(trial, tx)
    for group in document["groups"]:
        for uid in group["trials"]:
            _load_link(group["uid"], uid, tx)


def _load_state(document: Document, tx: UnitOfWork) -> None:
    """The state of sessions."""
    for state in map(_loaded_session, document["sessions"]):
        if tx.session(state.sid) is None:
            tx.put_session(state)
    for record in document["rejected"]:
        tx.put_rejected(_loaded_rejected(record))
    for lease in document["leases"]:
        trial, sid = bytes.fromhex(lease["trial"]), bytes.fromhex(lease["sid"])
        tx.put_lease(Lease(trial, sid, lease["rank"], lease["superseded"]))


def _load_blobs(document: Document, tx: UnitOfWork) -> None:
    for blob in document["blobs"]:
        content = b64decode(blob["content"], validate=True)
        tx.add_blob_data(blob["digest"], blob["size"], content, float(blob["time"]))
    for trial in document["trials"]:
        _load_uses(trial, tx)


def _load_trial(trial: Document, tx: UnitOfWork) -> None:
    id = bytes.fromhex(trial["id"])
    if tx.has_trial(id):
        raise ValueError(f"the trial {trial['id']} occurs twice")
    own = {field: value for field, value in trial.items() if field != SUPERSEDED}
    times = {field: _loaded_time(trial[field]) for field in ("created", "started", "ended")}
    tx.add_trial({**check_document("trial", {**own, "id": id}), "uid": trial["uid"], **times})
    every = [(kind, trial[field]) for field, kind in _FIELDS]
    for kind, found in (*every, (SUPERSEDED, trial.get(SUPERSEDED, {})), *trial.get("media", {}).items()):
        for name, series in found.items():
            check_series_name(name)
            if series["aggregator"] is not None:
                aggregator_from_spec(series["aggregator"])
            tx.append_points(id, kind, name, series["aggregator"], _loaded_points(series))


def _load_uses(trial: Document, tx: UnitOfWork) -> None:
    """A document does not say which blobs a trial uses: its media do."""
    found = [
        blob_of(value)
        for names in trial.get("media", {}).values()
        for series in names.values()
        for value in series["values"]
    ]
    for digest in dict.fromkeys(found):
        if digest is not None:
            tx.use_blob(digest, bytes.fromhex(trial["id"]))


def _loaded_time(time: Any) -> float | None:
    return None if time is None else float(time)


def _loaded_points(series: Document) -> Points:
    values, times = pack(series["values"]), pack(list(map(float, series["times"])))
    steps = Column("n", len(values)) if series["steps"] is None else pack(series["steps"])
    if not len(values) or not len(values) == len(times) == len(steps):
        raise ValueError("steps, times and values of a series differ in length")
    return Points(steps, times, values)


def _load_link(group: str, trial: str, tx: UnitOfWork) -> None:
    id = tx.trial_id(trial)
    if id is None:
        raise ValueError(f"group {group} lists the trial {trial}, which does not exist")
    tx.link(group, id)


def _loaded_session(session: Document) -> SessionState:
    reply = session["last_reply"]
    last_reply = None if reply is None else (int(reply[0]), bytes(reply[1]))
    return SessionState(
        bytes.fromhex(session["sid"]),
        session["user"],
        session["epoch"],
        session["last_seq"],
        last_reply,
        session["partial"],
        session["ended"],
    )


def _loaded_rejected(record: Document) -> Rejected:
    trial = None if record["trial"] is None else bytes.fromhex(record["trial"])
    return rejected_from_document({**record, "session": bytes.fromhex(record["session"]), "trial": trial})
