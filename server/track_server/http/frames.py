"""Series as ``application/x-track-columns``: a browser reads each column in place, as a ``Float64Array``.

::

    u32le length of the header | header, JSON | zero bytes up to a multiple of 8 | float64le columns, end to
end

The header is ``{"series": [null | {"error": text} | {…, "n": points, "arrays": [the columns, in order]}]}``.
A column is its name, ``[name]`` if all of its numbers are the same, of which there is then one, or ``[name,
other]`` if they are those of another one before it, and none follow: charts have many such columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from track_protocol.errors import InternalError
from track_server.http.values import to_json

__all__ = ["MEDIA_TYPE", "columns_frame"]

MEDIA_TYPE: Final = "application/x-track-columns"

_WIDTH: Final = 8


def columns_frame(series: Iterable[Mapping[str, Any] | None]) -> bytes:
    """The frame of some series.

    Args:
        series: one mapping each, in which the values that are bytes are columns of equal length; None
            for one that is missing.
    """
    described: list[Mapping[str, Any] | None] = []
    columns: list[bytes] = []
    for each in series:
        if each is None:
            described.append(None)
            continue
        arrays = {name: value for name, value in each.items() if isinstance(value, bytes)}
        scalars = {name: value for name, value in each.items() if name not in arrays}
        told: list[str | list[str]] = []
        sizes = {len(value) for value in arrays.values()}
        if len(sizes) > 1 or any(size % _WIDTH for size in sizes):
            raise InternalError(f"the columns {', '.join(arrays)} of a series differ in length: report it")
        names: dict[bytes, str] = {}
        for name, data in arrays.items():
            other = names.setdefault(data, name)
            if other != name:
                told.append([name, other])
            elif len(data) > _WIDTH and data == data[:_WIDTH] * (len(data) // _WIDTH):
                told.append([name])
                columns.append(data[:_WIDTH])
            else:
                told.append(name)
                columns.append(data)
        if "error" not in scalars:
            scalars |= {"n": max(sizes, default=0) // _WIDTH, "arrays": told}
        described.append(scalars)
    header = to_json({"series": described})
    padding = bytes(-(4 + len(header)) % _WIDTH)
    return b"".join([len(header).to_bytes(4, "little"), header, padding, *columns])
