"""What is predicted: labels of the seed type, and the masks that make its splits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heteroshards.pipeline.sources.words import nearest
from heteroshards.schemas.config import MAX_CLASSES, DatasetConfig
from heteroshards.schemas.errors import ConfigError, GraphError
from heteroshards.schemas.layout import PREDICT, SCORED_SPLITS
from heteroshards.schemas.notes import Note

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import HeteroData

ALL_NODES = "all"


def find_targets(data: HeteroData, config: DatasetConfig) -> dict[str, str]:
    """Split -> mask attribute. Default names that the data lacks are left out, as long as there is one for train, or
    a split predict, which needs neither masks nor labels.

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
    _require_label(store, config)
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


def _require_label(store: Any, config: DatasetConfig) -> None:
    """Only who predicts and says how many classes there are may do without."""
    if store.get(config.label) is not None:
        return
    what = f"node type '{config.seed_type}' has no label '{config.label}'"
    if config.predict is None:
        raise ConfigError(what, where="[dataset] label", hint=nearest(config.label, store.keys()))
    if config.num_classes is None:
        hint = "Say how many classes the model knows: [dataset] num_classes."
        raise ConfigError(f"{what}, so the number of classes is unknown", where="[dataset] num_classes", hint=hint)


def unlabelled(num_nodes: int) -> Tensor:
    """Labels of nodes of which none is known: int64 [num_nodes], -1."""
    import torch

    return torch.full((num_nodes,), -1)


def check_labels(y: Tensor, num_nodes: int, where: str, num_classes: int | None = None) -> tuple[int, list[Note]]:
    """The number of classes, after checking that there is one integer class per node; and lines worth reading.

    Args:
        num_classes: how many there shall be; None is the largest class + 1.
    """
    import torch

    if y.dim() != 1 or len(y) != num_nodes:
        hint = "Unlabelled nodes have label -1."
        if y.dim() > 1:
            hint = "Several labels per node are not supported; y.argmax(1) makes classes of one-hot rows."
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
    if most < 0 and num_classes is None:
        hint = "Classes count from 0; negative ones mean that a node has no label."
        raise GraphError(
            "no node has a label", actual=f"largest class {most}", limit="0 or more", where=where, hint=hint
        )
    if most >= MAX_CLASSES:
        hint = "Number the classes from 0: torch.unique(y, return_inverse=True)."
        limit = f"0 to {MAX_CLASSES - 1}"
        raise GraphError("the largest class is out of range", actual=most, limit=limit, where=where, hint=hint)
    if num_classes is not None:
        if most >= num_classes:
            limit, hint = f"below num_classes = {num_classes}", "Raise [dataset] num_classes, or leave it out."
            raise GraphError("the largest class is out of range", actual=most, limit=limit, where=where, hint=hint)
        return num_classes, []
    num_labelled = int((y >= 0).sum())
    if most + 1 > num_labelled:
        text = f"{most + 1} classes (the largest is {most}), but only {num_labelled} nodes with a label"
        return most + 1, [Note(code="many_classes", concerns=where, message=f"{text}; a model predicts all of them")]
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
