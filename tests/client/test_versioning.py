"""Versions of code."""

from __future__ import annotations

from pathlib import Path

from track.versioning import compute_hash, compute_version, get_file_version, is_iterable


def test_a_version_changes_with_the_content_and_not_with_the_name(tmp_path: Path) -> None:
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    a.write_text("x = 1")
    b.write_text("x = 1")
    assert get_file_version(str(a)) == get_file_version(str(b))
    assert compute_version([str(a)]) == compute_version([str(b)])
    b.write_text("x = 2")
    assert compute_version([str(a)]) != compute_version([str(b)])


def test_a_hash_tells_values_apart_that_join_to_the_same_text() -> None:
    assert compute_hash("ab", "c") != compute_hash("a", "bc")
    assert compute_hash(a=1, b=2) == compute_hash(b=2, a=1)


def test_a_text_is_one_thing() -> None:
    assert [is_iterable(value) for value in ([1], (1,), "ab", b"ab", 7)] == [True, True, False, False, False]
