"""The packed layout: of each kind, the arrays of all node or edge types joined to one, type after type.

A graph with hundreds of relations has thousands of tensors of a few hundred bytes each, and a file system that takes 4
KiB for every one of them. In a packed store they are columns of `<part>/all_nodes/n_id, mask` and of
`<part>/all_edges/edge_index, mask, e_id`. Tensors keep the names that they have in a store with an array per type:
those say what is read, `Columns` where it lies. Features stay arrays of their type's own width.
"""

from typing import Dict, Iterable, List, NamedTuple, Sequence

from heteroshards.schemas import layout
from heteroshards.schemas.tensors import TensorSpec

PACKED = ("n_id", "mask", "edge_index", "e_id")
_ROLES: Dict[layout.Role, layout.Role] = {"nodes": "all_nodes", "edges": "all_edges"}

# `auto` packs where a part has more arrays than this, and their chunks are smaller on average (before compression): a
# store of more than 64 files per MiB.
AUTO_ARRAYS = 100
AUTO_CHUNK_BYTES = 16 * 2**10


class Columns(NamedTuple):
    """Where a tensor lies in a packed store: in `path`, at `start` to `stop` of the last dimension."""

    path: str
    start: int
    stop: int


def is_packable(spec: TensorSpec) -> bool:
    """Whether a tensor of a store with an array per type is no array of its own in a packed one."""
    return spec.role in _ROLES and spec.name in PACKED


def columns(tensors: Iterable[TensorSpec]) -> Dict[str, Columns]:
    """tensor path -> its columns, of all tensors of a part that are packed; types in the order of `tensors`."""
    found: Dict[str, Columns] = {}
    ends: Dict[str, int] = {}
    for spec in tensors:
        if is_packable(spec):
            path = layout.tensor_path(_ROLES[spec.role], spec.part, "", spec.name)
            start = ends.get(path, 0)
            ends[path] = start + spec.shape[-1]
            found[spec.path] = Columns(path, start, ends[path])
    return found


def pack(tensors: Sequence[TensorSpec]) -> List[TensorSpec]:
    """The arrays of a part of a packed store, from the tensors of all its types."""
    place = columns(tensors)
    members: Dict[str, List[TensorSpec]] = {}
    for spec in tensors:
        members.setdefault(place[spec.path].path if spec.path in place else spec.path, []).append(spec)
    return [_join(of, place) if of[0].path in place else of[0] for of in members.values()]


def _join(members: Sequence[TensorSpec], place: Dict[str, Columns]) -> TensorSpec:
    first, kind = members[0], members[0].role[:-1]
    at = [place[spec.path] for spec in members]
    owners = ", ".join(f"{spec.owner} {start}:{stop}" for spec, (_, start, stop) in zip(members, at))
    text = {
        "edge_index": "local ids: row 0 into sources, row 1 into targets; pad edges join the last (pad) rows",
        "mask": f"True where the {kind} is real",
    }.get(first.name, f"global {kind} id, -1 in pads")
    return TensorSpec(
        role=_ROLES[first.role],
        part=first.part,
        name=first.name,
        dims=(*first.dims[:-1], kind),
        shape=(*first.shape[:-1], at[-1].stop),
        chunk_rows=first.chunk_rows,
        dtype=first.dtype,
        codec=first.codec,
        pad_value=first.pad_value,
        description=f"{text}; columns of each {kind} type: {owners}",
    )


def is_worth_packing(tensors: Iterable[TensorSpec]) -> bool:
    """What `[store] layout = "auto"` chooses, by the tensors of a part with an array per type."""
    sizes = [spec.chunk_bytes for spec in tensors if is_packable(spec)]
    return len(sizes) > AUTO_ARRAYS and sum(sizes) < AUTO_CHUNK_BYTES * len(sizes)
