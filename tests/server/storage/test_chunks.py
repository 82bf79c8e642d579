from __future__ import annotations

import zlib

import pytest

from track_protocol.wire.columns import Column, pack, unpack
from track_server.storage.chunk_columns import encode_column
from track_server.storage.chunks import (
    BadChunk,
    assemble,
    decode_chunk,
    decode_chunk_numbers,
    join_columns,
    slice_column,
)

STEPS, TIMES, VALUES = pack([0, 1, 2]), pack([1.5, 2.5, 3.5]), pack(["a", None, 0.5])


def chunk(*, packed: bool) -> bytes:
    columns = (encode_column(column, packed=packed) for column in (STEPS, TIMES, VALUES))
    return assemble(3, *columns)


def sealed(content: bytes) -> bytes:
    return content + zlib.crc32(content).to_bytes(4, "little")


@pytest.mark.parametrize("packed", [False, True])
def test_a_chunk_gives_back_its_columns(packed: bool) -> None:
    assert decode_chunk(chunk(packed=packed)) == (STEPS, TIMES, VALUES)


@pytest.mark.parametrize("packed", [False, True])
def test_a_chunk_gives_back_its_numbers(packed: bool) -> None:
    for sparse in (False, True):
        steps, times, values = decode_chunk_numbers(chunk(packed=packed), sparse=sparse)
        assert (list(steps), list(times)) == ([0, 1, 2], [1.5, 2.5, 3.5])
        assert list(map(repr, values)) == ["nan", "nan", "0.5"]


@pytest.mark.parametrize("packed", [False, True])
def test_any_flipped_bit_is_noticed(packed: bool) -> None:
    intact = chunk(packed=packed)
    for at in range(len(intact)):
        damaged = bytearray(intact)
        damaged[at] ^= 0x10
        with pytest.raises(BadChunk):
            decode_chunk(bytes(damaged))


def test_any_missing_end_is_noticed() -> None:
    intact = chunk(packed=True)
    for end in range(len(intact)):
        with pytest.raises(BadChunk):
            decode_chunk(intact[:end])


def test_a_form_of_the_future_is_refused() -> None:
    with pytest.raises(BadChunk, match="form 2"):
        decode_chunk(sealed(b"\2" + chunk(packed=False)[1:-4]))


def test_a_column_of_another_length_is_refused() -> None:
    columns = [encode_column(column, packed=False) for column in (STEPS, TIMES, VALUES)]
    with pytest.raises(BadChunk):
        decode_chunk(assemble(4, *columns))


def test_an_unknown_form_of_a_column_is_refused() -> None:
    with pytest.raises(BadChunk):
        decode_chunk(
            assemble(
                3, ("q", 99, b""), encode_column(TIMES, packed=False), encode_column(VALUES, packed=False)
            )
        )


def test_columns_of_one_code_are_joined_as_bytes() -> None:
    assert join_columns([pack([1, 2]), pack([3])]) == pack([1, 2, 3])


def test_columns_of_nones_are_joined_as_a_count() -> None:
    assert join_columns([Column("n", 2), Column("n", 3)]) == Column("n", 5)


def test_columns_of_several_codes_are_joined_as_the_values_they_hold() -> None:
    joined = join_columns([pack([1]), pack([2.0]), Column("n", 1), pack(["x"])])
    assert [(type(value), value) for value in unpack(joined)] == [
        (int, 1),
        (float, 2.0),
        (type(None), None),
        (str, "x"),
    ]


@pytest.mark.parametrize(
    "column", [pack([1, 2, 3]), pack([1.0, 2.0, 3.0]), pack([None] * 3), pack(["a", "b", "c"])]
)
def test_a_slice_holds_the_values_between(column: Column) -> None:
    assert list(unpack(slice_column(column, 1, 3))) == list(unpack(column))[1:3]
