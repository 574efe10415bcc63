"""Random numbers as pure functions of coordinates: no state that a worker, a thread or a library version owns.

The generator is SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014): a
64-bit counter whose every value is hashed. A stream is started from hashed coordinates.
"""

import hashlib

import numpy as np

from heteroshards.schemas.layout import SPLITS

GOLDEN = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB


def hash64(values: np.ndarray) -> np.ndarray:
    """SplitMix64's output function, elementwise, uint64 -> uint64 (a bijection)."""
    z = values.astype(np.uint64) + np.uint64(GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(MIX_2)
    return z ^ (z >> np.uint64(31))


def stream_root(rng_seed: int, purpose: str, split: str, round_index: int) -> np.uint64:
    """The root key of one purpose ("group", "sample") in one round of one split."""
    coordinates = f"{purpose}/{rng_seed}/{SPLITS.index(split)}/{round_index}"
    return np.uint64(int.from_bytes(hashlib.sha256(coordinates.encode()).digest()[:8], "little"))


def keyed(root: np.uint64, values: np.ndarray) -> np.ndarray:
    """One uint64 key per value, independent of every other value and root."""
    return hash64(hash64(values) ^ root)
