"""Random damage and random graphs, as many as there is time for: `python -m tests.fuzz.<module> --cases N --seed S`."""

from heteroshards.schemas.errors import HeteroShardsError, UnexpectedError


def is_foreseen(error: BaseException) -> bool:
    """An error that names its cause, not one that the seam wrapped because nothing below knew it."""
    return isinstance(error, HeteroShardsError) and not isinstance(error, UnexpectedError)
