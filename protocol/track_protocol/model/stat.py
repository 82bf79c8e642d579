"""Running statistics in constant memory, exact to merge."""

from __future__ import annotations

import dataclasses
import json
import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from operator import mul, sub
from typing import Any, Final

from track_protocol.errors import BadValue

__all__ = ["StatStream", "Summary"]

_STATE: Final = ("sum", "sum_sqr", "first_obs", "current_obs", "current_count", "drop_obs", "min", "max")


class StatStream:
    """Mean, deviation and range of the observations so far, without the first few.

    The first observations of a timer are slower than the rest and are left out.  The first one that
    counts is subtracted from all the others, so that the sums stay near zero and the variance does
    not drown in rounding.

    Args:
        drop_first_obs: how many observations (their weight) to leave out at the start.
    """

    __slots__ = ("_sum", "_sum_sqr", "current_count", "current_obs", "drop_obs", "first_obs", "max", "min")

    def __init__(self, drop_first_obs: int = 10) -> None:
        self._sum = 0.0
        self._sum_sqr = 0.0
        self.first_obs = 0.0
        self.current_obs = 0.0
        self.current_count: float = 0
        self.drop_obs: float = drop_first_obs
        self.min = math.inf
        self.max = -math.inf

    def update(self, val: float, weight: float = 1) -> None:
        """Add one observation that counts `weight` times.

        An observation that is only partly within the first `drop_obs` counts with the rest of its weight.

        Raises:
            BadValue: the weight is not positive.
        """
        if not weight > 0:
            raise BadValue(f"weight {weight!r} is not positive: give 1 or more")
        before = self.count
        self.current_obs = val = float(val)
        self.current_count += weight
        counted = self.count - before
        if not counted:
            return
        if not before and math.isfinite(val):
            self.first_obs = val
        shifted = val - self.first_obs
        self._sum += counted * shifted
        self._sum_sqr += counted * shifted * shifted
        self.min = min(self.min, val)
        self.max = max(self.max, val)

    def merge(self, other: StatStream) -> None:
        """Take all that another stream has counted, as if it had been observed here."""
        count = self.count + other.count
        seen = self.current_count + other.current_count
        if not self.count:
            self.first_obs, self._sum, self._sum_sqr = other.first_obs, other._sum, other._sum_sqr
        elif other.count:
            shift = other.first_obs - self.first_obs
            self._sum_sqr += other._sum_sqr + shift * (2 * other._sum + other.count * shift)
            self._sum += other._sum + other.count * shift
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)
        if other.current_count:
            self.current_obs = other.current_obs
        self.drop_obs = seen - count if count else max(self.drop_obs, seen)
        self.current_count = seen

    @property
    def val(self) -> float:
        """The last observation, counted or not."""
        return self.current_obs

    @property
    def count(self) -> float:
        """Weight of the observations that count."""
        return max(0, self.current_count - self.drop_obs)

    @property
    def total(self) -> float:
        """Sum of the observations that count."""
        return self._sum + self.first_obs * self.count

    @property
    def sum(self) -> float:
        """Sum of the observations that count (the same as `total`)."""
        return self.total

    @property
    def sum_sqr(self) -> float:
        """Sum of the squares of the observations that count."""
        return self._sum_sqr + self.first_obs * (2 * self._sum + self.count * self.first_obs)

    @property
    def avg(self) -> float:
        """Mean; 0 while no observation counts."""
        return self.first_obs + self._sum / self.count if self.count else 0.0

    @property
    def var(self) -> float:
        """Variance of the population; 0 while no observation counts."""
        if not self.count:
            return 0.0
        mean = self._sum / self.count
        variance = self._sum_sqr / self.count - mean * mean
        return 0.0 if variance < 0 else variance

    @property
    def sd(self) -> float:
        """Standard deviation of the population, the square root of `var`."""
        return math.sqrt(self.var)

    def to_array(self, transform: Callable[[float], float] | None = None) -> list[float]:
        """``[avg, sd, min, max, count]``, each of the first four through `transform` when given."""
        values = [self.avg, self.sd, self.min, self.max]
        return [*(map(transform, values) if transform else values), self.count]

    def to_dict(self) -> dict[str, Any]:
        """``{avg, min, max, sd, count, unit}``; the unit is seconds."""
        return {
            "avg": self.avg,
            "min": self.min,
            "max": self.max,
            "sd": self.sd,
            "count": self.count,
            "unit": "s",
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict())

    def __iadd__(self, val: float | StatStream) -> StatStream:
        """Take an observation, or all that another stream has counted."""
        if isinstance(val, StatStream):
            self.merge(val)
        else:
            self.update(val)
        return self

    def state_dict(self) -> dict[str, Any]:
        """The state that `from_dict` continues from exactly; both sums are relative to ``first_obs``."""
        return {name: getattr(self, _ATTRIBUTES.get(name, name)) for name in _STATE}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> StatStream:
        """A stream from its `state_dict` (exact), or from its `to_dict` (sd exact to rounding).

        Raises:
            BadValue: it is neither.
        """
        state = dict(data) if "sum_sqr" in data else _state_of_report(data)
        missing = [name for name in _STATE if not isinstance(state.get(name), (int, float))]
        if missing:
            raise BadValue(f"statistics lack the number {missing[0]!r}: pass the result of state_dict()")
        stream = StatStream()
        for name in _STATE:
            setattr(stream, _ATTRIBUTES.get(name, name), state[name])
        return stream

    def __repr__(self) -> str:
        return f"StatStream({self.to_dict()})"


