"""One chunk of one array: whether its file's bytes are those that were written, and what they hold.

Both sides read chunks. What a store says of itself decides how much memory that takes, and a store may be damaged or
made by somebody else: so nothing is believed that the bytes at hand could not hold.
"""

import struct
from typing import Any, Callable, Dict

import numcodecs
import numpy as np

from heteroshards.schemas.errors import CorruptChunkError
from heteroshards.schemas.store.checks import REBUILD, Bytes, difference
from heteroshards.schemas.tensors import TensorSpec

# Content per byte of file, at most: an LZ4 run adds 255 bytes per byte, a Zstandard block has 4 bytes for 128 KiB.
MAX_RATIO = {"none": 1, "blosc-lz4": 255, "zstd": 2**15}
BLOSC_HEADER = struct.Struct("<4x3i")  # bytes of content, of a block, of the frame
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def require_plausible(codec: str, chunk_bytes: int, num_bytes: int) -> None:
    """Raises CorruptChunkError when no file of `num_bytes` holds a chunk of `chunk_bytes`."""
    if chunk_bytes > num_bytes * MAX_RATIO[codec]:
        raise CorruptChunkError(
            "a chunk is said to hold more than its file can",
            actual=f"{chunk_bytes} bytes in a file of {num_bytes}, codec {codec}",
            limit=f"at most {num_bytes * MAX_RATIO[codec]} bytes",
            hint=REBUILD,
        )


def check_chunk(data: Bytes, crc: int, num_bytes: int, check_crc: bool = True) -> None:
    """Raises CorruptChunkError when a chunk file's bytes are not of this size and crc32c."""
    wrong = difference(data, crc if check_crc else None, num_bytes)
    if wrong:
        what, actual, limit = wrong
        raise CorruptChunkError(f"a chunk {what}", actual=actual, limit=limit, hint=REBUILD)


def decode_chunk(spec: TensorSpec, data: Bytes, make: Callable[[int], np.ndarray]) -> np.ndarray:
    """The content of a chunk file, uint8 [chunk_bytes], in memory that `make(chunk_bytes)` gives.

    It is asked for only when the file's own headers say that it holds so much.

    Raises:
        CorruptChunkError: the bytes are no chunk of this array.
    """
    codec, num_bytes = spec.codec, spec.chunk_bytes
    require_plausible(codec, num_bytes, len(data))
    try:
        if _content_bytes(codec, data) != num_bytes:
            raise ValueError("it holds another number of bytes")
        out = make(num_bytes)
        if codec == "none":
            out[:] = np.frombuffer(data, np.uint8)
        else:
            _DECOMPRESS[codec](data, out)
        return out
    except (ValueError, RuntimeError, IndexError) as error:
        raise CorruptChunkError(f"a chunk does not decode ({error})", hint=REBUILD) from None


# Frames carry their own parameters, so the codecs' own functions will do; `Blosc.decode` adds a third to a small chunk.
_DECOMPRESS: Dict[str, Any] = {"blosc-lz4": numcodecs.blosc.decompress, "zstd": numcodecs.zstd.decompress}


def _content_bytes(codec: str, data: Bytes) -> int:
    """What the headers of an encoded chunk say that it holds. The decoders believe them, some without looking at how
    many bytes there are."""
    if codec == "none":
        return len(data)
    head = bytes(data[:18])
    if codec == "blosc-lz4":
        content, _, frame = BLOSC_HEADER.unpack_from(head) if len(head) >= BLOSC_HEADER.size else (0, 0, -1)
        if frame != len(data):
            raise ValueError("it is no whole Blosc frame")
        return int(content)
    if head[:4] != ZSTD_MAGIC:
        raise ValueError("it is no Zstandard frame")
    flags = head[4]  # RFC 8878, 3.1.1.1
    is_single, num_size_bytes = flags >> 5 & 1, (0, 2, 4, 8)[flags >> 6]
    start = 5 + (1 - is_single) + (0, 1, 2, 4)[flags & 3]
    if num_size_bytes == 0 and not is_single:
        raise ValueError("it does not say how much it holds")
    size = int.from_bytes(head[start : start + max(1, num_size_bytes)], "little")
    return size + (256 if num_size_bytes == 2 else 0)
