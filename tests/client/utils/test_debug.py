"""Seeing where a program is."""

from __future__ import annotations

import pytest

from track.utils.debug import print_stack


def test_the_stack_is_printed_with_the_caller_last_and_each_line_marked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_stack("here")
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("here ") for line in lines)
    assert "print_stack(" in lines[-1]
