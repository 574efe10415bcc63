"""A store's split as a torch Dataset, for loops of your own; `fit` reads through `BatchStream` instead."""

from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from heteroshards.schemas import layout
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.errors import OutOfRangeError, StoreError
from heteroshards.schemas.inputs import EDGE_INPUTS, EXTRA_INPUTS, SEED_INPUTS, InputSpec, model_inputs
from heteroshards.schemas.seam import require, typed
from heteroshards.schemas.targets import TargetSpec
from heteroshards.trainer.reading.order import sequential_order, shard_runs, shuffled_order
from heteroshards.trainer.reading.shards import LoadedShard, SplitReader, input_source
from heteroshards.trainer.reading.store import Store, open_store

ALONE = (0, 1)  # rank and world size
_NAMES = {"node_mask": "mask", "edge_mask": "mask", "seed_mask": "mask"}


class ShardDataset(Dataset):
    """Padded batches of one split, by index.

    Item i is a dict of tensors named as in the store: `nodes/<type>/n_id`, `mask` and attributes, `x` for one;
    `edges/<key>/edge_index`, `mask`, and `e_id` and attributes where there are any; `seeds/n_id`, `row`, `mask` and
    `seeds/targets/<name>`. Shapes are those of the store without the batch axis, ids and codes are int32. In a store of
    K shapes every item has one of K sets of shapes, and items are ordered by shape, then by round. With
    `as_hetero_data=True` it is a PyG `HeteroData`, see `hetero_data`.

    The shard an item lies in is kept, so reading in order, or shard by shard (`ShardIterable`), reads each shard
    once. An item is one whole batch: give a `DataLoader` `batch_size=None`. Items are copies of their own: writing into
    one changes no other.

    Args:
        store: an open store, or where it lies.
        round: one resampling pass, or None for every batch of the split.
        check_chunks: verify the checksum of everything that is read; None does as the store was opened.
    """

    @typed("opening a split", StoreError)
    def __init__(
        self,
        store: Union[Store, str, Path],
        split: str,
        round: Optional[int] = None,
        *,
        as_hetero_data: bool = False,
        check_chunks: Optional[bool] = None,
    ) -> None:
        store = store if isinstance(store, Store) else open_store(store, check_chunks is not False)
        require(split, str, "split")
        require(round, (int, type(None)), "round")
        info = store.split(split)
        self.rounds = list(range(info.num_rounds)) if round is None else [round]
        if round is not None and not 0 <= round < info.num_rounds:
            what, limit = f"split '{split}' has no such round", f"rounds 0 to {info.num_rounds - 1}"
            raise OutOfRangeError(what, actual=round, limit=limit, where=store.path)
        self.store = store
        self.split = split
        self._round = round
        self._check_chunks = check_chunks
        self.as_hetero_data = as_hetero_data
        self._batches = np.sort(np.concatenate([sequential_order(info, r) for r in self.rounds]))
        part = store.manifest.parts(info)[0]
        inputs = [_items(store, part.path, budget) for budget in store.manifest.budgets]
        self._names = [item_name(spec) for spec in inputs[0]]
        self._are_gathered = [input_source(store, part.path, spec).table is not None for spec in inputs[0]]
        self._reader = SplitReader(store, split, inputs, check_chunks=check_chunks)
        self._shard_numbers = self._reader.shard_numbers(self._batches)
        self._shard: Optional[Tuple[int, LoadedShard]] = None

    def __len__(self) -> int:
        return len(self._batches)

    @typed("reading a batch", StoreError)
    def __getitem__(self, index: int) -> Any:
        """Batch `index` of this dataset (of the round, when one was chosen)."""
        require(index, (int, np.integer), "index")
        if not -len(self) <= index < len(self):
            what, limit = f"split '{self.split}' has no such batch here", f"one of {len(self)}"
            raise OutOfRangeError(what, actual=f"index {index}", limit=limit, where=self.store.path)
        batch, number = int(self._batches[index]), int(self._shard_numbers[index])
        if self._shard is None or self._shard[0] != number:
            self._shard = (number, self._reader.read(batch))
        (tensors,) = self._shard[1].batches(np.array([batch]))
        item = {
            name: tensor if is_gathered else tensor.clone()  # stored tensors are views of the shard that is kept
            for name, tensor, is_gathered in zip(self._names, tensors, self._are_gathered)
        }
        return hetero_data(self.store, item, self.split) if self.as_hetero_data else item

    def __reduce__(self) -> Tuple[Any, ...]:
        """Worker processes open the store themselves, instead of receiving tables and handles."""
        make = partial(ShardDataset, as_hetero_data=self.as_hetero_data, check_chunks=self._check_chunks)
        return make, (self.store, self.split, self._round)


