"""The roles of users, ordered by what they allow."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

__all__ = ["Role"]


class Role(StrEnum):
    """The role of a user; each one may do all that the ones below it may.

    Roles compare by what they allow (``Role.ADMIN > Role.WRITER > Role.READER``), not by their
    letters; a plain string on either side is read as a role, and an unknown one is a `ValueError`.
    """

    READER = "reader"
    WRITER = "writer"
    ADMIN = "admin"

    @property
    def _rank(self) -> int:
        return _RANKS[self]

    def __lt__(self, other: str) -> bool:
        return self._rank < Role(other)._rank

    def __le__(self, other: str) -> bool:
        return self._rank <= Role(other)._rank

    def __gt__(self, other: str) -> bool:
        return self._rank > Role(other)._rank

    def __ge__(self, other: str) -> bool:
        return self._rank >= Role(other)._rank


_RANKS: Final = {role: rank for rank, role in enumerate(Role)}
