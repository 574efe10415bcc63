"""Store in, trained model out.

`open_store(path)` opens a store, `ShardDataset(store, split)` gives its batches to a loop of your own, and `fit`
trains. Each is imported when first used, so that `import trainer` does not import torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "ShardDataset": "heteroshards.trainer.reading.dataset",
    "ShardIterable": "heteroshards.trainer.reading.dataset",
    "fit": "heteroshards.trainer.training",
    "open_store": "heteroshards.trainer.reading.store",
    "resolve_store": "heteroshards.trainer.reading.store",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'trainer' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
