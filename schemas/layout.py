"""Where things lie in a store: pure names, no I/O.

<store>/                                    attributes: {"manifest": {...}, "integrity": {...}}
  features/<node type>/x                    [num_nodes, F]          once, when features = "table"
  features/<edge key>/edge_attr             [num_edges, D]          once, when features = "table"
  features/<node type>/original_id          [num_nodes]             only where [dataset] renumbered the nodes
  <part>/nodes/<node type>/n_id, mask       [batches, nodes]        (+ x when inline)
  <part>/edges/<edge key>/edge_index        [batches, 2, edges]     (+ mask, e_id, edge_attr when inline)
  <part>/all_nodes/n_id, mask               [batches, all nodes]    packed: instead of those of each type
  <part>/all_edges/edge_index               [batches, 2, all edges] packed (+ mask, e_id)
  <part>/seeds/n_id, y, mask                [batches, max_seeds]    split predict: y is -100 where no label is known
  <part>/stats/...                          [batches, ...]          the ledger: what `inspect` reads
  checksums                                 [all chunks, 2]         crc32c and size of each chunk file

A part is what batches of one split have one shape: <part> is `<split>` where all of them have, else
`<split>/shape_<k>` with the budget's number in the manifest.
"""

from typing import Literal, Sequence, Tuple

SCORED_SPLITS: Tuple[str, ...] = ("train", "val", "test")  # every seed has a label, and none belongs to two of them
PREDICT = "predict"  # made on request: seeds of any kind, with the label where there is one
SPLITS: Tuple[str, ...] = (*SCORED_SPLITS, PREDICT)
Purpose = Literal["train", "inference"]  # each is compiled apart
MANIFEST_ATTRIBUTE = "manifest"
INTEGRITY_ATTRIBUTE = "integrity"
ORIGINAL_ID = "original_id"
CHECKSUMS = "checksums"
FEATURES = "features"
SECTIONS = ("nodes", "edges", "seeds", "stats", "all_nodes", "all_edges")  # of a part
Layout = Literal["per_type", "packed"]
ZarrFormat = Literal[2, 3]


def purpose_of(split: str) -> Purpose:
    """What the batches of a split are for."""
    return "train" if split == "train" else "inference"


def feature_path(node_type: str) -> str:
    return f"features/{node_type}/x"


def edge_feature_path(edge_key: str) -> str:
    return f"features/{edge_key}/edge_attr"


def original_id_path(node_type: str) -> str:
    return f"features/{node_type}/{ORIGINAL_ID}"


def part_path(split: str, shape: int, num_parts: int) -> str:
    """Where the batches of one split and shape lie, in a split of so many parts.

    >>> part_path("train", 0, 1), part_path("train", 2, 3)
    ('train', 'train/shape_2')
    """
    return split if num_parts == 1 else f"{split}/shape_{shape}"


def node_path(part: str, node_type: str, tensor: str) -> str:
    return f"{part}/nodes/{node_type}/{tensor}"


def edge_path(part: str, edge_key: str, tensor: str) -> str:
    return f"{part}/edges/{edge_key}/{tensor}"


def packed_path(part: str, path: str) -> str:
    """Where a packed store keeps a tensor of a node or edge type, with those of all other types.

    >>> packed_path("train/shape_2", "train/shape_2/nodes/author/n_id")
    'train/shape_2/all_nodes/n_id'
    """
    return f"{part}/all_{section_of(path)}/{path.rpartition('/')[2]}"


def seed_path(part: str, tensor: str) -> str:
    return f"{part}/seeds/{tensor}"


def stats_path(part: str, tensor: str) -> str:
    return f"{part}/stats/{tensor}"


def section_of(path: str) -> str:
    """What a tensor belongs to: "features" or one of `SECTIONS`, whatever its type is called.

    Of what is no path of ours, anything.

    >>> section_of("train/shape_2/stats/round"), section_of("train/nodes/stats/n_id"), section_of("features/stats/x")
    ('stats', 'nodes', 'features')
    """
    first, second, third, *_ = [*path.split("/"), "", ""]  # a hostile manifest may list anything
    if first == FEATURES:
        return first
    return second if second in SECTIONS else third


def chunk_name(zarr_format: ZarrFormat, index: int, num_dims: int) -> str:
    """Name of the `index`-th chunk along dim 0, relative to its array; other dims have one chunk each.

    >>> chunk_name(2, 7, 3), chunk_name(3, 7, 3)
    ('7.0.0', 'c/7/0/0')
    """
    parts: Sequence[str] = [str(index)] + ["0"] * (num_dims - 1)
    return ".".join(parts) if zarr_format == 2 else "c/" + "/".join(parts)
