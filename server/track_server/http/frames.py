"""Series as ``application/x-track-columns``: a browser reads each column in place, as a ``Float64Array``.

::

    u32le length of the header | header, JSON | zero bytes up to a multiple of 8 | float64le columns, end to
end

The header is ``{"series": [null | {"error": text} | {…, "n": points, "arrays": [names of the columns, in
order]}]}``."""

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
        sizes = {len(value) for value in arrays.values()}
        if len(sizes) > 1 or any(size % _WIDTH for size in sizes):
            raise InternalError(f"the columns {', '.join(arrays)} of a series differ in length: report it")
        if "error" not in scalars:
            scalars |= {"n": max(sizes, default=0) // _WIDTH, "arrays": list(arrays)}
        described.append(scalars)
        columns += arrays.values()
    header = to_json({"series": described})
    padding = bytes(-(4 + len(header)) % _WIDTH)
    return b"".join([len(header).to_bytes(4, "little"), header, padding, *columns])
