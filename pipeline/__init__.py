"""Graph in, store out.

    from heteroshards.pipeline import prepare
    path = prepare(data, config)        # HeteroData and schemas.config.JobConfig -> the store's folder

Importing this package imports neither torch nor numba; the first call does.
"""

from heteroshards.lazy import lazily

__all__ = ["prepare"]
__getattr__ = lazily("pipeline", {"prepare": "heteroshards.pipeline.preparation.run"})
