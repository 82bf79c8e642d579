"""What the values of a container may be, under its documented path."""

from __future__ import annotations

from typing import Final

from track_protocol.model.ring import DTYPES, typecode

__all__ = [
    "DTYPES",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "typecode",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]

int8: Final = DTYPES["int8"]
int16: Final = DTYPES["int16"]
int32: Final = DTYPES["int32"]
int64: Final = DTYPES["int64"]
uint8: Final = DTYPES["uint8"]
uint16: Final = DTYPES["uint16"]
uint32: Final = DTYPES["uint32"]
uint64: Final = DTYPES["uint64"]
float32: Final = DTYPES["float32"]
float64: Final = DTYPES["float64"]
