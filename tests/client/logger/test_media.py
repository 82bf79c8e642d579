"""The log calls of a trial's media."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from track import TrackClient
from track.logger import TrialLogger
from track.persistence.null import NullProtocol
from track_protocol.errors import BadValue, ItemNotFound
from track_protocol.model.entities import Trial


@pytest.fixture
def client() -> Iterator[TrackClient]:
    client = TrackClient("ephemeral:")
    yield client
    client.close()


def fetched(client: TrackClient, trial: TrialLogger, kind: str, name: str, **options: Any) -> Any:
    return client.protocol.fetch_media(trial.trial, kind, name, **options)


def test_each_kind_has_a_call(client: TrackClient, tmp_path: Path) -> None:
    trial = client.new_trial(name="t")
    (tmp_path / "weights.pt").write_bytes(b"\0\1\2")
    trial.log_histogram("h", [1.0, 2.0], step=1, bins=2, context={"layer": 3})
    trial.log_image("i", [[0, 1]], 2)
    trial.log_text("t", "wörds", step=3)
    trial.log_artifact(tmp_path / "weights.pt")
    trial.log_artifact(str(tmp_path / "weights.pt"), name="best")
    histogram = fetched(client, trial, "histogram", "h", context={"layer": 3})
    assert (histogram.values[0]["counts"], list(histogram.steps)) == ([1, 1], [1])
    assert histogram.name == 'h{layer="3"}'
    assert list(fetched(client, trial, "image", "i").steps) == [2]
    assert fetched(client, trial, "text", "t").content(0) == "wörds".encode()
    for name in ("weights.pt", "best"):
        found = fetched(client, trial, "file", name)
        assert (found.content(0), found.values[0]["name"]) == (b"\0\1\2", "weights.pt")


def test_invalid_media_are_dropped_with_one_warning(
    client: TrackClient, caplog: pytest.LogCaptureFixture
) -> None:
    trial = client.new_trial(name="t")
    with caplog.at_level(logging.WARNING, "track"):
        for _ in range(3):
            trial.log_image("i", "no pixels")
            trial.log_histogram(5, [1.0])  # type: ignore[arg-type]  # that is the point
    assert len(caplog.messages) == 2
    trial.log_text("t", "words")
    (stored,) = client.protocol.get_trial(trial.ensure()) or []
    assert list(stored.media) == ["text"]
    assert stored.metadata["dropped_points"]["points"] == 6


class Strange:
    """What can neither be read nor shown."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise SystemError("no array")

    def __repr__(self) -> str:
        raise ValueError("no repr")


@pytest.mark.parametrize(
    "strange", [None, 5, b"bytes", "words", ["words"], {}, object(), Strange()], ids=type
)
def test_no_value_raises_into_the_training(client: TrackClient, tmp_path: Path, strange: Any) -> None:
    trial: Any = client.new_trial(name="t")  # of any type, as nobody checks those of a notebook
    trial.log_histogram("h", strange, strange, strange, strange)
    trial.log_histogram(strange, strange)
    trial.log_histogram("h", [1.0], context={"a": strange, "b": Strange()})
    trial.log_image("i", strange, step=strange)
    trial.log_image("i", [[1]], context=strange if strange is not None else 3)
    trial.log_text("t", [strange], context={strange if strange.__hash__ else 5: 1})
    trial.log_artifact(strange)
    trial.log_artifact(tmp_path, name=strange)
    os.mkfifo(tmp_path / "pipe")
    trial.log_artifact(tmp_path / "pipe")
    client.protocol.flush()
    (stored,) = client.protocol.get_trial(trial.ensure()) or []
    assert stored.metadata["dropped_points"]["points"] >= 7


def test_a_path_may_be_bytes(client: TrackClient, tmp_path: Path) -> None:
    trial = client.new_trial(name="t")
    (tmp_path / "f").write_bytes(b"content")
    trial.log_artifact(os.fsencode(tmp_path / "f"))  # type: ignore[arg-type]  # as os.fspath gives it
    assert fetched(client, trial, "file", "f").content(0) == b"content"


def test_media_that_no_store_accepts_are_not_sent(
    client: TrackClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("track.media.MAX_BLOB_BYTES", 100_000)
    trial = client.new_trial(name="t")
    trial.log_text("t", "x" * 100_001)
    client.protocol.flush()
    (stored,) = client.protocol.get_trial(trial.ensure()) or []
    assert stored.metadata["dropped_points"]["points"] == 1
    assert client.protocol.fetch_rejected() == []


def test_a_report_lists_media_if_there_are_any(
    client: TrackClient, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = client.new_trial(name="t")
    trial.log_metrics(step=1, loss=0.5)
    client.report()
    trial.log_text("t", "words", step=3)
    client.report()
    decoder = json.JSONDecoder()
    reported = capsys.readouterr().out
    before, end = decoder.raw_decode(reported)
    after = json.loads(reported[end:])
    assert "media" not in before
    assert after["media"]["text"]["t"]["last_step"] == 3


def test_a_histogram_has_no_content_beside_its_document(client: TrackClient) -> None:
    trial = client.new_trial(name="t")
    trial.log_histogram("h", [1.0])
    with pytest.raises(BadValue, match="has no content"):
        fetched(client, trial, "histogram", "h").content(0)


def test_without_a_store_media_are_ignored() -> None:
    protocol = NullProtocol()
    trial = TrialLogger(Trial(name="t"), protocol)
    trial.log_text("t", "words")
    assert protocol.fetch_media(trial.trial, "text") == {}
    with pytest.raises(ItemNotFound):
        protocol.fetch_media(trial.trial, "text", "t")
    with pytest.raises(ItemNotFound):
        protocol.fetch_blob("0" * 64)


@pytest.mark.parametrize(
    ("given", "text"), [(5, "5"), (b"bytes", "bytes"), (None, "None"), ([1, "a"], "[1, 'a']")]
)
def test_what_is_no_text_is_logged_as_its_text(client: TrackClient, given: Any, text: str) -> None:
    trial = client.new_trial()
    trial.log_text("t", given)
    assert client.protocol.fetch_media(trial.trial, "text", "t").content(0).decode() == text
