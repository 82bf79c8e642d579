"""Output that is kept."""

from __future__ import annotations

import contextlib
import io

import pytest

from track.utils.out import RingOutputDecorator
from track_protocol.errors import UsageError


def test_output_is_passed_on_and_its_last_lines_are_stored() -> None:
    file = io.StringIO()
    kept = RingOutputDecorator(file, n_entries=2)
    with contextlib.redirect_stdout(kept):
        for number in range(4):
            print("line", number)  # noqa: T201  # what is tested
    kept.flush()
    assert file.getvalue() == "line 0\nline 1\nline 2\nline 3\n"
    assert kept.raw() == ["line 2", "line 3"]
    assert kept.output() == kept.out() == "line 2\nline 3\n"


def test_fifty_lines_are_stored_without_a_file() -> None:
    kept = RingOutputDecorator()
    kept.write("".join(f"{number}\n" for number in range(60)))
    kept.flush()
    assert kept.raw() == [str(number) for number in range(10, 60)]


def test_an_unfinished_line_is_stored_too() -> None:
    kept = RingOutputDecorator(n_entries=1)
    for part in ("a\nb", "c"):
        assert kept.write(part) == len(part)
    assert (kept.raw(), kept.output()) == (["a", "bc"], "a\nbc")


def test_the_last_state_of_a_progress_bar_is_stored() -> None:
    kept = RingOutputDecorator()
    for percent in range(0, 101, 10):
        kept.write(f"\r{percent}%")
    assert kept.raw() == ["100%"]
    kept.write("\nby windows\r\n")
    assert kept.raw() == ["100%", "by windows"]


def test_a_line_without_an_end_uses_bounded_memory() -> None:
    kept = RingOutputDecorator()
    for _ in range(100):
        kept.write("x" * 10_000)
    assert len(kept.output()) == 64 * 1024


def test_it_has_the_other_attributes_of_its_file() -> None:
    kept = RingOutputDecorator(io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert (kept.encoding, kept.isatty(), kept.writable()) == ("latin-1", False, True)
    assert not hasattr(RingOutputDecorator(), "encoding")


def test_zero_lines_are_refused() -> None:
    with pytest.raises(UsageError, match="n_entries"):
        RingOutputDecorator(n_entries=0)
