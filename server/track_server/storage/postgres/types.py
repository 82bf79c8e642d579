"""How values of Python become values of PostgreSQL, and back.

Text of PostgreSQL has no U+0000.  It and U+0001 are written as two characters each, so that every text has
one form, and texts keep their order.  Bounds of steps are decimals, in which every float and every integer
of 64 bits has its place.  JSON is not parsed here.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from psycopg import Connection
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format
from psycopg.types.numeric import NumericBinaryLoader
from psycopg.types.string import StrDumperUnknown

__all__ = ["adapt", "decimals"]

_ESCAPED: Final = (("\x01", "\x01\x02"), ("\x00", "\x01\x01"))


class _TextDumper(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        if "\x00" in obj or "\x01" in obj:
            for plain, escaped in _ESCAPED:
                obj = obj.replace(plain, escaped)
        return obj.encode()


class _TextLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        text = bytes(data).decode()
        if "\x01" in text:
            for plain, escaped in reversed(_ESCAPED):
                text = text.replace(escaped, plain)
        return text


class _JsonLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        return bytes(data).decode()


class _NumberLoader(NumericBinaryLoader):
    def load(self, data: Buffer) -> Any:
        value = super().load(data)
        return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)


def adapt(connection: Connection[Any]) -> None:
    """Make a connection write and read values like this."""
    adapters = connection.adapters
    adapters.register_dumper(str, _TextDumper)
    for name in ("text", "varchar", "name"):
        adapters.register_loader(name, _TextLoader)
    adapters.register_loader("json", _JsonLoader)
    adapters.register_loader("numeric", _NumberLoader)


def decimals(values: list[int | float | None]) -> list[Decimal | None]:
    """Numbers as decimals that read back as the same numbers."""
    return [None if each is None else Decimal(repr(each)) for each in values]
