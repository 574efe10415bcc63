"""Layers that are known not to run on an IPU, found before anything is compiled."""

from typing import List

from torch import nn

from heteroshards.schemas.errors import ModelError

# By class name, so that neither PyG's version nor its optional parts matter.
NO_SELF_LOOPS = {"GATConv", "GATv2Conv", "GCNConv", "HANConv"}  # run with add_self_loops=False only
UNSUPPORTED = {
    "RGCNConv": "use FastRGCNConv",
    "HeteroBatchNorm": "use one BatchNorm per type",
    "HeteroLayerNorm": "use one LayerNorm per type",
}


def unsupported_layers(model: nn.Module, replication_factor: int = 1) -> List[str]:
    """Each layer that PopTorch is known not to run, as "name (Class): what to do". Empty when there is none."""
    found = []
    for name, module in model.named_modules():
        kind = type(module).__name__
        if kind in UNSUPPORTED:
            found.append(f"{name} ({kind}): {UNSUPPORTED[kind]}")
        elif kind in NO_SELF_LOOPS and getattr(module, "add_self_loops", False):
            found.append(f"{name} ({kind}): pass add_self_loops=False")
        elif kind == "RGATConv" and getattr(module, "attention_mechanism", "") == "within-relation":
            found.append(f"{name} ({kind}): use attention_mechanism='across-relation'")
        elif replication_factor > 1 and getattr(module, "running_mean", None) is not None:
            found.append(
                f"{name} ({kind}): its running statistics would differ between replicas; use 1, or no statistics"
            )
        elif getattr(module, "label_smoothing", 0.0):
            found.append(f"{name} ({kind}): label_smoothing is not read on an IPU")
    return found


def require_supported(model: nn.Module, replication_factor: int) -> None:
    """Raises ModelError naming every such layer."""
    found = unsupported_layers(model, replication_factor)
    if found:
        raise ModelError(f"the model has layers that do not run on an IPU: {'; '.join(found)}")
