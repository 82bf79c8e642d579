from __future__ import annotations

import pytest

from track_protocol.wire.roles import Role


def test_roles_are_ordered_by_what_they_allow() -> None:
    assert sorted([Role.WRITER, Role.ADMIN, Role.READER]) == [Role.READER, Role.WRITER, Role.ADMIN]


@pytest.mark.parametrize("role", Role)
def test_a_role_is_as_high_as_itself_and_not_higher(role: Role) -> None:
    assert role >= role
    assert role <= role
    assert not role > role
    assert not role < role


def test_an_admin_may_do_what_a_writer_may() -> None:
    assert Role.ADMIN > Role.WRITER


def test_a_reader_may_not_do_what_a_writer_may() -> None:
    assert not Role.READER >= Role.WRITER


def test_a_role_compares_with_a_role_that_came_as_text() -> None:
    assert Role.ADMIN > "writer"
    assert Role.WRITER > "reader"


def test_an_unknown_role_compares_with_nothing() -> None:
    with pytest.raises(ValueError, match="superuser"):
        assert Role.ADMIN > "superuser"


def test_a_role_is_written_as_its_name() -> None:
    assert f"{Role.ADMIN}" == "admin"
