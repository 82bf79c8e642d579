"""Media over a real server that is killed in the middle: each one is stored once, and as it was."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np

from killed_server import KilledServer
from track import TrackClient
from track.media.image import decode_png
from track_server.storage.sqlite.admin import SqliteAdmin

SECONDS = 60.0
IMAGES = 60


def pixels(step: int) -> np.ndarray:
    """Noise, which no compression makes small: about three parts of a blob."""
    return np.random.default_rng(step).integers(0, 256, (200, 300, 3), dtype=np.uint8)


def test_every_image_is_stored_once_by_a_server_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "runs"
    with KilledServer(f"sqlite:{path}", tmp_path / "home", random.Random(7)) as server:
        client = TrackClient(server.join("ann"))
        trial = client.new_trial(name="t")
        (tmp_path / "model.bin").write_bytes(b"weights" * 100_000)
        for round in range(3):
            for step in range(round * IMAGES // 3, (round + 1) * IMAGES // 3):
                trial.log_image("noise", pixels(step), step=step, context={"phase": "train"})
                trial.log_histogram("values", pixels(step), step=step)
            server.kill(1, lambda: True, pause=0.2)
        trial.log_artifact(tmp_path / "model.bin")
        client.protocol.flush(SECONDS)
        stored = trial.trial
        found = client.protocol.fetch_media(stored, "image", "noise", context={"phase": "train"})
        assert list(found.steps) == list(range(IMAGES))
        for step in range(IMAGES):
            content = found.content(step)
            assert hashlib.sha256(content).hexdigest() == found.values[step]["digest"]
            assert decode_png(content).data == pixels(step).tobytes()
        assert list(client.protocol.fetch_media(stored, "histogram", "values").steps) == list(range(IMAGES))
        assert client.protocol.fetch_media(stored, "file", "model.bin").content(0) == b"weights" * 100_000
        assert client.protocol.fetch_rejected() == []
        client.protocol.close()
    checked = SqliteAdmin().check(path)
    assert (checked.findings, checked.points) == ((), 2 * IMAGES + 1)
