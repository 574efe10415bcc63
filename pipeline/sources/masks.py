"""The masks of the seed type that make its splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heteroshards.pipeline.sources.words import nearest
from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.errors import ConfigError, GraphError
from heteroshards.schemas.layout import PREDICT, SCORED_SPLITS

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import HeteroData

ALL_NODES = "all"


def find_masks(data: HeteroData, config: DatasetConfig) -> dict[str, str]:
    """Split -> mask attribute. Default names that the data lacks are left out, as long as there is one for train, or
    a split predict, which needs neither masks nor labels.

    Raises:
        ConfigError: a mask that the config lists does not exist.
    """
    store = data[config.seed_type]
    found = {}
    for split in (split for split in SCORED_SPLITS if split in config.masks and config.random_split is None):
        name = config.masks[split]
        if store.get(name) is not None:
            found[split] = name
        elif "masks" in config.model_fields_set or (split == "train" and config.predict is None):
            hint = "Name the masks in [dataset] masks, or draw splits: [dataset.random_split] train = 0.6, val = 0.2."
            raise ConfigError(
                f"node type '{config.seed_type}' has no mask '{name}'", where="[dataset] masks", hint=hint
            )
    if config.predict not in (None, ALL_NODES):
        found[PREDICT] = str(config.predict)
        if store.get(found[PREDICT]) is None:
            what = f"node type '{config.seed_type}' has no mask '{config.predict}'"
            hint = f"'{ALL_NODES}' is every node. {nearest(found[PREDICT], store.keys())}"
            raise ConfigError(what, where="[dataset] predict", hint=hint)
    return found


def check_mask(mask: Tensor, num_nodes: int, where: str) -> None:
    """Raise `GraphError` unless it is one bool per node."""
    import torch

    if mask.dtype == torch.bool and mask.shape == (num_nodes,):
        return
    hint = "Convert it: mask.bool()."
    if mask.dim() == 2 and len(mask) == num_nodes:
        hint = "Choose one column: there is one split per mask."
    elif mask.shape != (num_nodes,):
        hint = "Make it from node ids: mask = torch.zeros(num_nodes, dtype=torch.bool); mask[ids] = True."
    raise GraphError(
        "a mask is one bool per node",
        actual=f"{mask.dtype} {tuple(mask.shape)}",
        limit=f"torch.bool ({num_nodes},)",
        where=where,
        hint=hint,
    )
