"""A new trial takes its fields in whatever form a script has them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from track import TrackClient
from track.recording.fields import labels_of, plain_fields
from track_protocol.model.entities import Status


class Failing:  # noqa: PLW1641 - nothing hashes it
    """Fails at whatever it is asked."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        (None, {}),
        ("baseline", {"baseline": True}),
        (["a", 2], {"a": True, "2": True}),
        (("a", "b"), {"a": True, "b": True}),
        ({"kind": "x"}, {"kind": "x"}),
        (5, {"5": True}),
    ],
)
def test_labels_come_as_a_mapping_or_as_texts(given: Any, labels: dict[str, Any]) -> None:
    assert labels_of(given) == labels


@pytest.mark.parametrize(
    ("field", "given", "stored"),
    [
        ("name", 5, "5"),
        ("name", Failing(), f"<{Failing.__module__}.Failing>"),
        ("name", "\ud800", "\\ud800"),
        ("version", 5, "5"),
        ("description", "x" * 70_000, "x" * 65_536),
        ("metadata", [1], {"metadata": [1]}),
    ],
)
def test_a_field_of_another_form_is_stored_with_a_warning(
    caplog: pytest.LogCaptureFixture, field: str, given: Any, stored: Any
) -> None:
    assert plain_fields({field: given}) == {field: stored}
    assert [record.message.partition(":")[0] for record in caplog.records] == [field]


def test_fields_as_they_should_be_stay_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    fields: dict[str, Any] = {"name": "a", "description": None, "tags": {"a": 1}, "metadata": {"b": 2}}
    assert plain_fields(fields) == fields
    assert plain_fields({"status": "running", "tags": None}) == {"status": Status.Running, "tags": {}}
    assert caplog.records == []


def test_a_trial_of_odd_fields_is_created_by_its_first_point(tmp_path: Path) -> None:
    logging.disable()
    try:
        with TrackClient(f"sqlite:{tmp_path / 'runs.db'}") as client:
            logger = client.new_trial(name=5, tags=["a", "b"], metadata=[1], description=Failing())
            logger.log(loss=1.0)
            client.new_trial(name="next", force=True)
            client.protocol.flush()
            stored = client.protocol.current_trial(logger.trial)
    finally:
        logging.disable(logging.NOTSET)
    assert stored is not None
    assert (stored.name, stored.tags, stored.metadata["metadata"]) == ("5", {"a": True, "b": True}, [1])


def test_a_parameter_that_has_no_text_is_refused_without_raising(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TrackClient(f"sqlite:{tmp_path / 'runs.db'}") as client:
        logger = client.new_trial(parameters={"lr": 1})
        logger.log_arguments(lr=Failing())
        assert logger.trial.parameters["lr"] == 1
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        f"parameter lr is 1 already, not <{Failing.__module__}.Failing>; the stored value stays: log the "
        "new one under another name, or with force=True"
    ]
