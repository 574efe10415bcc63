"""Names of types and targets, which become folders of a store."""

import re
from collections import Counter
from typing import Iterable, Optional

MAX_NAME_BYTES = 200
_FORBIDDEN = re.compile(r"[/\\\x00-\x1f]")


def is_safe_name(name: str) -> bool:
    """Whether it can be one component of a path in a store."""
    is_reserved = name.startswith(".") or name == "zarr.json"
    return bool(name) and not is_reserved and len(name.encode()) <= MAX_NAME_BYTES and not _FORBIDDEN.search(name)


def repeated(names: Iterable[str]) -> Optional[str]:
    """The first, by the alphabet, of the names that are there more than once; None where each is there once."""
    return min((name for name, count in Counter(names).items() if count > 1), default=None)


def check_name(name: str, of: str = "type") -> str:
    """Raises ValueError unless a name can be a folder of a store, one path component; `of` says what is named."""
    if not is_safe_name(name):
        raise ValueError(
            f"{of} name {name!r} cannot name a folder: it must be 1 to {MAX_NAME_BYTES} bytes, without slashes, "
            "backslashes or control characters, not start with a dot, and not be zarr.json"
        )
    return name
