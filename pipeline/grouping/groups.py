"""Seeds into batches: at random, balanced, or packed.

With `random`, a round permutes the seeds and cuts them into batches; each batch draws neighbors with a key of its own.

With `balanced` and `packed`, all batches of a round draw with one key, and what is drawn for a node depends on the seed
that leads to it first. So what a seed alone brings is known before it is put into a batch, and yet no two batches share
a draw: a seed is in one batch of a round. Where two seeds of a batch lead to one node, it is expanded once, as the
first of them has it; the order of a batch's seeds is random. A batch is therefore within the union of what its seeds
bring alone. What the second seed would have drawn is not in it, so the union may be too large: nodes that several seeds
of a batch are likely to lead to are *open*, and what is drawn for them at the last hop counts by number, once for all
seeds (see `kernels.trace_seeds`). Where the fanouts of an edge type differ from hop to hop a batch is a little smaller,
for a node is drawn for at its nearest hop only; with more than three hops it can even be a little larger, so there
packed batches are counted before they are believed to fit. The budget follows from counts of the batches as they are.

A local search moves seeds until no batch needs much more of any type than another. Grouping looks at sizes, never at
labels or features.

    balanced    batches of equally many seeds (give or take one); seeds are swapped
    packed      with a budget that follows from the data: as many batches as `balanced`, but seeds also move, so that
                a batch may hold up to `max_seeds` of them; with a given budget: as few batches as it allows

Rounds are cut into blocks of random seeds that are searched one by one, so time stays linear in the seeds, and memory
is that of a block per worker, which has the fewer seeds the more each brings.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from heteroshards.pipeline.executors.executor import Executor
from heteroshards.pipeline.executors.worker import Worker
from heteroshards.pipeline.grouping import kernels
from heteroshards.pipeline.grouping.contributions import Contributions, power_of_two, trace
from heteroshards.pipeline.grouping.kernels import EMPTY, Groups
from heteroshards.pipeline.grouping.split_plan import RoundPlan, SplitPlan
from heteroshards.pipeline.sampling.neighbor import NeighborSampler
from heteroshards.pipeline.sampling.rng import keyed, stream_root
from heteroshards.pipeline.sampling.trees import TreeSampler
from heteroshards.schemas.errors import BudgetError
from heteroshards.schemas.sampling import SamplingSpec
from heteroshards.schemas.tensors import ID_PAD

TRIES_PER_SEED = 3  # per phase; more lowers the budget by a percent or two and takes its time
MAX_PHASES = 40  # fewer where several in a row bring little:
WORTH = 500  # one part in so many of a budget is worth a phase
PATIENCE = 3
PACK_TRIES_PER_SEED = 20
OPEN_FROM = 0.5
BLOCK_SEEDS = 16384
BLOCK_ELEMENTS = 2**23  # a worker takes some 50 to 100 bytes for each
PROBED_SEEDS = 64
SAFE_HOPS = 3  # up to as many, a union is never too small
MIN_BLOCK_GROUPS = 8
MIN_CAPACITY = 64  # of a group's table of bundles, so that small ones never lack room


class GroupLimits(NamedTuple):
    """A given budget, as the most a batch may hold.

    Attributes:
        most: int64 [D], per node type, then per edge type.
        names: what the types are called.
        is_strict: a seed that alone exceeds it is an error; else it gets a batch of its own, for the over-size policy.
    """

    most: np.ndarray
    names: tuple[str, ...]
    is_strict: bool


class Block(NamedTuple):
    """Seeds (int32 [N], in random order) of one round that are grouped together, and the groups' sizes.

    `num_elements` is about how many elements they bring.
    """

    split: str
    round: int
    seeds: np.ndarray
    sizes: np.ndarray
    key: np.uint64
    state: np.uint64
    num_elements: int


def make_plans(
    workers: Executor, seeds: Mapping[str, np.ndarray], spec: SamplingSpec, limits: GroupLimits | None
) -> dict[str, SplitPlan]:
    """The plan of every split, all with the same number of seed rows.

    Args:
        seeds: split -> its rows of the seed table, int32, ascending.
        limits: a given budget, which grouping `packed` fills.

    Raises:
        BudgetError: with `limits`, a seed alone does not fit.
    """
    if spec.grouping == "random":
        plans = {
            name: random_plan(name, ids, spec.batch_size, spec.rounds[name], spec.rng_seed)
            for name, ids in seeds.items()
        }
    else:
        plans = _grouped_plans(workers, seeds, spec, limits)
    rows = max(plan.max_seeds for plan in plans.values())
    return {name: plan.with_rows(rows) for name, plan in plans.items()}


def random_plan(name: str, seeds: np.ndarray, batch_size: int, num_rounds: int, rng_seed: int) -> SplitPlan:
    """Every round permutes the seeds (int32, ascending) anew and cuts them into batches, the last one shorter.

    The order is that of 64-bit hashes of (rng_seed, split, round, seed), so it depends on nothing else.
    """
    num_batches = -(-len(seeds) // batch_size)
    sizes = np.minimum(batch_size, len(seeds) - batch_size * np.arange(num_batches))
    rounds = []
    for r in range(num_rounds):
        keys = keyed(stream_root(rng_seed, "sample", name, r), np.arange(num_batches))
        rounds.append(RoundPlan(_shuffled(name, seeds, r, rng_seed), sizes, keys))
    return SplitPlan.of_rounds(name, rounds)


def _shuffled(name: str, seeds: np.ndarray, round_index: int, rng_seed: int) -> np.ndarray:
    return seeds[np.argsort(keyed(stream_root(rng_seed, "group", name, round_index), seeds), kind="stable")]


class _GroupJob(NamedTuple):
    """A block to cut into batches."""

    block: Block
    spec: SamplingSpec
    limits: GroupLimits | None


def _grouped_plans(
    workers: Executor, seeds: Mapping[str, np.ndarray], spec: SamplingSpec, limits: GroupLimits | None
) -> dict[str, SplitPlan]:
    brought = _elements_per_seed(workers, seeds, spec)
    blocks = [block for name in seeds for block in _blocks(name, seeds[name], spec, brought[name])]
    jobs = [_GroupJob(block, spec, limits) for block in blocks]
    parts: dict[str, list[list[RoundPlan]]] = {name: [[] for _ in range(spec.rounds[name])] for name in seeds}
    for block, grouped in zip(blocks, workers.map(_group, jobs), strict=True):
        parts[block.split][block.round].append(grouped)
    return {name: SplitPlan.of_rounds(name, [_joined(r) for r in rounds]) for name, rounds in parts.items()}


def _group(worker: Worker, job: _GroupJob) -> RoundPlan:
    block, spec, limits = job
    sampler, is_packed = worker.neighbor_sampler, spec.grouping == "packed"
    traced = trace(sampler, block.seeds, block.key, block.num_elements * 6 // 5, _open_nodes(sampler, block))
    if is_packed and limits is not None:
        if limits.is_strict:
            _require_each_fits(sampler, block, limits)
        groups = _pack(traced, block, spec.max_seeds, limits)
    else:
        groups = _level(traced, block, spec.max_seeds if is_packed else 0)
    groups = [np.sort(group) for group in groups]  # which seed comes first must not depend on what it brings
    if is_packed and limits is not None and spec.num_hops > SAFE_HOPS:
        groups = _halved_until_they_fit(sampler, block, groups, limits)
    keys = np.full(len(groups), block.key, np.uint64)
    return RoundPlan(block.seeds[np.concatenate(groups)], np.array([len(g) for g in groups]), keys)


def _open_nodes(sampler: NeighborSampler, block: Block) -> np.ndarray | None:
    """uint8 [all nodes]: 1 where a seed that leads to a node expects more than `OPEN_FROM` others in its batch to.

    None where trees are disjoint: nobody leads to a node of another.
    """
    if isinstance(sampler, TreeSampler):
        return None
    others = (sampler.count_reached(block.seeds, block.key) - 1) * (block.sizes.max() - 1)
    return (others > OPEN_FROM * (len(block.seeds) - 1)).astype(np.uint8)


class _ProbeJob(NamedTuple):
    """Some seeds (int32 [N]), and the key of their draws."""

    seeds: np.ndarray
    key: np.uint64


def _elements_per_seed(workers: Executor, seeds: Mapping[str, np.ndarray], spec: SamplingSpec) -> dict[str, int]:
    """How many elements a seed of each split brings into a batch: the mean over some random ones, rounded up."""
    jobs = [
        _ProbeJob(_shuffled(name, part, 0, spec.rng_seed)[:PROBED_SEEDS], stream_root(spec.rng_seed, "sample", name, 0))
        for name, part in seeds.items()
    ]
    return dict(zip(seeds, workers.map(_probe, jobs), strict=True))


def _probe(worker: Worker, job: _ProbeJob) -> int:
    if isinstance(worker.sampler, TreeSampler):
        return worker.sampler.graph.num_node_types + worker.sampler.graph.num_edge_types
    first = worker.neighbor_sampler.trace(*job)[0]
    return -(-int(first[-1]) // len(job.seeds))


def _joined(parts: list[RoundPlan]) -> RoundPlan:
    return RoundPlan(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _blocks(name: str, seeds: np.ndarray, spec: SamplingSpec, elements_per_seed: int) -> Iterator[Block]:
    """Cut every round into blocks of whole groups, whose sizes differ by one at most."""
    block_seeds = max(1, min(BLOCK_SEEDS, BLOCK_ELEMENTS // elements_per_seed))
    num_groups = -(-len(seeds) // spec.batch_size)
    sizes = np.full(num_groups, len(seeds) // num_groups)
    sizes[: len(seeds) % num_groups] += 1
    num_blocks = max(1, min(len(seeds) // block_seeds, num_groups // MIN_BLOCK_GROUPS))
    cuts = np.arange(num_blocks + 1) * num_groups // num_blocks
    starts = np.concatenate([[0], np.cumsum(sizes)])
    for r in range(spec.rounds[name]):
        order = _shuffled(name, seeds, r, spec.rng_seed)
        key = stream_root(spec.rng_seed, "sample", name, r)
        states = keyed(stream_root(spec.rng_seed, "search", name, r), np.arange(num_blocks))
        for i in range(num_blocks):
            first, last = cuts[i], cuts[i + 1]
            part = order[starts[first] : starts[last]]
            yield Block(name, r, part, sizes[first:last], key, states[i], len(part) * elements_per_seed)


def _start(traced: Contributions, sizes: np.ndarray, max_members: int) -> Groups:
    """Groups of consecutive seeds, with room for `max_members` each, or for all that the others can spare."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    room = min(max_members, int(starts[-1]) - len(sizes) + 1)
    members = starts[:-1, None] + np.arange(max(room, int(sizes.max())))
    members[members >= starts[1:, None]] = EMPTY
    capacity = power_of_two(max(MIN_CAPACITY, 2 * int(np.diff(traced.first[starts]).max())))
    groups = Groups(
        members.astype(np.int32),
        sizes.astype(np.int64),
        np.zeros((len(sizes), traced.own.shape[1]), np.int64),
        np.full((len(sizes), capacity), EMPTY, np.int32),
        np.empty((len(sizes), capacity), np.int32),
        np.zeros(len(sizes), np.int64),
    )
    with np.errstate(over="ignore"):
        kernels.fill_groups(traced, groups)
    return groups


