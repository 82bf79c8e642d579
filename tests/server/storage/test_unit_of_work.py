"""A unit of work is the tables as plain values, whatever is cached, flushed, undone or committed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from track_protocol.query.parse import parse_query
from track_protocol.wire.batch import METRIC, SUPERSEDED
from track_protocol.wire.columns import pack, unpack
from track_server.storage.contract import Lease, Points, SessionState
from track_server.storage.ephemeral import EphemeralStore
from track_server.storage.transaction_state import Memory
from track_server.storage.unit_of_work import UnitOfWork, begin
from track_server.testing.store_support import group, id_of, project, trial

SID = b"s" * 16


@pytest.fixture
def store() -> Iterator[EphemeralStore]:
    store = EphemeralStore()
    yield store
    store.close()


# -- what is read behind a flush of a record that is undone --------------------------------------------


@pytest.mark.parametrize(
    ("change", "read"),
    [
        (lambda tx: tx.delete_trial(id_of(0)), lambda tx: tx.leases(id_of(0))),
        (lambda tx: tx.delete_trial(id_of(0)), lambda tx: tx.newest_revision("hash0")),
        (
            lambda tx: tx.add_trial(trial(1, hash="hash0", revision=7)),
            lambda tx: tx.newest_revision("hash0"),
        ),
    ],
)
def test_what_a_record_flushed_and_read_again_is_forgotten_with_it(
    store: EphemeralStore, change: Callable[[UnitOfWork], None], read: Callable[[UnitOfWork], Any]
) -> None:
    memory = Memory()
    tx = begin(store, memory)
    tx.add_trial(trial())
    tx.put_lease(Lease(id_of(0), SID))
    tx.commit()
    tx = begin(store)
    before = read(tx)
    tx.rollback()
    tx = begin(store, memory)
    tx.start_record()
    change(tx)
    tx.flush()
    read(tx)
    tx.undo_record()
    assert read(tx) == before
    tx.rollback()


# -- any operations in any order ----------------------------------------------------------------------


@dataclass
class Model:
    """The tables as plain values."""

    projects: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    links: dict[str, set[bytes]] = field(default_factory=dict)
    trials: dict[bytes, tuple[str, str, int]] = field(default_factory=dict)
    """Name, hash and revision by id."""
    points: dict[tuple[bytes, str, str], list[tuple[int, float]]] = field(default_factory=dict)
    sessions: dict[bytes, int] = field(default_factory=dict)
    leases: dict[tuple[bytes, bytes], int | None] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)


def _put_project(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    tx.put_project(project(f"p{number}", name=f"name {value}"))
    model.projects[f"p{number}"] = f"name {value}"


def _put_group(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    tx.put_group(group(f"g{number}", name=f"name {value}"))
    model.groups[f"g{number}"] = f"name {value}"


def _link(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    if f"g{value}" in model.groups and id_of(number) in model.trials:
        tx.link(f"g{value}", id_of(number))
        model.links.setdefault(f"g{value}", set()).add(id_of(number))


def _add_trial(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    if id_of(number) not in model.trials:
        hash, revision = f"hash{number % 2}", 10 * value + number
        document = trial(number, hash=hash, uid=f"{hash}_{revision}", revision=revision, name="new")
        tx.add_trial(document)
        model.trials[id_of(number)] = ("new", hash, revision)


def _update_trial(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    if (known := model.trials.get(id_of(number))) is not None:
        tx.update_trial(id_of(number), {"name": f"name {value}"})
        model.trials[id_of(number)] = (f"name {value}", *known[1:])


def _delete_trial(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    id = id_of(number)
    if id in model.trials:
        tx.delete_trial(id)
        del model.trials[id]
        model.points = {key: rows for key, rows in model.points.items() if key[0] != id}
        model.leases = {key: rank for key, rank in model.leases.items() if key[0] != id}
        for linked in model.links.values():
            linked.discard(id)


def _append_points(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    id, name = id_of(number), f"m{value % 2}"
    if id in model.trials:
        rows = [(step, value + step / 8) for step in range(value, value + 3)]
        columns = [pack(list(column)) for column in zip(*rows, strict=True)]
        tx.append_points(id, METRIC, name, None, Points(columns[0], pack([1.0] * 3), columns[1]))
        model.points.setdefault((id, METRIC, name), []).extend(rows)


def _rewind(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    id = id_of(number)
    if id in model.trials:
        taken = 0
        for key in [key for key in model.points if key[:2] == (id, METRIC)]:
            later = [row for row in model.points[key] if row[0] > value]
            taken += len(later)
            if later:
                model.points.setdefault((id, SUPERSEDED, key[2]), []).extend(later)
            model.points[key] = [row for row in model.points[key] if row[0] <= value]
            if not model.points[key]:
                del model.points[key]
        assert tx.rewind(id, value) == taken


def _put_session(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    tx.put_session(SessionState(id_of(number), "ann", last_seq=value))
    model.sessions[id_of(number)] = value


def _put_lease(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    if id_of(number) in model.trials:
        tx.put_lease(Lease(id_of(number), id_of(value % 2), value))
        model.leases[id_of(number), id_of(value % 2)] = value


def _drop_lease(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    if id_of(number) in model.trials:
        tx.drop_lease(id_of(number), id_of(value % 2))
        model.leases.pop((id_of(number), id_of(value % 2)), None)


def _add_blob_data(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    data = bytes([value]) * 3
    tx.add_blob_data(f"{number:064}", 10**6, data, 1.0)
    model.blobs[f"{number:064}"] = model.blobs.get(f"{number:064}", b"") + data


def _cut_blob(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    digest = f"{number:064}"
    if len(model.blobs.get(digest, b"")) > value:
        tx.cut_blob(digest, value)
        model.blobs[digest] = model.blobs[digest][:value]


def _drop_blob(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    tx.drop_blob(f"{number:064}")
    model.blobs.pop(f"{number:064}", None)


def _flush(tx: UnitOfWork, model: Model, number: int, value: int) -> None:
    tx.flush()


CHANGES = [
    _put_project,
    _put_group,
    _link,
    _add_trial,
    _update_trial,
    _delete_trial,
    _append_points,
    _rewind,
    _put_session,
    _put_lease,
    _drop_lease,
    _add_blob_data,
    _cut_blob,
    _drop_blob,
    _flush,
]


def _name(document: dict[str, Any] | None) -> str | None:
    return None if document is None else document["name"]


def _rows(tx: Any, key: tuple[bytes, str, str]) -> list[tuple[int, float]] | None:
    found = tx.points(*key, 0, 100)
    return None if found is None else list(zip(unpack(found.steps), unpack(found.values), strict=True))


def _revision_of(model: Model, hash: str) -> int | None:
    return max((revision for _, known, revision in model.trials.values() if known == hash), default=None)


def _uid(known: tuple[str, str, int]) -> str:
    return f"{known[1]}_{known[2]}"


Read = Callable[[Any, Model, int, int], tuple[Any, Any]]
"""What a unit of work or a view answers, and what the model does."""

READS: list[Read] = [
    lambda tx, model, n, _: (_name(tx.project_fields(f"p{n}")), model.projects.get(f"p{n}")),
    lambda tx, model, n, _: (_name(tx.group_fields(f"g{n}")), model.groups.get(f"g{n}")),
    lambda tx, model, n, _: (
        set((tx.group(f"g{n}") or {"trials": ()})["trials"]),
        {_uid(model.trials[id]) for id in model.links.get(f"g{n}", ())},
    ),
    lambda tx, model, n, _: (_name(tx.trial_fields(id_of(n))), model.trials.get(id_of(n), [None])[0]),
    lambda tx, model, n, _: (_name(tx.trial(id_of(n))), model.trials.get(id_of(n), [None])[0]),
    lambda tx, model, n, v: (
        tx.trial_id(f"hash{n % 2}_{10 * v + n}"),
        next((id for id, known in model.trials.items() if _uid(known) == f"hash{n % 2}_{10 * v + n}"), None),
    ),
    lambda tx, model, n, _: (tx.newest_revision(f"hash{n % 2}"), _revision_of(model, f"hash{n % 2}")),
    lambda tx, model, _n, v: (
        {each["id"] for each in tx.trials(parse_query({"name": f"name {v}"}))},
        {id for id, known in model.trials.items() if known[0] == f"name {v}"},
    ),
    *[
        lambda tx, model, n, v, kind=kind: (
            _rows(tx, (id_of(n), kind, f"m{v % 2}")),
            model.points.get((id_of(n), kind, f"m{v % 2}")),
        )
        for kind in (METRIC, SUPERSEDED)
    ],
    lambda tx, model, n, _: (
        getattr(tx.session(id_of(n)), "last_seq", None),
        model.sessions.get(id_of(n)),
    ),
    lambda tx, model, n, _: (
        {each.sid: each.rank for each in tx.leases(id_of(n))},
        {sid: rank for (id, sid), rank in model.leases.items() if id == id_of(n)},
    ),
    lambda tx, model, _n, v: (
        {each.trial: each.rank for each in tx.leases_of(id_of(v % 2))},
        {id: rank for (id, sid), rank in model.leases.items() if sid == id_of(v % 2)},
    ),
    lambda tx, model, n, _: (
        getattr(tx.blob(f"{n:064}"), "stored", None),
        len(model.blobs[f"{n:064}"]) if f"{n:064}" in model.blobs else None,
    ),
    lambda tx, model, n, _: (tx.blob_data(f"{n:064}", 0, 1_000), model.blobs.get(f"{n:064}", b"")),
]

NUMBERS, VALUES = 3, 4

Step = tuple[int, int, int]
"""Which of the changes or, behind them, of the reads, and its arguments."""

STEPS = st.tuples(
    st.integers(0, len(CHANGES) + len(READS) - 1), st.integers(0, NUMBERS - 1), st.integers(0, VALUES - 1)
)
RECORDS = st.lists(st.tuples(st.lists(STEPS, max_size=8), st.booleans()), max_size=6)
"""The steps of each record, and whether it fails behind them."""

TRANSACTIONS = st.lists(st.tuples(RECORDS, st.sampled_from(["commit", "commit", "rollback"])), max_size=4)


def _run(tx: UnitOfWork, model: Model, step: Step) -> None:
    which, number, value = step
    if which < len(CHANGES):
        CHANGES[which](tx, model, number, value)
    else:
        found, expected = READS[which - len(CHANGES)](tx, model, number, value)
        assert found == expected


@settings(max_examples=100, deadline=None)
@given(TRANSACTIONS)
def test_every_read_is_that_of_plain_values(transactions: list[tuple[list[Any], str]]) -> None:
    store, memory, committed = EphemeralStore(), Memory(), Model()
    try:
        for records, end in transactions:
            tx, model = begin(store, memory), copy.deepcopy(committed)
            for steps, fails in records:
                before = copy.deepcopy(model)
                tx.start_record()
                for step in steps:
                    _run(tx, model, step)
                if fails:
                    tx.undo_record()
                    model = before
                else:
                    tx.keep_record()
            getattr(tx, end)()
            committed = model if end == "commit" else committed
        with store.snapshot() as view:
            for read in READS:
                for number in range(NUMBERS):
                    for value in range(VALUES):
                        found, expected = read(view, committed, number, value)
                        assert found == expected
    finally:
        store.close()
