"""How logged values are aggregated: all of them, the last ones, the latest, or statistics.

An aggregator is passed around as a callable without arguments that makes one; those made by `lazy`
also have a ``spec``, the short list by which a server knows which one to make.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self

from track_protocol.errors import BadArguments
from track_protocol.model.ring import RingBuffer
from track_protocol.model.stat import StatStream

__all__ = [
    "Aggregator",
    "LazyAggregator",
    "RingAggregator",
    "StatAggregator",
    "SumAggregator",
    "TimeSeriesAggregator",
    "ValueAggregator",
    "aggregator_from_spec",
    "is_aggregator",
    "spec_of",
]

_MAX_OBSERVATIONS: Final = 2**31 - 1


class Aggregator:
    """Base of the aggregators; a subclass defines what it stores of the appended values."""

    spec: list[Any] | None = None
    """Wire form of the aggregator, or None when only this process knows how to make it."""

    def append(self, other: Any) -> None:
        """Take one value."""
        raise NotImplementedError

    def __iadd__(self, other: Any) -> Self:
        """The same as `append`."""
        self.append(other)
        return self

    @property
    def val(self) -> Any:
        """The last observed value; None before the first."""
        raise NotImplementedError

    def to_json(self, short: bool = False) -> Any:
        """The state as JSON values; `short` leaves out the fields that only serve to continue."""
        raise NotImplementedError

    @staticmethod
    def lazy(aggregator_t: Callable[..., Aggregator], **kwargs: Any) -> LazyAggregator:
        """A callable that makes ``aggregator_t(**kwargs)``."""
        return LazyAggregator(aggregator_t, **kwargs)


class LazyAggregator:
    """Makes a new aggregator at each call.

    Args:
        make: the aggregator's class.
        kwargs: arguments of the class; checked at once, where the mistake is.

    Attributes:
        spec: wire form of the aggregators it makes; None for a class of the user's own.
    """

    __slots__ = ("_kwargs", "_make", "spec")

    def __init__(self, make: Callable[..., Aggregator], **kwargs: Any) -> None:
        self._make = make
        self._kwargs = kwargs
        self.spec = make(**kwargs).spec

    def __call__(self) -> Aggregator:
        return self._make(**self._kwargs)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._kwargs.items())
        return f"{getattr(self._make, '__name__', self._make)}.lazy({arguments})"


class _WithoutArguments(Aggregator):
    """An aggregator that is made without arguments."""

    @classmethod
    def lazy(cls) -> LazyAggregator:  # type: ignore[override]  # documented signature
        """A callable that makes one."""
        return LazyAggregator(cls)


class RingAggregator(Aggregator):
    """Stores the last `n` values.

    Args:
        n: how many.
        dtype: their type, a type code of the `array` module or a name such as ``'float32'``; ``'f'`` is
            a 32-bit float.

    Raises:
        BadArguments: `n` is not positive or `dtype` is not a numeric type code.
    """

    def __init__(self, n: int, dtype: Any = "f") -> None:
        self._ring = RingBuffer(n, dtype)
        self.spec = ["ring", n, self._ring.dtype]

    def append(self, other: Any) -> None:
        """Take one value; at `n` values the oldest one is dropped.

        Raises:
            BadValue: the ring's type cannot hold the value.
        """
        self._ring.append(other)

    @property
    def val(self) -> Any:
        """The last observed value; None before the first."""
        return self._ring.last()

    def to_json(self, short: bool = False) -> list[Any]:
        """The stored values, oldest first."""
        return self._ring.to_list()

    @staticmethod
    def lazy(n: int, dtype: Any = "f") -> LazyAggregator:  # type: ignore[override]  # documented signature
        """A callable that makes ``RingAggregator(n, dtype)``."""
        return LazyAggregator(RingAggregator, n=n, dtype=dtype)


class StatAggregator(Aggregator):
    """Stores mean, deviation, minimum, maximum and count, not the values.

    Args:
        skip_obs: how many observations at the start to leave out.

    Raises:
        BadArguments: `skip_obs` is negative.
    """

    def __init__(self, skip_obs: int = 10) -> None:
        _check_observations("skip_obs", skip_obs)
        self.spec = ["stat", skip_obs]
        self.stream = StatStream(skip_obs)

    def append(self, other: Any) -> None:
        """Take one observation."""
        self.stream.update(other)

    @property
    def val(self) -> Any:
        """The last observed value, skipped or not; None before the first."""
        return self.stream.val if self.stream.current_count else None

    @property
    def avg(self) -> float:
        """Mean; 0 while no observation counts."""
        return self.stream.avg

    @property
    def sd(self) -> float:
        """Standard deviation of the population; 0 while no observation counts."""
        return self.stream.sd

    @property
    def min(self) -> float:
        """The smallest value that counts; +inf without any."""
        return self.stream.min

    @property
    def max(self) -> float:
        """The largest value that counts; -inf without any."""
        return self.stream.max

    @property
    def sum(self) -> float:
        """Sum of the values that count."""
        return self.stream.sum

    @property
    def total(self) -> float:
        """Sum of the values that count."""
        return self.stream.total

    @property
    def count(self) -> float:
        """How many values count."""
        return self.stream.count

    def to_json(self, short: bool = False) -> dict[str, Any]:
        """``{avg, min, max, sd, count, unit}``; in full, also the type and the state needed to continue."""
        report = self.stream.to_dict()
        return report if short else {"dtype": "stat_stream", **report, **self.stream.state_dict()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> StatAggregator:
        """An aggregator that continues from the (full or short) JSON of another.

        Raises:
            BadValue: it is not such JSON.
        """
        stream = StatStream.from_dict(data)
        aggregator = StatAggregator(int(stream.drop_obs))
        aggregator.stream = stream
        return aggregator

    @staticmethod
    def lazy(skip: int = 10) -> LazyAggregator:  # type: ignore[override]  # documented signature
        """A callable that makes ``StatAggregator(skip)``."""
        return LazyAggregator(StatAggregator, skip_obs=skip)


class SumAggregator(_WithoutArguments):
    """Stores the sum of the values."""

    def __init__(self) -> None:
        self.spec = ["sum"]
        self._sum: float = 0
        self._last: Any = None

    def append(self, other: Any) -> None:
        """Add one value."""
        self._sum += other
        self._last = other

    @property
    def val(self) -> Any:
        """The last observed value; None before the first."""
        return self._last

    def to_json(self, short: bool = False) -> float:
        """The sum."""
        return self._sum


class TimeSeriesAggregator(_WithoutArguments):
    """Stores every value."""

    def __init__(self) -> None:
        self.spec = ["series"]
        self._values: list[Any] = []

    def append(self, other: Any) -> None:
        """Take one value."""
        self._values.append(other)

    @property
    def val(self) -> Any:
        """The last observed value; None before the first."""
        return self._values[-1] if self._values else None

    def to_json(self, short: bool = False) -> list[Any]:
        """The values, oldest first."""
        return list(self._values)


class ValueAggregator(_WithoutArguments):
    """Stores the latest value only.

    Args:
        val: the value until one is appended.
    """

    def __init__(self, val: Any = None) -> None:
        self.spec = ["value"]
        self._val = val

    def append(self, other: Any) -> None:
        """Replace the value."""
        self._val = other

    @property
    def val(self) -> Any:
        """The last observed value."""
        return self._val

    def to_json(self, short: bool = False) -> Any:
        """The value."""
        return self._val


_KINDS: Final[dict[str, type[Aggregator]]] = {
    "ring": RingAggregator,
    "series": TimeSeriesAggregator,
    "stat": StatAggregator,
    "sum": SumAggregator,
    "value": ValueAggregator,
}


def aggregator_from_spec(spec: Sequence[Any]) -> Aggregator:
    """A new aggregator from its wire form, which may come from a peer.

    Args:
        spec: ``['stat', skip]``, ``['ring', n, dtype]``, ``['series']``, ``['sum']`` or
            ``['value']``.

    Raises:
        BadArguments: it is no such form.
    """
    try:
        kind, *arguments = spec
        made = _KINDS[kind](*arguments)
    except (KeyError, TypeError, ValueError) as error:
        raise BadArguments(
            f"aggregator {spec!r} cannot be made ({error}): use one of {', '.join(sorted(_KINDS))}"
        ) from error
    if made.spec != list(spec):
        raise BadArguments(f"aggregator {spec!r} has missing or extra arguments: write it as {made.spec!r}")
    return made


def is_aggregator(given: object) -> bool:
    """Whether something may be an ``aggregator=`` argument, and is not a value that has this name."""
    return given is None or issubclass(type(given), Aggregator) or callable(given)


def spec_of(aggregator: object) -> list[Any] | None:
    """The wire form of an ``aggregator=`` argument.

    Args:
        aggregator: an aggregator, a callable that makes one, or None.

    Returns:
        None without an argument, or for a class of the user's own, which only this process can run.

    Raises:
        BadArguments: it is neither an aggregator nor makes one.
    """
    if aggregator is None:
        return None
    if isinstance(aggregator, (Aggregator, LazyAggregator)):
        return aggregator.spec
    try:
        made: object = aggregator() if callable(aggregator) else None
    except Exception as error:
        raise BadArguments(f"aggregator: making one failed: {error!r}; correct it") from error
    if not isinstance(made, Aggregator):
        kind = type(aggregator).__name__
        raise BadArguments(f"a {kind} is not an aggregator: use for example StatAggregator.lazy(10)")
    return made.spec


def _check_observations(name: str, value: Any) -> None:
    if type(value) is not int or not 0 <= value <= _MAX_OBSERVATIONS:
        raise BadArguments(f"{name}={value!r} is not an integer of at least 0: give a small number")
