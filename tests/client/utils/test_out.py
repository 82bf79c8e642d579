"""Output that is captured."""

from __future__ import annotations

import contextlib
import io

import pytest

from track.utils.out import RingOutputDecorator
from track_protocol.errors import UsageError


def test_output_is_passed_on_and_its_last_lines_are_stored() -> None:
    file = io.StringIO()
    captured = RingOutputDecorator(file, n_entries=2)
    with contextlib.redirect_stdout(captured):
        for number in range(4):
            print("line", number)  # noqa: T201  # what is tested
    captured.flush()
    assert file.getvalue() == "line 0\nline 1\nline 2\nline 3\n"
    assert captured.raw() == ["line 2", "line 3"]
    assert captured.output() == captured.out() == "line 2\nline 3\n"


def test_fifty_lines_are_stored_without_a_file() -> None:
    captured = RingOutputDecorator()
    captured.write("".join(f"{number}\n" for number in range(60)))
    captured.flush()
    assert captured.raw() == [str(number) for number in range(10, 60)]


def test_an_unfinished_line_is_stored_too() -> None:
    captured = RingOutputDecorator(n_entries=1)
    for part in ("a\nb", "c"):
        assert captured.write(part) == len(part)
    assert (captured.raw(), captured.output()) == (["a", "bc"], "a\nbc")


def test_the_last_state_of_a_progress_bar_is_stored() -> None:
    captured = RingOutputDecorator()
    for percent in range(0, 101, 10):
        captured.write(f"\r{percent}%")
    assert captured.raw() == ["100%"]
    captured.write("\nby windows\r\n")
    assert captured.raw() == ["100%", "by windows"]


def test_a_line_without_an_end_uses_bounded_memory() -> None:
    captured = RingOutputDecorator()
    for _ in range(100):
        captured.write("x" * 10_000)
    assert len(captured.output()) == 64 * 1024


def test_it_has_the_other_attributes_of_its_file() -> None:
    captured = RingOutputDecorator(io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert (captured.encoding, captured.isatty(), captured.writable()) == ("latin-1", False, True)
    assert not hasattr(RingOutputDecorator(), "encoding")


def test_zero_lines_are_refused() -> None:
    with pytest.raises(UsageError, match="n_entries"):
        RingOutputDecorator(n_entries=0)
