"""Bytes of a chunk are believed as far as they can hold what is said of them."""

import google_crc32c
import numcodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heteroshards.schemas.errors import CorruptChunkError
from heteroshards.schemas.store.chunks import check_chunk, decode_chunk, require_plausible
from heteroshards.schemas.tensors import CODECS, TensorSpec

ENCODE = {
    "none": lambda rows: rows.tobytes(),
    "blosc-lz4": lambda rows: bytes(numcodecs.Blosc("lz4", shuffle=1).encode(rows)),
    "zstd": lambda rows: bytes(numcodecs.Zstd(1).encode(rows)),
}


def spec_of(codec, shape=(5, 7)):
    values = {"role": "stats", "part": "train", "name": "a", "dims": ("x", "y"), "shape": shape}
    return TensorSpec(**values, chunk_rows=shape[0], dtype="int32", codec=codec)


def make(size):
    return np.empty(size, np.uint8)


@pytest.mark.parametrize("codec", CODECS)
@given(st.integers(1, 40), st.integers(1, 3000), st.integers(0, 3))
def test_what_was_encoded_is_decoded(codec, rows, columns, values):
    array = np.random.default_rng(rows).integers(0, values + 1, (rows, columns), np.int32)
    found = decode_chunk(spec_of(codec, array.shape), ENCODE[codec](array), make)
    assert (found.view(np.int32).reshape(array.shape) == array).all()


@pytest.mark.parametrize("codec", CODECS)
@given(cut=st.integers(0, 40), place=st.integers(0, 200), value=st.integers(0, 255))
def test_any_other_bytes_are_damage_or_as_many(codec, cut, place, value):
    """Never a crash, never another size, and no memory is asked for that the file could not fill."""
    data = bytearray(ENCODE[codec](np.arange(35, dtype=np.int32).reshape(5, 7)))
    data = data[: max(0, len(data) - cut)]
    if data:
        data[place % len(data)] = value
    asked = []
    try:
        found = decode_chunk(spec_of(codec), bytes(data), lambda size: asked.append(size) or make(size))
        assert found.nbytes == 140
    except CorruptChunkError as error:
        assert "make prepare" in str(error)
    assert set(asked) <= {140}


def test_size_and_checksum_are_compared():
    data = b"some bytes"
    crc = google_crc32c.value(data)
    check_chunk(data, crc, len(data))
    check_chunk(data, crc + 1, len(data), check_crc=False)
    with pytest.raises(CorruptChunkError, match="checksum"):
        check_chunk(data, crc + 1, len(data))
    with pytest.raises(CorruptChunkError, match="wrong size; got 10"):
        check_chunk(data, crc, 11, check_crc=False)


def test_a_file_holds_only_so_much():
    require_plausible("blosc-lz4", 255 * 100, 100)
    with pytest.raises(CorruptChunkError, match=r"hold more than its file can.*at most 25500 bytes"):
        require_plausible("blosc-lz4", 255 * 100 + 1, 100)
