"""Which torch this is."""

from typing import Tuple

import torch


def torch_version() -> Tuple[int, ...]:
    """(major, minor)."""
    return tuple(int(part) for part in torch.__version__.split(".")[:2])
