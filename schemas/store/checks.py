"""Whether bytes are those that were written."""

from typing import Optional, Tuple, Union

import google_crc32c
import numpy as np

Bytes = Union[np.ndarray, bytes]
CRC = "crc32c {:08x}"
REBUILD = "The store is damaged: build it again with `make prepare` (or `heteroshards prepare --force`)."


def difference(data: Bytes, crc: Optional[int], num_bytes: Optional[int]) -> Optional[Tuple[str, str, str]]:
    """How a file's bytes differ from those that were written: (what, actual, expected), None when they do not.

    A crc32c or size that is None is not compared.
    """
    if num_bytes is not None and len(data) != num_bytes:
        return "has the wrong size", f"{len(data)} bytes", f"{num_bytes} bytes"
    found = crc if crc is None else google_crc32c.value(data)
    return None if found == crc else ("fails its checksum", CRC.format(found), CRC.format(crc))
