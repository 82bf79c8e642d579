"""Sending contents: in parts, once, and never a part of something that cannot be completed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from track.media import blobs, media_of
from track.media.blobs import BlobSender
from track.outbox.drops import DropAccount
from track_protocol.errors import BadValue
from track_protocol.model.media import MAX_BLOB_BYTES, PART_BYTES, TEXT, Media


class Box:
    """Takes log calls as an outbox does."""

    def __init__(self, room: int = 1_000) -> None:
        self.losses = DropAccount()
        self.room = room
        self.parts: list[dict[str, Any]] = []
        self.sender = BlobSender(self.log, lambda: self.losses)

    def log(self, method: str, arguments: dict[str, Any]) -> bool:
        assert method == "put_blob"
        if len(self.parts) >= self.room:
            return False
        self.parts.append(arguments)
        return True

    @property
    def content(self) -> bytes:
        assert [part["offset"] for part in self.parts] == [
            PART_BYTES * number for number in range(len(self.parts))
        ]
        return b"".join(part["data"] for part in self.parts)


def media(content: bytes) -> Media:
    document = {"digest": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return Media(TEXT, document, content)


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES])
def test_content_is_sent_in_parts(box: Box, tmp_path: Path, size: int) -> None:
    content = bytes(number % 251 for number in range(size))
    assert box.sender.send(media(content)) is None
    assert (box.content, len(box.parts)) == (content, max(1, -(-size // PART_BYTES)))
    (tmp_path / "f").write_bytes(content)
    other = Box()
    assert other.sender.send(media_of("file", tmp_path / "f")) is None
    assert other.parts == box.parts


def test_sent_content_is_not_sent_again(box: Box) -> None:
    for _ in range(3):
        assert box.sender.send(media(b"x")) is None
    assert len(box.parts) == 1


def test_it_is_sent_again_after_a_while(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.sender.send(media(b"x"))
    monkeypatch.setattr(blobs, "_REMEMBERED", 0.0)
    box.sender.send(media(b"x"))
    assert len(box.parts) == 2


def test_it_is_sent_again_after_a_dropped_record_and_by_a_child(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.sender.send(media(b"x"))
    box.losses.reject(1, "of a test")
    box.sender.send(media(b"x"))
    box.losses.drop(1, "of a test")
    box.sender.send(media(b"x"))
    monkeypatch.setattr("os.getpid", lambda: 1)
    box.sender.send(media(b"x"))
    assert len(box.parts) == 4


def test_content_that_does_not_fit_the_queue_does_not_count_as_sent() -> None:
    box = Box(room=1)
    content = media(b"x" * (PART_BYTES + 1))
    assert box.sender.send(content) == "the queue is full"
    box.room = 10
    box.parts.clear()
    assert box.sender.send(content) is None
    assert len(box.content) == PART_BYTES + 1


@pytest.mark.parametrize("now", [b"other", b"longer than before", b"", b"content", None])
def test_a_file_that_changes_while_it_is_read_is_never_complete(
    box: Box, tmp_path: Path, now: bytes | None
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"c0ntent")
    made = media_of("file", path)
    if now is None:
        path.unlink()
    else:
        path.write_bytes(now)
    why = box.sender.send(made)
    assert why is not None
    assert ("can no longer be read" if now is None else "changed while it was read") in why
    assert sum(len(part["data"]) for part in box.parts) < len(b"c0ntent")


def test_a_path_that_is_not_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="is not a file"):
        media_of("file", tmp_path)
    with pytest.raises(BadValue, match="No such file"):
        media_of("file", tmp_path / "nothing")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(MAX_BLOB_BYTES + 1)
    with pytest.raises(BadValue, match="store it outside Track"):
        media_of("file", tmp_path / "huge")
