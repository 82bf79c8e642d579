"""Running statistics that several processes may feed and read."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from track.serialization import SerializerStatStream, add_serializer
from track.utils.shared import Piece, new_piece
from track_protocol.model import stat

__all__ = ["StatStream", "StatStreamStruct"]

_FIELDS: Final = ("sum", "sum_sqr", "first_obs", "current_obs", "current_count", "drop_obs", "min", "max")


class StatStreamStruct(ctypes.Structure):
    """The state of running statistics, as it lies in memory that processes share.

    The sums are those of the observations less ``first_obs``: that keeps them near zero, and the variance
    out of the rounding.
    """

    _fields_: ClassVar = [(name, ctypes.c_double) for name in _FIELDS]


class _Number:
    """One number of the statistics, all of which are read at one moment."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self.__doc__ = getattr(stat.StatStream, name).__doc__

    def __get__(self, instance: StatStream | None, owner: type | None = None) -> float:
        # Asked on the class, as tools that read signatures do, it is itself.
        return self if instance is None else getattr(instance.snapshot(), self._name)  # type: ignore[return-value] # as said above


class StatStream:
    """Mean, deviation and range of the observations so far, without the first few.

    Given to another process as an argument (of ``multiprocessing.Process``, or by a fork), it is the same
    stream there: what each process observes counts in all of them.  Pickled in any other way it is a copy.

    Args:
        drop_first_obs: how many observations (their weight) to leave out at the start, which are usually
            slower than the rest.

    Attributes:
        struct: the state.

    Raises:
        OSError: there is no memory to share.
    """

    avg = _Number()
    count = _Number()
    current_count = _Number()
    current_obs = _Number()
    drop_obs = _Number()
    first_obs = _Number()
    max = _Number()
    min = _Number()
    sd = _Number()
    sum = _Number()
    sum_sqr = _Number()
    total = _Number()
    val = _Number()
    var = _Number()

    def __init__(self, drop_first_obs: int = 10) -> None:
        self._lie_in(new_piece())
        self._keep(stat.StatStream(drop_first_obs))

    def _lie_in(self, piece: Piece) -> None:
        self._piece = piece
        self.struct = StatStreamStruct.from_buffer(piece.memory)

    def update(self, val: float, weight: float = 1) -> None:
        """Take one observation, as if it had come `weight` times.

        Raises:
            BadValue: the weight is not positive.
        """
        with self._piece.locked():
            stream = self._read()
            stream.update(val, weight)
            self._keep(stream)

    def snapshot(self) -> stat.StatStream:
        """The statistics as they are now, for this process alone."""
        with self._piece.locked():
            return self._read()

    def to_array(self, transform: Callable[[float], float] | None = None) -> list[float]:
        """``[avg, sd, min, max, count]``, each of the first four through `transform` when given."""
        return self.snapshot().to_array(transform)

    def to_dict(self) -> dict[str, Any]:
        """``{avg, min, max, sd, count, unit}``; the unit is seconds."""
        return self.snapshot().to_dict()

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return self.snapshot().to_json()

    def __iadd__(self, val: float | StatStream) -> StatStream:
        """Take an observation, or all that another stream has counted."""
        other = val.snapshot() if isinstance(val, StatStream) else val
        with self._piece.locked():
            stream = self._read()
            stream += other
            self._keep(stream)
        return self

    def state_dict(self) -> dict[str, Any]:
        """What `from_dict` needs to continue exactly: the fields of `StatStreamStruct`."""
        return self.snapshot().state_dict()

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> StatStream:
        """A stream from its `state_dict` (exact), or from its `to_dict` (sd exact to rounding).

        Raises:
            BadValue: it is neither.
        """
        made = StatStream()
        made._keep(stat.StatStream.from_dict(data))
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.context import get_spawning_popen

        if get_spawning_popen() is None:
            return StatStream.from_dict, (self.state_dict(),)
        return _over, (self._piece,)

    def __repr__(self) -> str:
        return f"StatStream({self.to_dict()})"

    def _read(self) -> stat.StatStream:
        return stat.StatStream.from_dict({name: _plain(getattr(self.struct, name)) for name in _FIELDS})

    def _keep(self, stream: stat.StatStream) -> None:
        for name, value in stream.state_dict().items():
            setattr(self.struct, name, value)


add_serializer(StatStream, SerializerStatStream())


def _over(piece: Piece) -> StatStream:
    stream = StatStream.__new__(StatStream)
    stream._lie_in(piece)
    return stream


def _plain(number: float) -> float:
    """Whole counts and whole sums are whole numbers again, as they were given."""
    return int(number) if number.is_integer() else number