_ATTRIBUTES: Final = {"sum": "_sum", "sum_sqr": "_sum_sqr"}


def _state_of_report(report: Mapping[str, Any]) -> dict[str, Any]:
    try:
        avg, sd, count = report["avg"], report["sd"], report["count"]
        sums = {"sum": 0.0, "sum_sqr": sd * sd * count}
        seen = {"first_obs": avg, "current_obs": avg, "current_count": count, "drop_obs": 0}
        return {**sums, **seen, "min": report["min"], "max": report["max"]}
    except (KeyError, TypeError) as error:
        raise BadValue(f"statistics are incomplete ({error}): pass the result of to_dict()") from error


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """A summary of a set of numbers that does not store them.

    NaN and infinities are counted and otherwise left out.  Without a finite number, `mean` and `m2`
    are 0, `min` is +inf and `max` is -inf.

    Attributes:
        count: how many numbers, all of them.
        nonfinite: how many of them are NaN or infinite.
        mean: mean of the finite ones.
        m2: sum of their squared distances from the mean.
        min: the smallest finite one.
        max: the largest finite one.
    """

    count: int = 0
    nonfinite: int = 0
    mean: float = 0.0
    m2: float = 0.0
    min: float = math.inf
    max: float = -math.inf

    @staticmethod
    def of(values: array[float] | Sequence[float]) -> Summary:
        """Summary of some numbers, in two passes that never leave C when all of them are finite."""
        total = sum(values)
        if math.isfinite(total):
            return _summarise(values, total, 0)
        finite = [value for value in values if math.isfinite(value)]
        return _summarise(finite, sum(finite), len(values) - len(finite))

    def merge(self, other: Summary) -> Summary:
        """Summary of both sets together (Chan, Golub and LeVeque, 1979)."""
        count, nonfinite = self.count + other.count, self.nonfinite + other.nonfinite
        if not self.finite or not other.finite:
            known = self if self.finite else other
            return dataclasses.replace(known, count=count, nonfinite=nonfinite)
        finite = self.finite + other.finite
        delta = other.mean - self.mean
        share = other.finite / finite
        return Summary(
            count,
            nonfinite,
            self.mean + delta * share,
            self.m2 + other.m2 + delta * delta * self.finite * share,
            min(self.min, other.min),
            max(self.max, other.max),
        )

    @property
    def finite(self) -> int:
        """How many of the numbers are finite."""
        return self.count - self.nonfinite

    @property
    def var(self) -> float:
        """Variance of the finite numbers as a population; 0 without any."""
        return self.m2 / self.finite if self.finite else 0.0

    @property
    def sd(self) -> float:
        """Standard deviation of the finite numbers as a population; 0 without any."""
        return math.sqrt(self.var)

    def to_dict(self) -> dict[str, Any]:
        """The attributes by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Summary:
        """A summary from its `to_dict`; other keys are left aside.

        Raises:
            BadValue: a number is missing.
        """
        try:
            return Summary(*(data[name] for name in Summary.__slots__))
        except KeyError as error:
            raise BadValue(f"the summary lacks {error}: pass the result of to_dict()") from error


def _summarise(values: Sequence[float] | array[float], total: float, nonfinite: int) -> Summary:
    count = len(values)
    if not count:
        return Summary(count=nonfinite, nonfinite=nonfinite)
    # A sum may overflow where the mean does not.
    mean = total / count if math.isfinite(total) else sum(value / count for value in values)
    distances = list(map(sub, values, repeat(mean)))
    m2 = sum(map(mul, distances, distances))
    if math.isfinite(m2):
        # The rest after the rounding of the mean.
        rest = sum(distances)
        m2 = max(0.0, m2 - rest * rest / count)
    return Summary(count + nonfinite, nonfinite, mean, m2, min(values), max(values))