def _members(groups: Groups) -> list[np.ndarray]:
    return [row[:size] for row, size in zip(groups.members, groups.size, strict=True)]


def _level(traced: Contributions, block: Block, max_seeds: int) -> list[np.ndarray]:
    """Positions in the block's seeds, group by group; with `max_seeds` groups may differ in size."""
    groups = _start(traced, block.sizes, max_seeds)
    if len(block.sizes) > 1:
        with np.errstate(over="ignore"):
            kernels.level(
                traced, groups, traced.own.sum(axis=0), block.state, TRIES_PER_SEED, MAX_PHASES, WORTH, PATIENCE,
                max_seeds > 0,
            )  # fmt: skip
    return _members(groups)


def _pack(traced: Contributions, block: Block, max_seeds: int, limits: GroupLimits) -> list[np.ndarray]:
    """As few groups as a given budget allows: tried with few, then with 2% more at a time."""
    is_too_large = (traced.own > limits.most).any(axis=1)
    alone = [np.array([i]) for i in np.flatnonzero(is_too_large)]
    fitting = np.flatnonzero(~is_too_large)
    if len(fitting) == 0:
        return alone
    if len(fitting) < len(traced.own):
        traced = traced.of(fitting)
    num_groups = -(-len(fitting) // max_seeds)
    while True:
        sizes = np.full(num_groups, len(fitting) // num_groups)
        sizes[: len(fitting) % num_groups] += 1
        groups = _start(traced, sizes, max_seeds)
        needed = int(np.max(-(-groups.load.sum(axis=0) // np.maximum(limits.most, 1))))
        if needed <= num_groups:
            overlap, ceiling = np.empty(len(limits.most), np.int64), np.full(len(limits.most), 2**62)
            kernels.set_overlap(groups, traced.own.sum(axis=0), overlap)
            tries = PACK_TRIES_PER_SEED * len(fitting)
            with np.errstate(over="ignore"):
                num_over, _ = kernels.approach(traced, groups, limits.most, ceiling, overlap, block.state, tries, True)
            if num_over == 0:
                return [fitting[rows] for rows in _members(groups)] + alone
        num_groups = min(len(fitting), max(needed, num_groups + 1 + num_groups // 50))


def _halved_until_they_fit(
    sampler: NeighborSampler, block: Block, groups: list[np.ndarray], limits: GroupLimits
) -> list[np.ndarray]:
    """Positions in the block's seeds, where every batch of more than one seed really is within the limits."""
    rows = np.full((len(groups), max(len(group) for group in groups)), ID_PAD)
    for row, group in zip(rows, groups, strict=True):
        row[: len(group)] = group
    found: list[np.ndarray] = []
    for group, total in zip(groups, _sizes(sampler, block, rows), strict=True):
        if len(group) > 1 and (total > limits.most).any():
            halves = [group[: len(group) // 2], group[len(group) // 2 :]]
            found += _halved_until_they_fit(sampler, block, halves, limits)
        else:
            found.append(group)
    return found


def _sizes(sampler: NeighborSampler, block: Block, rows: np.ndarray) -> np.ndarray:
    """int64 [B, D]: the sizes of batches of the block's seeds at `rows`, int64 [B, S] (-1 pads)."""
    seeds = np.where(rows == ID_PAD, np.int32(ID_PAD), block.seeds[rows])
    sizes = sampler.count(seeds, np.full(len(rows), block.key, np.uint64))
    return np.concatenate([sizes.node_totals, sizes.edge_totals], axis=1)


def _require_each_fits(sampler: NeighborSampler, block: Block, limits: GroupLimits) -> None:
    """Raises BudgetError for a seed that alone is too large; where neighbors are open, more may be traced than that."""
    sizes_alone = _sizes(sampler, block, np.arange(len(block.seeds))[:, None])
    if (sizes_alone <= limits.most).all():
        return
    row = int(np.flatnonzero((sizes_alone > limits.most).any(axis=1))[0])
    kind = int(np.flatnonzero(sizes_alone[row] > limits.most)[0])
    raise BudgetError(
        f"seed {sampler.nodes(block.seeds)[row]} alone does not fit the budget",
        actual=f"{sizes_alone[row, kind]} of type '{limits.names[kind]}'",
        limit=f"at most {limits.most[kind]} (one slot is reserved for padding)",
        where=f"split '{block.split}', round {block.round}",
        hint="Raise the budget, lower the fanout, or let batches be trimmed: "
        "[budget] oversize = 'trim_nodes_and_edges'.",
    )
