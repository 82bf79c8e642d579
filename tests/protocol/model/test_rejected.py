from __future__ import annotations

import pytest

from track_protocol.model.rejected import Rejected, rejected_from_document, rejected_to_document
from track_server.testing.store_rejected import rejected


def test_a_record_knows_its_numbers() -> None:
    record = rejected((3, 5), (9, 9), (11, 12))
    assert (record.first, record.last, record.records) == (3, 12, 6)
    assert record.within(1, 100) == [3, 4, 5, 9, 11, 12]
    assert record.within(5, 11) == [5, 9, 11]
    assert record.within(6, 8) == []


def test_a_record_knows_whether_its_content_is_complete() -> None:
    assert rejected(content=b"1234", size=4).complete
    assert not rejected(content=b"1234", size=5).complete


def test_a_record_round_trips_through_its_document() -> None:
    record = rejected((3, 5), (9, 9), trial=None)
    assert rejected_from_document(rejected_to_document(record)) == record


@pytest.mark.parametrize("missing", ["runs", "names", "content"])
def test_a_document_without_a_required_field_is_not_a_record(missing: str) -> None:
    document = rejected_to_document(rejected())
    del document[missing]
    with pytest.raises((KeyError, TypeError)):
        rejected_from_document(document)


def test_a_document_without_numbers_is_not_a_record() -> None:
    with pytest.raises(ValueError, match="sequence number"):
        rejected_from_document(rejected_to_document(rejected()) | {"runs": []})


def test_a_record_is_immutable() -> None:
    with pytest.raises(AttributeError):
        rejected().points = 5  # type: ignore[misc] # it is read-only, which is the point
    assert isinstance(rejected(), Rejected)
