"""Large answers are refused, and what was summarised before is not parsed again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stored_trials import trial_document, trial_id
from track_protocol.errors import BadArguments
from track_protocol.query.columns import parse_columns
from track_protocol.query.parse import parse_query
from track_protocol.query.tables import FieldSummaries
from track_server.storage import exactjson
from track_server.storage.contract import Store
from track_server.storage.sql import tables
from track_server.storage.sql.tables import KnownSummaries
from track_server.storage.sqlite.store import open_store
from track_server.storage.unit_of_work import begin


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "runs.db", exclusive=True)
    yield store
    store.close()


def add(store: Store, *numbers: int, text: str = "x") -> None:
    tx = begin(store)
    for number in numbers:
        tx.add_trial(trial_document(number, created=1.0, parameters={"text": text, "n": number}))
    tx.commit()


def test_values_that_are_very_large_together_are_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_MAX_CHARS", 100_000)
    add(store, *range(12), text="x" * 10_000)
    columns = parse_columns(["parameters.text"])
    with store.snapshot() as view:
        assert len(view.table(parse_query({}), columns, limit=9).ids) == 9
        for read in (
            lambda: view.table(parse_query({}), columns),
            lambda: view.table_rows([trial_id(number) for number in range(12)], columns),
            lambda: view.trial_groups(parse_query({}), columns, (), 1),
        ):
            with pytest.raises(BadArguments, match="more than 100,000 letters: ask for fewer rows"):
                read()


def test_large_documents_are_summarised_few_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_CHUNK_CHARS", 10_000)
    monkeypatch.setattr(tables, "_ROWS", 2)
    sizes: list[int] = []
    summaries = KnownSummaries.summaries

    def noted(known: KnownSummaries, root: str, text: str) -> FieldSummaries:
        sizes.append(len(text))
        return summaries(known, root, text)

    monkeypatch.setattr(KnownSummaries, "summaries", noted)
    add(store, *range(12), text="x" * 10_000)
    with store.snapshot() as view:
        fields = view.fields(parse_query({}))
    assert max(sizes) < 21_000
    assert [each["count"] for each in fields["fields"]] == [12, 12]


def test_fields_follow_what_is_changed(store: Store) -> None:
    add(store, 1, 2, 3)
    for expected, change in (
        ((3, 3), lambda tx: tx.update_trial(trial_id(1), {"parameters": {"n": 7}})),
        ((3, 7), lambda tx: tx.delete_trial(trial_id(1))),
        ((2, 3), lambda tx: tx.add_trial(trial_document(9, created=1.0, parameters={"n": 9}))),
        ((3, 9), lambda tx: None),
    ):
        for _ in range(2):
            with store.snapshot() as view:
                fields = view.fields(parse_query({}))
            (found,) = [each for each in fields["fields"] if each["name"] == "parameters.n"]
            assert (found["count"], found["max"]) == expected
        tx = begin(store)
        change(tx)
        tx.commit()


def test_a_text_that_is_known_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownSummaries()
    text = exactjson.dumps([{"a": 1}, {"a": 2.5}])
    first = known.summaries("parameters", text)
    monkeypatch.delattr(FieldSummaries, "add")
    assert known.summaries("parameters", text) is first
    with pytest.raises(AttributeError):
        known.summaries("tags", text)  # the same text, but not the same names


def test_what_is_merged_stays_as_it_was() -> None:
    known = KnownSummaries()
    text = exactjson.dumps([{"a": 1}])
    before = known.summaries("tags", text).documents(1)
    total = FieldSummaries()
    for each in (text, exactjson.dumps([{"a": 2}]), text):
        total.merge(known.summaries("tags", each))
    (found,) = total.documents(3)
    assert (found["count"], found["max"], found["values"]) == (3, 2, [1, 2])
    assert known.summaries("tags", text).documents(1) == before


def test_few_summaries_are_retained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_KNOWN_FIELDS", 10)
    known = KnownSummaries()
    texts = [exactjson.dumps([{"a": number, "b": number}]) for number in range(20)]
    made = [known.summaries("tags", text) for text in texts]
    assert known.summaries("tags", texts[15]) is made[15]
    assert known.summaries("tags", texts[14]) is not made[14]


def test_many_threads_share_them() -> None:
    known = KnownSummaries()
    texts = [exactjson.dumps([{"a": number}]) for number in range(50)]
    wrong: list[object] = []

    def read() -> None:
        for number, text in enumerate(texts):
            (found,) = known.summaries("tags", text).documents(1)
            if found["max"] != number:
                wrong.append(found)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
