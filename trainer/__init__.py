"""Store in, trained model out.

`open_store(path)` opens a store, `ShardDataset(store, split)` gives its batches to a loop of your own, and `fit`
trains. Each is imported when first used, so that `import trainer` does not import torch.
"""

from heteroshards.lazy import lazily

_HOMES = {
    "ShardDataset": "heteroshards.trainer.reading.dataset",
    "ShardIterable": "heteroshards.trainer.reading.dataset",
    "fit": "heteroshards.trainer.training",
    "open_store": "heteroshards.trainer.reading.store",
    "resolve_store": "heteroshards.trainer.reading.store",
}
__all__ = sorted(_HOMES)
__getattr__ = lazily("trainer", _HOMES)
