"""Graph in, store out.

    from heteroshards.pipeline import prepare
    path = prepare(data, config)        # HeteroData and schemas.config.JobConfig -> the store's folder

Importing this package imports neither torch nor numba; the first call does.
"""

from typing import Any

__all__ = ["prepare"]


def __getattr__(name: str) -> Any:
    if name == "prepare":
        from heteroshards.pipeline.preparation.run import prepare

        return prepare
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
