from __future__ import annotations

import pytest

from track.commands.printing import bytes_text, table


def test_columns_are_aligned() -> None:
    assert table(("A", "LONG"), [("wide", "x"), ("b", "y")]) == ["A     LONG", "wide  x", "b     y"]


def test_a_table_of_nothing_has_its_header() -> None:
    assert table(("A", "B"), []) == ["A  B"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 2**30, "3.0 GiB")],
)
def test_a_size_has_the_unit_that_suits_it(count: int, text: str) -> None:
    assert bytes_text(count) == text
