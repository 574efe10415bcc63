"""What weights begin with, so that a sum over relations begins at the scale of what is summed.

PyG initialises each convolution as if it were alone. The second moment of its outputs is then, of that of its inputs,
at most the share below; over sixty relations it is forty times as much, layer after layer, and training would begin
far from the loss of guessing.
"""

import math
from typing import Iterable

import torch
from torch import nn
from torch_geometric.nn import GATConv, SAGEConv

SAGE_SHARE = 2 / 3  # two matrices from U(-1 / sqrt(inputs), 1 / sqrt(inputs)), neighbors and own features
GAT_SHARE = 1.0  # one, by Glorot
EDGE_SHARE = 1 / 3  # one as the first two, of features of edges


def embedding_scale(model: str, width: int) -> float:
    """Standard deviation of the vectors of nodes without features: they begin with length 1, as a bag of words has.

    In `hgt`, where attention makes a mean of all relations into a type, with entries of 1: shorter ones are learned too
    slowly, and on DBLP, whose conferences say the most, cost it nine points of accuracy.
    """
    return 1.0 if model == "hgt" else 1 / math.sqrt(width)


@torch.no_grad()
def scale_sum(convs: Iterable[nn.Module]) -> None:
    """Scale the initial weights of what is summed up into one type: SAGEConvs, GATConvs, and linear layers of edges.

    All by one factor, at most 1, so that what they add up to has at most the second moment of their inputs. Few
    relations keep PyG's weights. Attention vectors stay as they are.
    """
    convs = list(convs)
    shares = sum(_share(conv) for conv in convs)
    factor = 1 / math.sqrt(max(1.0, shares))
    for conv in convs:
        for parameter in _summed(conv):
            parameter.mul_(factor)


def _share(conv: nn.Module) -> float:
    if isinstance(conv, nn.Linear):
        return EDGE_SHARE
    return SAGE_SHARE if isinstance(conv, SAGEConv) else GAT_SHARE


def _summed(conv: nn.Module) -> Iterable[nn.Parameter]:
    """The parameters that outputs are linear in."""
    if isinstance(conv, (SAGEConv, nn.Linear)):
        return conv.parameters()
    assert isinstance(conv, GATConv)
    lin_src = conv.lin_src if conv.lin_src is not None else conv.lin
    return [*lin_src.parameters(), *([] if conv.bias is None else [conv.bias])]
