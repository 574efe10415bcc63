"""Where things lie in a store: pure names, no I/O.

<store>/                                    attributes: {"manifest": {...}, "integrity": {...}}
  features/<node type>/x                    [num_nodes, F]          once, when features = "table"; each attribute
  features/<edge key>/edge_attr             [num_edges, D]          by its name
  features/<node type>/original_id          [num_nodes]             only where [dataset] renumbered the nodes
  <part>/nodes/<node type>/n_id, mask       [batches, nodes]        (+ attributes when inline)
  <part>/edges/<edge key>/edge_index        [batches, 2, edges]     (+ mask, e_id, attributes when inline)
  <part>/all_nodes/n_id, mask               [batches, all nodes]    packed: instead of those of each type
  <part>/all_edges/edge_index               [batches, 2, all edges] packed (+ mask, e_id)
  <part>/seeds/n_id, row, mask              [batches, max_seeds]    row: which one it is of all seeds of the source
  <part>/seeds/targets/<name>               [batches, max_seeds]    its pad value where nothing is known
  <part>/seeds/time                         [batches, max_seeds]    where seeds ask at a time
  <part>/nodes/<node type>/tree, age        [batches, nodes]        disjoint samples; types with times
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
Layout = Literal["per_type", "packed"]
Role = Literal[
    "node_table", "edge_table", "nodes", "edges", "all_nodes", "all_edges", "seeds", "targets", "stats", "checksums"
]
TABLES: Tuple[Role, ...] = ("node_table", "edge_table")  # stored once, a row per global id
PACKED: Tuple[Role, ...] = ("all_nodes", "all_edges")  # of all types together
ZarrFormat = Literal[2, 3]


def purpose_of(split: str) -> Purpose:
    """What the batches of a split are for."""
    return "train" if split == "train" else "inference"


def tensor_path(role: Role, part: str, owner: str, name: str) -> str:
    """Where a tensor lies; nobody takes a path apart to learn what it is, `TensorSpec` says so.

    Args:
        part: of whose batches it is; "features" for tables, "" for what is of the whole store.
        owner: the node type or edge type key that it is of; "" for what is of none.

    >>> tensor_path("nodes", "train/shape_2", "author", "n_id"), tensor_path("node_table", FEATURES, "author", "x")
    ('train/shape_2/nodes/author/n_id', 'features/author/x')
    """
    folder = "seeds/targets" if role == "targets" else "" if role in (*TABLES, "checksums") else role
    return "/".join(component for component in (part, folder, owner, name) if component)


def feature_path(node_type: str, attribute: str = "x") -> str:
    return tensor_path("node_table", FEATURES, node_type, attribute)


def edge_feature_path(edge_key: str, attribute: str = "edge_attr") -> str:
    return tensor_path("edge_table", FEATURES, edge_key, attribute)


def original_id_path(node_type: str) -> str:
    return tensor_path("node_table", FEATURES, node_type, ORIGINAL_ID)


def part_path(split: str, shape: int, num_parts: int) -> str:
    """Where the batches of one split and shape lie, in a split of so many parts.

    >>> part_path("train", 0, 1), part_path("train", 2, 3)
    ('train', 'train/shape_2')
    """
    return split if num_parts == 1 else f"{split}/shape_{shape}"


def node_path(part: str, node_type: str, tensor: str) -> str:
    return tensor_path("nodes", part, node_type, tensor)


def edge_path(part: str, edge_key: str, tensor: str) -> str:
    return tensor_path("edges", part, edge_key, tensor)


def seed_path(part: str, tensor: str) -> str:
    return tensor_path("seeds", part, "", tensor)


def target_path(part: str, name: str) -> str:
    return tensor_path("targets", part, "", name)


def stats_path(part: str, tensor: str) -> str:
    return tensor_path("stats", part, "", tensor)


def chunk_name(zarr_format: ZarrFormat, index: int, num_dims: int) -> str:
    """Name of the `index`-th chunk along dim 0, relative to its array; other dims have one chunk each.

    >>> chunk_name(2, 7, 3), chunk_name(3, 7, 3)
    ('7.0.0', 'c/7/0/0')
    """
    parts: Sequence[str] = [str(index)] + ["0"] * (num_dims - 1)
    return ".".join(parts) if zarr_format == 2 else "c/" + "/".join(parts)