class ShardIterable(IterableDataset):
    """The same items as an iterable; the workers of a `DataLoader` take turns shard by shard, each shard read once.

    Where several processes train together, each gets a part of the order of its own: none in common, none left out,
    and no more than one batch more than another process (so wrap the loop in `model.join()` of
    DistributedDataParallel, or stop all after `num_batches // world_size`).

    Args:
        dataset: its split must not be read by index at the same time.
        epoch: None for stored order, else shuffled by (`rng_seed`, `epoch`): the order that `fit` uses when the
            dataset holds one round.
        rank: which process this is; None asks `torch.distributed` where its default group is initialised when
            iteration begins, and else is one process alone.
        world_size: of how many processes; None where `rank` is.

    Raises:
        OutOfRangeError: there is no such rank.
    """

    def __init__(
        self,
        dataset: ShardDataset,
        epoch: Optional[int] = None,
        rng_seed: int = 0,
        *,
        rank: Optional[int] = None,
        world_size: Optional[int] = None,
    ) -> None:
        require(dataset, ShardDataset, "dataset")
        require(epoch, (int, type(None)), "epoch")
        require(rng_seed, int, "rng_seed")
        self.dataset = dataset
        self.epoch = epoch
        self.rng_seed = rng_seed
        require(rank, (int, type(None)), "rank")
        require(world_size, (int, type(None)), "world_size")
        if (rank is None) != (world_size is None) or (rank is not None and not 0 <= rank < (world_size or 0)):
            what, limit = "there is no such process", "neither rank nor world_size, or 0 <= rank < world_size"
            raise OutOfRangeError(what, actual=f"rank {rank} of world_size {world_size}", limit=limit)
        self._given = None if rank is None or world_size is None else (rank, world_size)

    def __iter__(self) -> Iterator[Any]:
        dataset, worker = self.dataset, get_worker_info()
        order = self._order()
        rank, world_size = self._given or _process_group()
        order = order[rank * len(order) // world_size : (rank + 1) * len(order) // world_size]
        places = np.searchsorted(dataset._batches, order)
        runs = shard_runs(dataset._shard_numbers[places])
        for begin, end in runs if worker is None else runs[worker.id :: worker.num_workers]:
            for place in places[begin:end]:
                yield dataset[int(place)]

    def __getstate__(self) -> Dict[str, Any]:
        """Worker processes that are not forked know nothing of the process group."""
        group = self._given or _process_group()
        return {**self.__dict__, "_given": group if group != ALONE else self._given}

    def _order(self) -> np.ndarray:
        dataset = self.dataset
        if self.epoch is None:
            return dataset._batches
        info = dataset.store.split(dataset.split)
        size = dataset.store.manifest.chunk_batches
        orders = [shuffled_order(info, r, size, self.rng_seed, self.epoch) for r in dataset.rounds]
        return np.concatenate(orders)


def _process_group() -> Tuple[int, int]:
    """The rank of this process in the default group of `torch.distributed`, and the group's size."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return ALONE


def _items(store: Store, part: str, budget: Budget) -> List[InputSpec]:
    """Everything a batch of this budget holds: all model inputs, plus ids of edges and seeds, trees and times."""
    graph = store.manifest.graph
    has_e_id = {key: store.has_tensor(layout.edge_path(part, key, "e_id")) for key in graph.edge_keys}
    inputs = []
    for spec in model_inputs(graph, budget, EXTRA_INPUTS):
        inputs.append(spec)
        if spec.kind == "edge_mask" and has_e_id[spec.key]:
            inputs.append(InputSpec("e_id", spec.key, spec.shape, "int32"))
    if store.manifest.sampling.is_disjoint:
        inputs += [InputSpec("tree", name, (budget.num_nodes[name],), "int32") for name in graph.node_names]
    seeds, kinds = (budget.max_seeds,), {"seed_n_id": "int32", "seed_row": "int32"}
    kinds.update({"seed_time": "int64"} if graph.task.has_time else {})
    return [*inputs, *(InputSpec(kind, graph.seed_type, seeds, dtype) for kind, dtype in kinds.items())]


def item_name(spec: InputSpec) -> str:
    """`InputSpec("edge_mask", "a__to__b", ...)` -> "edges/a__to__b/mask"."""
    if spec.kind in SEED_INPUTS:
        return f"seeds/targets/{spec.key}" if spec.kind == "target" else f"seeds/{spec.kind.replace('seed_', '')}"
    place = "edges" if spec.kind in EDGE_INPUTS else "nodes"
    return f"{place}/{spec.key}/{spec.name or _NAMES.get(spec.kind, spec.kind)}"


def hetero_data(store: Store, item: Dict[str, Tensor], split: str) -> Any:
    """A batch as PyG `HeteroData`, with the keys that poptorch_geometric's `FixedSizeNeighborLoader` gives.

    Per node type: its attributes (`x` where it has one), `n_id`, `batch` (0 real, 1 pad: pads are a second graph),
    `ptr` (0, real rows, all rows), `nodes_mask`. On the seed type also `y` [rows, ...] (each by its name where there
    are several targets), `batch_size` and `input_id`, and
    `train_mask`, `val_mask` and `test_mask`, bool [rows], as in the tutorial's graph (`predict_mask`, too, where the
    store has such a split): True on the real seed rows in the mask of the batch's own split, False on everything else.
    Nodes that were sampled as neighbors are False even where the graph has them in that split, and their labels are
    withheld, so `out[batch[seed_type].train_mask]` selects the rows that a loss may count, and no others.
    With disjoint trees also `tree` [rows], the seed that each belongs to (-1 in pads), and with times `age` [rows] and,
    of the seed type, `seed_time`. Per edge type: `edge_index` (int64), `e_id` and attributes where stored,
    `edges_mask`. Of the whole batch:
    `graphs_mask` (True, False), `num_nodes`, `num_edges`.

    It differs from that loader, always so that a pad cannot be taken for something real:
    `n_id` and `e_id` of pads are -1 (there: 0, a real node); `y` is -100, or NaN, on every row that is not one of the
    split's own seeds (there: labels of all sampled nodes, 0 on pads); `input_id` holds the seeds' global ids,
    -1 after the last (there: positions in the list of input nodes); `batch_size` is the constant number of seed
    rows, also in a short last batch, so that slices keep one shape. Pad edges join the last row of each type.
    """
    from torch_geometric.data import HeteroData

    graph, data = store.manifest.graph, HeteroData()
    data.graphs_mask = torch.tensor([True, False])
    data.num_nodes = sum(len(item[f"nodes/{name}/mask"]) for name in graph.node_names)
    data.num_edges = sum(len(item[f"edges/{key}/mask"]) for key in graph.edge_keys)
    for name in graph.node_names:
        node, mask = data[name], item[f"nodes/{name}/mask"]
        node.update({of.name: item[f"nodes/{name}/{of.name}"] for of in graph.node(name).attributes})
        if name == graph.seed_type:
            targets = graph.task.targets
            named = {"y": targets[0]} if len(targets) == 1 else {target.name: target for target in targets}
            node.update({name: _of_seeds(item, target, len(mask)) for name, target in named.items()})
            node.update(_split_masks(store, split, item["seeds/mask"], len(mask)))
        node.n_id = item[f"nodes/{name}/n_id"].long()
        node.update({key: item[f"nodes/{name}/{key}"] for key in ("tree", "age") if f"nodes/{name}/{key}" in item})
        node.batch = (~mask).long()
        node.ptr = torch.tensor([0, int(mask.sum()), len(mask)])
        node.nodes_mask = mask
        if name == graph.seed_type:
            node.batch_size = len(item["seeds/mask"])
            node.input_id = item["seeds/n_id"].long()
            if "seeds/time" in item:
                node.seed_time = item["seeds/time"]
    for edge in graph.edge_types:
        place, stored = f"edges/{edge.key}", data[edge.type]
        stored.edge_index = item[f"{place}/edge_index"].long()
        for key in (*(of.name for of in edge.attributes), "e_id"):
            if f"{place}/{key}" in item:
                value = item[f"{place}/{key}"]
                stored[key] = value.long() if key == "e_id" else value
        stored.edges_mask = item[f"{place}/mask"]
    return data


def _of_seeds(item: Dict[str, Tensor], target: TargetSpec, num_rows: int) -> Tensor:
    """A target, int64 or float32 [num_rows, ...]: pads after the seeds."""
    seeds = item[f"seeds/targets/{target.name}"]
    dtype = seeds.dtype if seeds.is_floating_point() else torch.int64
    values = torch.full((num_rows, *target.shape), target.pad_value, dtype=dtype)
    values[: len(seeds)] = seeds.to(dtype)
    return values


def _split_masks(store: Store, split: str, is_seed: Tensor, num_rows: int) -> Dict[str, Tensor]:
    """`<split>_mask` of every split that there can be, bool [num_rows]: the real seeds in that of the batch's own."""
    names = [name for name in layout.SPLITS if name in layout.SCORED_SPLITS or store.has_split(name)]
    masks = {f"{name}_mask": torch.zeros(num_rows, dtype=torch.bool) for name in names}
    masks[f"{split}_mask"][: len(is_seed)] = is_seed
    return masks
