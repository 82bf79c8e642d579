"""Operands of queries, as the JSON texts of stored values are compared with them."""

from __future__ import annotations

import math
from typing import Any, Final

from track_protocol.model.values import INT_MAX, INT_MIN
from track_protocol.query.tree import is_number
from track_server.storage import exactjson

__all__ = ["margin_around", "texts_of"]

_NEAR: Final = 1e-12
_TINY: Final = 1e-300


def margin_around(limit: float) -> float:
    """How far from a limit a number is certainly on one side of it, however a database has rounded it."""
    return max(abs(limit) * _NEAR, _TINY) if math.isfinite(limit) else 0.0


def texts_of(operand: Any) -> list[str]:
    """Every text that a scalar equal to this one may have been written as; none for what is no scalar."""
    if isinstance(operand, (list, tuple, dict)):
        return []
    if not is_number(operand):
        return [exactjson.dumps(operand)]
    if operand == 0:
        return ["0", "0.0", "-0.0"]
    twins: list[int | float] = [operand]
    if isinstance(operand, int) and float(operand) == operand:
        twins.append(float(operand))
    elif isinstance(operand, float) and operand.is_integer() and INT_MIN <= operand <= INT_MAX:
        twins.append(int(operand))
    return [exactjson.dumps(twin) for twin in twins]
