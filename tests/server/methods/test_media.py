"""Media of a trial: documents in series, and the blobs that they refer to."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import pytest

from engine_calls import Caller
from track_protocol.errors import BadArguments, BadValue, ItemNotFound
from track_protocol.wire.batch import CallOp
from track_protocol.wire.columns import column_from_wire, unpack
from track_server.engine.engine import Engine
from track_server.storage.ephemeral import EphemeralStore

CONTENT = b"the bytes of a picture"
BLOB = {"digest": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)}
IMAGE = {"width": 2, "height": 1, "channels": 3, "format": "png", **BLOB}
HISTOGRAM = {
    "edges": [0.0, 0.5, 1.0],
    "counts": [1, 2],
    "n": 6,
    "nan": 1,
    "posinf": 1,
    "neginf": 1,
    "min": 0.0,
    "max": 1.0,
}


@pytest.fixture
def ann() -> Iterator[Caller]:
    engine = Engine(EphemeralStore())
    yield Caller(engine)
    engine.close()


def put() -> CallOp:
    return CallOp(0, "put_blob", {**BLOB, "offset": 0, "data": CONTENT})


def media(trial: bytes | str, kind: str, value: Any, step: Any = 1, name: str = "sample") -> CallOp:
    arguments = {"trial": trial, "kind": kind, "name": name, "step": step, "time": 7.0, "value": value}
    return CallOp(0, "log_trial_media", arguments)


def read(caller: Caller, trial: bytes, kind: str, name: str = "sample") -> tuple[list[Any], ...]:
    page = caller.read("fetch_metrics", trial=trial, kind=kind, name=name)
    count = len(page["times"][1]) // 8
    return tuple(list(unpack(column_from_wire(page[each], count))) for each in ("steps", "times", "values"))


def test_media_whose_step_no_reader_can_use_as_a_key_are_rejected(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    for step in ({"a": 1}, b"x"):
        (rejection,) = ann.log(media(id, "text", {"text": "x"}, step)).rejected
        assert rejection.code == BadValue.code
    ann.log(media(id, "text", {"text": "x"}, [1, [2]]))
    assert read(ann, id, "text")[0] == [(1, (2,))]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("histogram", HISTOGRAM),
        ("histogram", {**HISTOGRAM, "edges": [], "counts": [], "n": 3, "min": None, "max": None}),
        ("image", IMAGE),
        ("text", {"text": "ünï"}),
        ("text", BLOB),
        ("graph", BLOB),
        ("file", {"name": "model.pt", **BLOB}),
    ],
)
def test_media_read_back_as_they_were_logged(ann: Caller, kind: str, value: dict[str, Any]) -> None:
    trial = ann.new_trial()
    ann.log(put())
    assert ann.log(media(trial["id"], kind, value)).rejected == []
    assert ann.log(media(trial["uid"], kind, value, step=None)).rejected == []
    assert read(ann, trial["id"], kind) == ([1, None], [7.0, 7.0], [value, value])


def test_media_whose_blob_is_not_here_are_refused_and_nothing_else_is(ann: Caller) -> None:
    trial = ann.new_trial()["id"]
    (rejection,) = ann.log(media(trial, "image", IMAGE)).rejected
    assert (rejection.code, BLOB["digest"] in rejection.message) == (ItemNotFound.code, True)
    assert ann.log(put()).rejected == []
    assert ann.log(media(trial, "image", IMAGE, step=2)).rejected == []
    assert read(ann, trial, "image")[0] == [2]


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("image", {**IMAGE, "size": 5}, BadValue.code),
        ("image", {**IMAGE, "width": 0}, BadValue.code),
        ("image", {**IMAGE, "channels": True}, BadValue.code),
        ("image", {**IMAGE, "channels": 2}, BadValue.code),
        ("image", {**IMAGE, "format": "svg"}, BadValue.code),
        ("image", {**IMAGE, "more": 1}, BadValue.code),
        ("image", {**IMAGE, "digest": "../../etc/passwd"}, BadValue.code),
        ("file", {"name": "", **BLOB}, BadValue.code),
        ("file", BLOB, BadValue.code),
        ("text", {"text": 5}, BadValue.code),
        ("text", {}, BadValue.code),
        ("histogram", {**HISTOGRAM, "counts": [1]}, BadValue.code),
        ("histogram", {**HISTOGRAM, "counts": [1, -2]}, BadValue.code),
        ("histogram", {**HISTOGRAM, "n": 5}, BadValue.code),
        ("histogram", {**HISTOGRAM, "edges": [1.0, 0.5, 0.0]}, BadValue.code),
        ("histogram", {**HISTOGRAM, "edges": [0.0, math.nan, 1.0]}, BadValue.code),
        ("histogram", {**HISTOGRAM, "min": math.inf}, BadValue.code),
        ("histogram", [1, 2], BadArguments.code),
        ("metric", {"text": "x"}, BadArguments.code),
        ("superseded", {"text": "x"}, BadArguments.code),
        (["image"], {"text": "x"}, BadArguments.code),
    ],
)
def test_what_is_no_document_of_its_kind_is_refused(ann: Caller, kind: Any, value: Any, code: str) -> None:
    trial = ann.new_trial()["id"]
    ann.log(put())
    (rejection,) = ann.log(media(trial, kind, value)).rejected
    assert rejection.code == code
    with ann.engine.store.snapshot() as view:
        document = view.trial(trial)
    assert document is not None
    assert document["media"] == {}


def test_media_of_a_trial_that_is_not_there_are_refused(ann: Caller) -> None:
    for trial in (b"?" * 16, "nobody_0"):
        (rejection,) = ann.log(media(trial, "text", {"text": "x"})).rejected
        assert rejection.code == ItemNotFound.code


def test_a_blob_is_used_by_the_trial_whose_media_refer_to_it(ann: Caller) -> None:
    trial = ann.new_trial()["id"]
    ann.log(put())
    with ann.engine.store.snapshot() as view:
        assert view.unused_blobs(1e12, 10) == [BLOB["digest"]]
    ann.log(media(trial, "graph", BLOB))
    with ann.engine.store.snapshot() as view:
        assert view.unused_blobs(1e12, 10) == []


def test_media_have_names_with_labels_and_summaries_by_kind(ann: Caller) -> None:
    trial = ann.new_trial()["id"]
    for step in (3, 5):
        ann.log(media(trial, "text", {"text": "x"}, step, 'out{phase="train"}'))
    with ann.engine.store.snapshot() as view:
        document = view.trial(trial)
    assert document is not None
    known = {"count": 2, "first_step": 3, "last_step": 5, "last_time": 7.0}
    assert document["media"] == {"text": {'out{phase="train"}': known}}
    assert document["metrics"] == {}
