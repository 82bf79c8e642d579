# ruff: noqa: DTZ001, E501, F601, PLW0108 - of such things the table consists
"""Values that somebody has passed to a log call by mistake, or with good reason."""

from __future__ import annotations

import array
import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import ipaddress
import math
import os
import pathlib
import re
import threading
import types
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel

__all__ = ["ODD_VALUES"]


class Failing:
    """Fails at whatever it is asked."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    def __hash__(self) -> int:
        return 7

    def __bool__(self) -> bool:
        raise RuntimeError("neither")

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __float__(self) -> float:
        raise RuntimeError("no number")


class Classless:
    @property  # type: ignore[misc]  # that is the point
    def __class__(self) -> Any:
        raise RuntimeError("unbound")


class FailingAttributes:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


class FailingMapping(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:
        raise RuntimeError("no item")

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


class Exits:
    def __str__(self) -> str:
        raise KeyError("text")


class Level(enum.Enum):
    LOW = 1
    ODD = object()


class Word(enum.StrEnum):
    A = "a"


class Flags(enum.Flag):
    A = 1
    B = 2


@dataclasses.dataclass
class Unset:
    lr: float = 0.1
    late: int = dataclasses.field(init=False)


@dataclasses.dataclass(frozen=True)
class Nested:
    inner: Any
    cls: type = int


class Model(BaseModel):
    lr: float = 0.1
    names: list[str] = ["a"]


class ModelUnset(BaseModel):
    lr: float


class Slots:
    __slots__ = ("a",)


class OwnInt(int):
    pass


class OwnFloat(float):
    pass


class OwnStr(str):
    pass


class OwnDict(dict[str, Any]):
    pass


class OwnList(list[Any]):
    pass


class OwnScalar:
    """As the scalars of array packages, but of no number."""

    def item(self) -> Any:
        return self

    def tolist(self) -> Any:
        return self


Point = collections.namedtuple("Point", "x y")


def cycle() -> dict[str, Any]:
    it: dict[str, Any] = {"lr": 0.1}
    it["me"] = it
    return it


def cyclic_list() -> list[Any]:
    it: list[Any] = [1]
    it.append(it)
    return it


def deep(levels: int) -> Any:
    it: Any = 1
    for _ in range(levels):
        it = {"a": it}
    return it


def generator() -> Iterator[int]:
    yield 1


class _Held:
    pass


_held = _Held()

_MAKERS: list[Callable[[], Any]] = [
    # numbers
    *(lambda it=it: it for it in (0, -0.0, 1, True, False, None, math.nan, math.inf, -math.inf, 5e-324, 1e308)),
    *(lambda it=it: it for it in (2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 10**30, 1j, complex("nan"))),
    lambda: 10**5000,
    lambda: -(10**5000),
    *(lambda it=it: decimal.Decimal(it) for it in ("0.1", "NaN", "sNaN", "Infinity", "1e999")),
    *(lambda it=it: fractions.Fraction(it) for it in ("1/3", "2")),
    lambda: fractions.Fraction(10**400, 3),
    lambda: OwnInt(3),
    lambda: OwnFloat(0.5),
    *(lambda it=it: it for it in (Level.LOW, Level.ODD, Word.A, Flags.A, Flags.A | Flags.B, enum.Enum)),
    # NumPy
    *(lambda it=it: getattr(np, it)(1) for it in ("int8", "uint64", "int64", "float16", "float32", "longdouble")),
    *(lambda it=it: getattr(np, it)(1) for it in ("complex64", "bool_", "str_", "bytes_", "object_", "void")),
    lambda: np.uint64(2**64 - 1),
    lambda: np.float32("nan"),
    *(lambda it=it: it for it in (np.ma.masked, np.ma.array([1.0, 2.0], mask=[False, True]), np.ma.array([1.0], mask=[True]))),
    lambda: np.ma.array(3.0, mask=True),
    lambda: np.zeros(0),
    lambda: np.zeros(1),
    lambda: np.zeros((2, 3)),
    lambda: np.zeros(70_000),
    lambda: np.ma.zeros(70_000),
    lambda: np.array(["a", None, 1], dtype=object),
    lambda: np.array([Failing()], dtype=object),
    lambda: np.array(["2020-01-01"], dtype="datetime64[D]"),
    lambda: np.datetime64("NaT"),
    lambda: np.timedelta64(3, "s"),
    lambda: np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
    lambda: np.dtype("float32"),
    lambda: np.float32,
    lambda: np.random.default_rng(0),
    lambda: np,
    # texts and bytes
    *(lambda it=it: it for it in ("", "a\x00b", "\r\n", "é", "😀", "\ud800", "\x1b[31m", "NaN", "null", '"', "{}")),
    lambda: "x" * 65_536,
    lambda: "x" * 65_537,
    lambda: "é" * 65_536,
    lambda: "x" * 1_000_000,
    lambda: OwnStr("own"),
    *(lambda it=it: it for it in (b"", b"\xff\x00", bytearray(b"a"))),
    lambda: b"x" * 65_537,
    lambda: memoryview(b"ab"),
    lambda: memoryview(b"abcd").cast("H"),
    lambda: array.array("d", [1.0]),
    # paths, times, addresses
    lambda: pathlib.Path("a/b"),
    lambda: pathlib.PurePosixPath("/"),
    lambda: pathlib.Path(os.fsdecode(b"\xff\xfe")),
    lambda: datetime.datetime(2020, 1, 1),
    lambda: datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    lambda: datetime.date(1, 1, 1),
    lambda: datetime.time(1),
    lambda: datetime.timedelta(days=1),
    lambda: datetime.timedelta.max,
    lambda: uuid.UUID(int=1),
    lambda: ipaddress.ip_address("::1"),
    # containers
    dict,
    list,
    tuple,
    lambda: [[]],
    lambda: ((),),
    lambda: {"a": {}},
    lambda: [None],
    lambda: (1, [2, (3,)]),
    lambda: Point(1, 2),
    lambda: set(),
    lambda: {3, 1, 2},
    lambda: {"b", 1, None},
    lambda: frozenset({(1, 2)}),
    lambda: collections.OrderedDict(a=1),
    lambda: collections.Counter("aab"),
    lambda: collections.defaultdict(list, a=[1]),
    lambda: collections.ChainMap({"a": 1}),
    lambda: collections.deque([1, 2]),
    lambda: types.MappingProxyType({"a": 1}),
    lambda: types.SimpleNamespace(a=1, f=print),
    lambda: OwnDict(a=1),
    lambda: OwnList([1]),
    lambda: range(3),
    lambda: range(10**12),
    lambda: list(range(65_537)),
    lambda: {str(number): number for number in range(65_537)},
    lambda: {1: "a", 2.5: "b", True: "c", (1, 2): "d"},
    lambda: {None: 1, b"k": 2, frozenset({1}): 3},
    lambda: {"a.b": 1, "a": {"b": 2}},
    lambda: {"": 1, " ": 2, "a\nb": 3, "\ud800": 4, "k" * 300: 5},
    lambda: {Failing(): 1, "fine": 2},
    lambda: {10**5000: 1},
    lambda: {math.nan: 1},
    lambda: {"aggregator": 1, "self": 2, "step": 3, "context": 4, "force": 5, "trial": 6, "method": 7},
    cycle,
    cyclic_list,
    *(lambda it=it: deep(it) for it in (20, 33, 100, 900)),
    lambda: {"model": {"act": math.sqrt, "lr": 0.1, "layers": [int, {"p": 0.5}]}},
    lambda: {"lr": 0.1, "callback": lambda: 0, "path": pathlib.Path("x")},
    lambda: [1, Failing(), 3],
    lambda: {"deep": {"odd": {Level.LOW: Level.ODD}}},
    # objects
    Failing,
    FailingAttributes,
    FailingMapping,
    Exits,
    Unset,
    lambda: Nested(Unset()),
    lambda: Nested(Nested(1)),
    Model,
    ModelUnset.model_construct,
    Slots,
    OwnScalar,
    object,
    *(lambda it=it: it for it in (int, Failing, Model, Unset, BaseModel, type, Exception, ...)),
    lambda: NotImplemented,
    lambda: ValueError("bad"),
    lambda: functools.partial(print, 1),
    lambda: functools.lru_cache(math.sqrt),
    lambda: math.sqrt,
    lambda: len,
    lambda: (lambda: 0),
    lambda: math,
    generator,
    lambda: iter([1]),
    lambda: zip([1], [2], strict=True),
    lambda: map(int, "1"),
    lambda: {"a": 1}.items(),
    lambda: {"a": 1}.keys(),
    lambda: {"a": 1}.values(),
    lambda: slice(1, 2),
    lambda: re.compile("a"),
    lambda: re.match("a", "a"),
    lambda: io.StringIO("text"),
    lambda: io.BytesIO(b"x"),
    threading.Lock,
    threading.Event,
    threading.local,
    lambda: weakref.ref(_held),
    lambda: weakref.proxy(_held),
    lambda: weakref.proxy(Unset()),  # of what is gone
    Classless,
    lambda: asyncio.Queue(),
    lambda: property(len),
    lambda: staticmethod(len),
    lambda: super(OwnInt, OwnInt(1)),
    lambda: os.environ,
    lambda: os.stat_result(range(10)),
]  # fmt: skip

ODD_VALUES: dict[str, Any] = {f"v{number}": make() for number, make in enumerate(_MAKERS)}
"""By a name; at least 150 of them."""
