"""What is predicted: labels of the seed type, and the masks that make its splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.datasets.words import nearest
from schemas.config import DatasetConfig
from schemas.errors import ConfigError, GraphError
from schemas.layout import SPLITS

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import HeteroData

MAX_CLASSES = 2**20


def find_targets(data: HeteroData, config: DatasetConfig) -> dict[str, str]:
    """Split -> mask attribute. Default names that the data lacks are left out, as long as there is one for train.

    Raises:
        ConfigError: the seed type, its label, or a mask that the config lists does not exist.
    """
    if config.seed_type not in data.node_types:
        raise ConfigError(
            f"the graph has no node type '{config.seed_type}'",
            where="[dataset] seed_type",
            hint=nearest(config.seed_type, data.node_types),
        )
    store = data[config.seed_type]
    if store.get(config.label) is None:
        raise ConfigError(
            f"node type '{config.seed_type}' has no label '{config.label}'",
            where="[dataset] label",
            hint=nearest(config.label, store.keys()),
        )
    if config.random_split is not None:
        return {}
    found = {}
    for split in (split for split in SPLITS if split in config.masks):
        name = config.masks[split]
        if store.get(name) is not None:
            found[split] = name
        elif "masks" in config.model_fields_set or split == "train":
            hint = "Name the masks in [dataset] masks, or draw splits: [dataset.random_split] train = 0.6, val = 0.2."
            raise ConfigError(
                f"node type '{config.seed_type}' has no mask '{name}'", where="[dataset] masks", hint=hint
            )
    return found


def check_labels(y: Tensor, num_nodes: int, where: str) -> tuple[int, list[str]]:
    """The number of classes, after checking that there is one integer class per node; and lines worth reading."""
    import torch

    if y.dim() != 1 or len(y) != num_nodes:
        hint = "Several labels per node are not supported." if y.dim() > 1 else "Unlabelled nodes have label -1."
        raise GraphError(
            "labels must be one class per node",
            actual=f"shape {tuple(y.shape)}",
            limit=f"({num_nodes},)",
            where=where,
            hint=hint,
        )
    if y.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        hint = "Only classification is supported; convert classes with .long()."
        raise GraphError("labels must be integers", actual=y.dtype, where=where, hint=hint)
    most = int(y.max()) if len(y) else -1
    if most < 0:
        hint = "Classes count from 0; negative ones mean that a node has no label."
        raise GraphError(
            "no node has a label", actual=f"largest class {most}", limit="0 or more", where=where, hint=hint
        )
    if most >= MAX_CLASSES:
        hint = "Number the classes from 0: torch.unique(y, return_inverse=True)."
        limit = f"0 to {MAX_CLASSES - 1}"
        raise GraphError("the largest class is out of range", actual=most, limit=limit, where=where, hint=hint)
    num_labelled = int((y >= 0).sum())
    if most + 1 > num_labelled:
        text = f"{most + 1} classes (the largest is {most}), but only {num_labelled} nodes with a label"
        return most + 1, [f"warning: {where}: {text}; a model predicts all of them"]
    return most + 1, []


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
