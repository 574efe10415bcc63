"""Errors for users. Each says what is wrong, the actual value, the limit, where, and what to do next.

`assert` is for invariants of this code; everything a user can cause is one of these.
"""

from typing import Any, Optional, Tuple, TypeVar

E = TypeVar("E", bound="HeteroShardsError")
C = TypeVar("C", bound="CorruptChunkError")


class HeteroShardsError(Exception):
    """Base of every error a user can cause.

    Args:
        what: the problem, as a sentence without a full stop.
        actual: the value that was found.
        limit: what it must be, or must not exceed.
        where: the type, file, tensor, split or batch concerned.
        hint: what to do next, as a sentence.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        actual: Any = None,
        limit: Any = None,
        where: Optional[str] = None,
        hint: Optional[str] = None,
    ) -> None:
        self.what = what
        self.actual = actual
        self.limit = limit
        self.where = where
        self.hint = hint
        super().__init__(self._message())

    def at(self: E, where: str) -> E:
        """The same error, with the place where it happened."""
        place = f"{where}: {self.where}" if self.where else where
        return type(self)(self.what, actual=self.actual, limit=self.limit, where=place, hint=self.hint)

    def _message(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.actual is not None:
            parts.append(f"got {self.actual}")
        if self.limit is not None:
            parts.append(f"expected {self.limit}")
        message = "; ".join(parts) + "."
        return f"{message} {self.hint}" if self.hint else message


class ConfigError(HeteroShardsError):
    """A config file or option is unreadable, misspelt or contradictory."""

    exit_code = 2


class DatasetError(HeteroShardsError):
    """The source data cannot be found, downloaded or loaded."""

    exit_code = 3


class GraphError(HeteroShardsError):
    """The source graph is malformed (indices, features, labels, masks)."""

    exit_code = 3


class BudgetError(HeteroShardsError):
    """The data does not fit the requested budget."""

    exit_code = 4


class StoreError(HeteroShardsError):
    """A store is missing, locked, or cannot be read or written."""

    exit_code = 5


class StoreUnreachableError(StoreError):
    """A server did not answer, or answered with an error, as often as it was asked. Nothing is said of the store."""


class StoreIncompleteError(StoreError):
    """A store was not finished."""


class FormatVersionError(StoreError):
    """A store has a format version this program does not know."""


class ManifestError(StoreError):
    """A store's manifest is malformed or contradicts itself."""


class CorruptMetadataError(StoreError):
    """A store's description of itself (root attributes, an array's metadata) is missing or fails its checksum."""


class CorruptChunkError(StoreError):
    """A chunk is missing, truncated or fails its checksum.

    Attributes:
        split: the split whose batches it holds; None where it holds none (features, checksums).
        batches: the first and the last of them, as the split numbers its batches.
        file: the chunk's file or address.
    """

    split: Optional[str] = None
    batches: Optional[Tuple[int, int]] = None
    file: Optional[str] = None

    def of(self: C, file: str, place: str, split: Optional[str], batches: Optional[Tuple[int, int]]) -> C:
        """The same error, with the chunk that it is about; `place` says it in words."""
        error = self.at(f"{file} ({place})")
        error.file, error.split, error.batches = file, split, batches
        return error


class StoreChangedError(StoreError):
    """A store was replaced, rewritten or removed while it was read."""


class SignatureMismatchError(StoreError):
    """A store's shapes differ from those the model was compiled for or trained on."""


class ModelError(HeteroShardsError):
    """A model cannot be built, or breaks the contract for user models."""

    exit_code = 6


class BackendError(HeteroShardsError):
    """A backend is not available here or failed."""

    exit_code = 7


class CheckpointError(HeteroShardsError):
    """A checkpoint is missing, unreadable or belongs to another run."""

    exit_code = 8


class OutOfRangeError(HeteroShardsError, IndexError):
    """There is no batch or round of this number. Also an IndexError, which is how a sequence says that it ends."""

    exit_code = 2


class UnexpectedError(HeteroShardsError):
    """A fault of this program, or of code that it was handed; the cause is attached."""

    exit_code = 70


DAMAGED_STORE_EXIT_CODE = 9  # no error: what `pipeline verify` ends with when it finds something
