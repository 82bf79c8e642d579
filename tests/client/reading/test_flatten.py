"""Nested values as a row of columns."""

from __future__ import annotations

from track.reading.flatten import flat


def test_nested_values_of_one_name_are_all_retained() -> None:
    assert flat({"a.b": 1, "a": {"b": 2, "c": {}}, "d": {"e": {"f": 3}}}) == {
        "a.b": 1,
        '"a"."b"': 2,
        "a.c": {},
        "d.e.f": 3,
    }
    assert flat({"a": {"b": 2}, "a.b": 1}) == {'"a"."b"': 2, "a.b": 1}
