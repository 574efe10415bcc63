"""`plan`: what `prepare` would write, and what other groupings and budgets would make of it. Writes nothing.

Batches are sampled and counted as `prepare` does. Where a job has more than `max_batches`, its first rounds stand for
all (and, where one round is more than that, random seeds for all seeds); `Coverage` says so, and a budget that follows
from counts is then the least that it can be.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from heteroshards.pipeline.executors import make_executor
from heteroshards.pipeline.forecast.disk import DiskForecast, measure_disk
from heteroshards.pipeline.forecast.trial import Alternative, Trial, Trim
from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.preparation.planning import request_of
from heteroshards.pipeline.reporting import Progress
from heteroshards.pipeline.sampling.batches import Sizes
from heteroshards.pipeline.sizing.certificate import certainty_lines
from heteroshards.pipeline.sizing.counting import Counted, Coverage, count_all, cover, fit_all
from heteroshards.pipeline.sizing.fitting import Fitted, parts_of
from heteroshards.pipeline.sizing.sharing import resolve_budgets, shape_sizes, sharing
from heteroshards.pipeline.sources import SourceGraph
from heteroshards.pipeline.writing.batch_options import resolve_batch_options
from heteroshards.pipeline.writing.manifest import all_inline_bytes, make_manifest
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.config import BudgetConfig, JobConfig
from heteroshards.schemas.errors import BudgetError, StoreError
from heteroshards.schemas.graph import GraphSchema
from heteroshards.schemas.inputs import device_bytes, usual_inputs
from heteroshards.schemas.manifest import Manifest
from heteroshards.schemas.sampling import SamplingSpec
from heteroshards.schemas.seam import require, require_count, typed
from heteroshards.schemas.tensors import table_bytes

MAX_BATCHES = 20000
MAX_SHAPES = 8


@dataclass(frozen=True)
class TypeForecast:
    """One node or edge type, over the counted batches of one shape in all splits.

    Attributes:
        kind: "nodes" or "edges".
        budget: rows (columns) per batch, the pad slot included.
        mean, max: real rows per batch, after trimming.
        fill: mean over budget.
        bytes_per_batch: of its rows as a device receives them, see `schemas.inputs.device_bytes`.
    """

    kind: str
    name: str
    budget: int
    mean: float
    max: int
    fill: float
    bytes_per_batch: int


@dataclass(frozen=True)
class ShapeForecast:
    """The batches that share a budget; most stores have one shape.

    Attributes:
        splits: those that have batches of it.
        share_of_batches: of the counted batches of all splits.
        bytes_per_batch: of all tensors of a batch, as a device receives them.
    """

    splits: tuple[str, ...]
    share_of_batches: float
    bytes_per_batch: int
    types: tuple[TypeForecast, ...]


@dataclass(frozen=True)
class SplitForecast:
    """One split. Seeds per batch and fills are of the counted batches; fills are sums over types, real over budget.

    `num_batches_skipped` is of the counted batches, too; `batches_per_round` and `num_batches` are without them.
    `edge_draws`: edge type -> edges sampled in the first round, and how many of them differ.
    """

    name: str
    num_seeds: int
    num_rounds: int
    batches_per_round: float
    num_batches: int
    num_batches_skipped: int
    seeds_per_batch: tuple[int, float, int]
    seed_fill: float
    node_fill: float
    edge_fill: float
    share_trimmed: float
    edge_draws: dict[str, dict[str, int]]
    coverage: Coverage


@dataclass(frozen=True)
class Forecast:
    """Everything `plan` says.

    Attributes:
        path: where `prepare` would write; `is_there` when something stands there.
        bytes_per_batch: of all tensors of a batch, as a device receives them; the mean over shapes.
        chunk_batches: batches per chunk.
        waste_by_shapes: bytes of all padded node and edge rows that a model receives over those of the real ones,
            with at most 1, 2, ... shapes for those that share their budgets and nothing trimmed.
        sharing: which splits share their budgets.
        certificates: with budget mode `quantile`, how probable it is that a random batch of the counted rounds and
            seeds does not fit each budget; `certainty` says it in lines.
        disk: bytes of chunk files; None where `prepare` would refuse.
        inline_bytes, table_bytes: of features, copied into every batch and stored once; uncompressed.
        trial_coverage: split -> what alternatives were counted on (trims, too, where the budget is given).
        refusal: why `prepare` would end with an error; fills and shares are then of untrimmed batches.
        left_out: alternatives that cannot be, and why.
        notes: what there is to say about the graph, a line each.
    """

    path: str
    is_there: bool
    grouping: str
    mode: str
    oversize: str
    features: str
    max_seeds: int
    shapes: tuple[ShapeForecast, ...]
    splits: tuple[SplitForecast, ...]
    bytes_per_batch: float
    chunk_batches: int
    sharing: list[list[str]]
    certificates: tuple[dict[str, Any], ...]
    certainty: tuple[str, ...]
    disk: DiskForecast | None
    inline_bytes: int
    table_bytes: int
    alternatives: tuple[Alternative, ...]
    trims: tuple[Trim, ...]
    waste_by_shapes: tuple[float, ...]
    trial_coverage: dict[str, Coverage]
    refusal: str | None
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


@typed("plan", StoreError)
def forecast(
    source: SourceGraph,
    config: JobConfig,
    *,
    workers: int = 1,
    max_batches: int = MAX_BATCHES,
    progress: Progress = lambda what, done, total: None,
) -> Forecast:
    """What `prepare` would write for this graph and config, counted on at most about `max_batches` batches.

    Raises:
        GraphError, ConfigError, BudgetError: as `prepare` would, except that batches over the budget are a `refusal`.
    """
    wanted = request_of(_checked(source, config, workers, max_batches), config)
    graph, spec = wanted.graph, wanted.spec
    part, part_spec, coverage = cover(graph, spec, max_batches)
    counted = _counted(graph, spec, part, part_spec, config.budget, workers, progress)
    budgets, shape_of = resolve_budgets(config.budget, graph.schema, counted.sizes, counted.max_seeds, spec.rng_seed)
    refusal, fitted = _fit(counted, budgets, shape_of, config.budget, graph.schema)
    splits = tuple(_split(name, fits, budgets, coverage[name], counted) for name, fits in fitted.items())
    options = resolve_batch_options(config.store, graph, budgets, spec, fitted)
    digests, draws = (wanted.fingerprint, wanted.content), counted.edge_draws
    manifest = make_manifest(config, part, part_spec, budgets, fitted, draws, options, *digests)
    num_batches = {split.name: split.num_batches for split in splits}
    trial = Trial(graph, config, workers, progress)
    alternatives, left_out = trial.alternatives()
    return Forecast(
        path=str(wanted.path),
        is_there=wanted.path.exists(),
        grouping=spec.grouping,
        mode=config.budget.mode,
        oversize=config.budget.oversize,
        features=config.store.features,
        max_seeds=counted.max_seeds,
        shapes=(shapes := tuple(_shapes(fitted, manifest))),
        splits=splits,
        bytes_per_batch=sum(shape.share_of_batches * shape.bytes_per_batch for shape in shapes),
        chunk_batches=options.chunk_batches,
        sharing=sharing(config.budget, list(counted.sizes)),
        certificates=tuple(b.certificate.model_dump(mode="json") for b in budgets if b.certificate),
        certainty=tuple(certainty_lines(config.budget, budgets, shape_of)),
        disk=None if refusal else measure_disk(counted, part, manifest, fitted, num_batches),
        inline_bytes=round(all_inline_bytes(manifest) * _times_counted(fitted, num_batches)),
        table_bytes=table_bytes(graph.schema),
        alternatives=alternatives,
        trims=trial.trims(counted),
        waste_by_shapes=_waste_by_shapes(config.budget, graph.schema, counted),
        trial_coverage=trial.coverage,
        refusal=refusal,
        left_out=left_out,
        notes=tuple(_note_lines(manifest, coverage)),
    )


def _counted(
    graph: HeteroGraph,
    spec: SamplingSpec,
    part: HeteroGraph,
    part_spec: SamplingSpec,
    budget: BudgetConfig,
    workers: int,
    progress: Progress,
) -> Counted:
    """The part of a job that is counted. A seed that does not fit is no error yet."""
    pool = make_executor(graph, spec, budget.oversize, workers)
    return count_all(pool, part, part_spec, budget.model_copy(update={"oversize": "skip"}), progress)


def _checked(source: SourceGraph, config: JobConfig, workers: int, max_batches: int) -> SourceGraph:
    """The source, when all arguments are of the types that they must be."""
    require(source, SourceGraph, "source")
    require(config, JobConfig, "config")
    require_count(workers, "workers")
    require_count(max_batches, "max_batches")
    return source


def _waste_by_shapes(config: BudgetConfig, schema: GraphSchema, counted: Counted) -> tuple[float, ...]:
    """Padded over real bytes with at most 1, 2, ... shapes for the splits that share their budgets."""
    padded, real = np.zeros(MAX_SHAPES, np.int64), 0
    for names in sharing(config, list(counted.sizes)):
        shaping = shape_sizes(schema, {n: counted.sizes[n] for n in names}, counted.max_seeds, MAX_SHAPES)
        padded, real = padded + shaping.padded_bytes, real + shaping.real_bytes
    return tuple((padded / max(1, real)).tolist())


def _note_lines(manifest: Manifest, coverage: Mapping[str, Coverage]) -> Iterator[str]:
    """Those that `prepare` writes; what no batch has may be in one that was not counted."""
    is_whole = all(of_split.is_whole for of_split in coverage.values())
    for note in manifest.notes:
        yield note.line + (" (of those counted)" if note.code == "unreached" and not is_whole else "")


def _fit(
    counted: Counted,
    budgets: Sequence[Budget],
    shape_of: Mapping[str, np.ndarray],
    config: BudgetConfig,
    schema: GraphSchema,
) -> tuple[str | None, dict[str, list[Fitted]]]:
    """Why `prepare` would refuse, if it would, and what it would write; untrimmed batches where it refuses."""
    try:
        return None, fit_all(counted, budgets, shape_of, config, schema)
    except BudgetError as error:
        plans, sizes = counted.plans, counted.sizes
        return str(error), {name: parts_of(plan, sizes[name], shape_of[name]) for name, plan in plans.items()}


def _shapes(fitted: Mapping[str, Sequence[Fitted]], manifest: Manifest) -> Iterator[ShapeForecast]:
    total = sum(len(fit.sizes) for fits in fitted.values() for fit in fits)
    for shape, budget in enumerate(manifest.budgets):
        own = {name: [fit.sizes for fit in fits if fit.shape == shape] for name, fits in fitted.items()}
        sizes = Sizes.concatenate([of_part for parts in own.values() for of_part in parts])
        by_type = device_bytes(usual_inputs(manifest.reached, budget))
        types = tuple(_types(sizes, budget, manifest.graph, by_type))
        yield ShapeForecast(
            tuple(name for name, parts in own.items() if parts), len(sizes) / total, sum(by_type.values()), types
        )


def _types(
    sizes: Sizes, budget: Budget, schema: GraphSchema, by_type: Mapping[tuple[str, str], int]
) -> Iterator[TypeForecast]:
    for kind, names, totals, budgets in (
        ("nodes", schema.node_names, sizes.node_totals, budget.num_nodes),
        ("edges", schema.edge_keys, sizes.edge_totals, budget.num_edges),
    ):
        for i, name in enumerate(names):
            mean, most = float(totals[:, i].mean()), int(totals[:, i].max())
            yield TypeForecast(
                kind, name, budgets[name], mean, most, mean / budgets[name], by_type.get((kind, name), 0)
            )


def _split(
    name: str, fits: Sequence[Fitted], budgets: Sequence[Budget], coverage: Coverage, counted: Counted
) -> SplitForecast:
    seeds = np.concatenate([fit.plan.num_seeds() for fit in fits])
    num_batches = coverage.num_batches(len(seeds))
    trimmed = [fit.trimmed.node_totals.any(axis=1) | fit.trimmed.edge_totals.any(axis=1) for fit in fits]
    nodes = [(fit.sizes.node_totals.sum(), len(fit.sizes) * _sum(budgets[fit.shape].num_nodes)) for fit in fits]
    edges = [(fit.sizes.edge_totals.sum(), len(fit.sizes) * _sum(budgets[fit.shape].num_edges)) for fit in fits]
    return SplitForecast(
        name=name,
        num_seeds=coverage.num_seeds,
        num_rounds=coverage.num_rounds,
        batches_per_round=num_batches / coverage.num_rounds,
        num_batches=num_batches,
        num_batches_skipped=sum(fit.num_batches_skipped for fit in fits),
        seeds_per_batch=(int(seeds.min()), float(seeds.mean()), int(seeds.max())),
        seed_fill=float(seeds.mean() / budgets[0].max_seeds),
        node_fill=float(np.divide(*np.sum(nodes, axis=0))),
        edge_fill=float(np.divide(*np.sum(edges, axis=0))),
        share_trimmed=float(np.concatenate(trimmed).mean()),
        edge_draws={key: draws.model_dump() for key, draws in counted.edge_draws[name].items()},
        coverage=coverage,
    )


def _sum(sizes: Mapping[str, int]) -> int:
    return sum(sizes.values())


def _times_counted(fitted: Mapping[str, Sequence[Fitted]], num_batches: Mapping[str, int]) -> float:
    """Batches of the whole job over counted ones."""
    return _sum(num_batches) / sum(len(fit.sizes) for fits in fitted.values() for fit in fits)


def as_json(found: Forecast) -> dict[str, Any]:
    """Plain values, for `plan --json`."""
    return asdict(found)
