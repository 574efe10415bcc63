"""Where things lie in a store: pure names, no I/O.

<store>/                                    attributes: {"manifest": {...}}
  features/<node type>/x                    [num_nodes, F]          once, when features = "table"
  features/<edge key>/edge_attr             [num_edges, D]          once, when features = "table"
  features/<node type>/original_id          [num_nodes]             only where [dataset] renumbered the nodes
  <split>/nodes/<node type>/n_id, mask      [batches, nodes]        (+ x when inline)
  <split>/edges/<edge key>/edge_index       [batches, 2, edges]     (+ mask, e_id, edge_attr when inline)
  <split>/seeds/n_id, y, mask               [batches, max_seeds]
  <split>/stats/...                         [batches, ...]          the ledger: what `inspect` reads
  checksums                                 [all chunks, 2]         crc32c and size of each chunk file
"""

from typing import Literal, Sequence, Tuple

SPLITS: Tuple[str, ...] = ("train", "val", "test")
MANIFEST_ATTRIBUTE = "manifest"
ORIGINAL_ID = "original_id"
CHECKSUMS = "checksums"
ZarrFormat = Literal[2, 3]


def feature_path(node_type: str) -> str:
    return f"features/{node_type}/x"


def edge_feature_path(edge_key: str) -> str:
    return f"features/{edge_key}/edge_attr"


def original_id_path(node_type: str) -> str:
    return f"features/{node_type}/{ORIGINAL_ID}"


def node_path(split: str, node_type: str, tensor: str) -> str:
    return f"{split}/nodes/{node_type}/{tensor}"


def edge_path(split: str, edge_key: str, tensor: str) -> str:
    return f"{split}/edges/{edge_key}/{tensor}"


def seed_path(split: str, tensor: str) -> str:
    return f"{split}/seeds/{tensor}"


def stats_path(split: str, tensor: str) -> str:
    return f"{split}/stats/{tensor}"


def chunk_name(zarr_format: ZarrFormat, index: int, num_dims: int) -> str:
    """Name of the `index`-th chunk along dim 0, relative to its array; other dims have one chunk each.

    >>> chunk_name(2, 7, 3), chunk_name(3, 7, 3)
    ('7.0.0', 'c/7/0/0')
    """
    parts: Sequence[str] = [str(index)] + ["0"] * (num_dims - 1)
    return ".".join(parts) if zarr_format == 2 else "c/" + "/".join(parts)
