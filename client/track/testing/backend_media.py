"""Images, texts, histograms and files."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest

from track.persistence.protocol import Protocol
from track.testing.backend_support import BackendSuite
from track_protocol.errors import ItemNotFound

__all__ = ["MediaTests"]


class MediaTests(BackendSuite):
    """Part of `BackendContract`."""

    def test_media_read_back_with_steps_times_and_content(self, protocol: Protocol, tmp_path: Path) -> None:
        trial = self._new(protocol, name="t")
        (tmp_path / "model.bin").write_bytes(bytes(range(256)) * 1_000)
        protocol.log_trial_media(trial, "histogram", "weights", [0.0, 1.0, math.nan], step=3, bins=2)
        protocol.log_trial_media(trial, "text", "sample", "short", step=1, context={"phase": "train"})
        protocol.log_trial_media(trial, "text", "sample", "long" * 50_000, context={"phase": "train"})
        protocol.log_trial_media(trial, "file", "model", tmp_path / "model.bin")
        weights = protocol.fetch_media(trial, "histogram", "weights")
        assert (list(weights.steps), len(weights.times)) == ([3], 1)
        assert weights.values[0]["counts"] == [1, 1]
        assert (weights.values[0]["n"], weights.values[0]["nan"]) == (3, 1)
        sample = protocol.fetch_media(trial, "text", "sample", context={"phase": "train"})
        assert list(sample.steps) == [1, None]
        assert [sample.content(index) for index in range(2)] == [b"short", b"long" * 50_000]
        (model,) = protocol.fetch_media(trial, "file").values()
        assert model.content(0) == bytes(range(256)) * 1_000
        digest = hashlib.sha256(model.content(0)).hexdigest()
        assert model.values == [{"name": "model.bin", "digest": digest, "size": 256_000}]

    def test_an_image_is_retained_as_the_digest_says(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_media(trial, "image", "x", [[0, 128], [255, 7], [1, 2]], step=1)
        found = protocol.fetch_media(trial, "image", "x")
        document = found.values[0]
        assert [document[side] for side in ("width", "height", "channels")] == [2, 3, 1]
        assert found.content(0).startswith(b"\x89PNG")
        assert hashlib.sha256(found.content(0)).hexdigest() == document["digest"]

    def test_a_trial_reports_its_media(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for step in (2, 5):
            protocol.log_trial_media(trial, "text", "sample", "words", step=step)
        known = self._trial(protocol, trial).media["text"]["sample"]
        assert [known[field] for field in ("count", "first_step", "last_step")] == [2, 2, 5]
        assert dict(self._trial(protocol, trial).metrics) == {}

    def test_equal_contents_are_logged_as_often_as_they_come(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for step in range(3):
            protocol.log_trial_media(trial, "text", "sample", "same" * 20_000, step=step)
        found = protocol.fetch_media(trial, "text", "sample")
        assert len({value["digest"] for value in found.values}) == 1
        assert [found.content(index) for index in range(3)] == [b"same" * 20_000] * 3

    def test_what_is_no_media_is_dropped_and_nothing_else(self, protocol: Protocol, tmp_path: Path) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_media(trial, "image", "x", "no picture")
        protocol.log_trial_media(trial, "histogram", "x", ["a", object()])
        protocol.log_trial_media(trial, "file", "x", tmp_path / "nothing")
        protocol.log_trial_media(trial, "movie", "x", 5)
        protocol.log_trial_media(trial, "text", "x" * 300, "words")
        protocol.log_trial_media(trial, "text", "y", "words", step={})
        protocol.log_trial_media(trial, "text", "y", "words", context={"a b": "c"})
        protocol.log_trial_media(trial, "text", "z", "words")
        assert {kind: list(names) for kind, names in self._trial(protocol, trial).media.items()} == {
            "text": ["z"]
        }

    def test_media_that_do_not_exist_are_not_found(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        with pytest.raises(ItemNotFound, match="nothing_here"):
            protocol.fetch_media(trial, "image", "nothing_here")
        with pytest.raises(ItemNotFound):
            list(protocol.fetch_blob("0" * 64))
        assert protocol.fetch_media(trial, "image") == {}
