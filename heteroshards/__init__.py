"""Fixed-shape mini-batches of heterogeneous graphs: sampled once, padded with proof, streamed into compiled models.

    from heteroshards import JobConfig, fit, open_store, prepare
    store = prepare(data, JobConfig(name="mine", dataset={"seed_type": "paper"}))     # HeteroData -> the store's folder

`pipeline` makes stores, `trainer` reads them, `schemas` is what both agree on. Each name is imported when first used:
`import heteroshards` imports neither torch nor numba.
"""

from pathlib import Path

from heteroshards.lazy import lazily

__version__ = "0.1.0"

_HOMES = {
    "JobConfig": "heteroshards.schemas.config",
    "ShardDataset": "heteroshards.trainer.reading.dataset",
    "ShardIterable": "heteroshards.trainer.reading.dataset",
    "evaluate": "heteroshards.trainer.trained",
    "fit": "heteroshards.trainer.training",
    "open_store": "heteroshards.trainer.reading.store",
    "predict": "heteroshards.trainer.trained",
    "prepare": "heteroshards.pipeline.preparation.run",
}
__all__ = ["__version__", *sorted(_HOMES)]

_CHECKOUT = Path(__file__).resolve().parents[1]
if (_CHECKOUT / "pyproject.toml").exists() and (_CHECKOUT / "schemas" / "manifest.py").exists():
    # An installation has the three rooms in here. In a checkout they are folders of their own, beside this one.
    __path__.append(str(_CHECKOUT))

__getattr__ = lazily("heteroshards", _HOMES)
