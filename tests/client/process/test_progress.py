"""The progress bar."""

from __future__ import annotations

import io

import pytest

from track.process.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_much_is_left_and_is_clean_afterwards() -> None:
    stream = Terminal()
    with Progress("saving", stream) as bar:
        bar.show(1000)
        bar.show(500)
    lines = stream.getvalue().split("\r")
    assert "1,000 left" in lines[1]
    assert lines[2].startswith("saving " + "█" * 15 + "·" * 15 + " 500 left")
    assert lines[-1] == "\x1b[K"


def test_a_file_shows_nothing() -> None:
    stream = io.StringIO()
    with Progress("saving", stream) as bar:
        bar.show(1000)
    assert stream.getvalue() == ""


def test_a_stream_that_is_closed_or_missing_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    stream.close()
    with Progress("saving", stream) as bar:
        bar.show(1000)
    monkeypatch.setattr("sys.stderr", None)
    with Progress("saving") as bar:
        bar.show(1000)
