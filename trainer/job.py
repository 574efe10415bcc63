"""A model built and compiled for one store: what training, evaluation and prediction begin with."""

from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from heteroshards.schemas.attributes import CODE_DTYPE
from heteroshards.schemas.backends import BACKENDS
from heteroshards.schemas.config import JobConfig, ModelConfig
from heteroshards.schemas.errors import BackendError, CorruptChunkError, ModelError, StoreError
from heteroshards.schemas.graph import GraphSchema
from heteroshards.schemas.inputs import EXTRA_INPUTS, InputSpec, model_inputs, shape_signature
from heteroshards.schemas.layout import Purpose
from heteroshards.schemas.manifest import Part, SplitInfo
from heteroshards.schemas.paths import as_path
from heteroshards.schemas.seam import require, typed
from heteroshards.schemas.store.checks import REBUILD
from heteroshards.trainer.backends import Backend, CompiledModel, backend_class, resolve_backend
from heteroshards.trainer.backends.signature import find_shape
from heteroshards.trainer.features import resident_features, sparse_entries, sparse_features
from heteroshards.trainer.models import build_model
from heteroshards.trainer.models.contract import Declared
from heteroshards.trainer.models.padding_proof import UnprovenError, find_dependence
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.models.user_errors import telling
from heteroshards.trainer.reading.buffers import BufferPool
from heteroshards.trainer.reading.store import Store
from heteroshards.trainer.reading.stream import BatchStream
from heteroshards.trainer.runs.quarantine import Quarantine
from heteroshards.trainer.runs.report import SILENT, Console
from heteroshards.trainer.tasks.task import TaskObjective, objective_of

FEATURES = ("x", "edge_attr")  # kinds of inputs

# What may change when a run goes on: how long, how fast and past what damage, never what is computed.
FREE_TRAIN_KEYS = {
    "epochs",
    "patience",
    "prefetch",
    "check_chunks",
    "on_corrupt",
    "request_tries",
    "request_seconds",
    "root",
    "cache",
    "backend",
    "device_features",
}


@dataclass(frozen=True)
class Job:
    """A compiled model and the store it was compiled for.

    Attributes:
        inputs: what the model takes, in order, for each shape of the store.
        identity: what a checkpoint must agree with, as plain values.
        quarantine: the batches that are left out because they are damaged.
        pool: the memory of its streams, kept from one to the next.
        graph: of the store's schema the types that the model knows, in its order.
        objective: what the model is asked.
        extra_inputs: of the model, see `trainer.models`.
        weights: where the present weights were loaded from: `checkpoint`, the store they were `trained_on`, and
            `differences` between that store and this one, in words. Empty while they are the initial ones.
        padding_dependence: how the model's answers change with the padding, where that is so and allowed.
    """

    config: JobConfig
    store: Store
    inputs: Tuple[Tuple[InputSpec, ...], ...]
    compiled: CompiledModel
    identity: Dict[str, Any]
    quarantine: Quarantine
    pool: BufferPool
    graph: GraphSchema
    objective: TaskObjective
    extra_inputs: Tuple[str, ...] = ()
    weights: Dict[str, Any] = field(default_factory=dict)
    padding_dependence: Optional[str] = None

    @property
    def monitor(self) -> str:
        """The score that says which epoch is the best."""
        return self.config.monitor or self.objective.metric

    def stream(self, split: str, order: np.ndarray, start: int = 0, group: int = 1) -> BatchStream:
        """Batches of a split as the model takes them, `group` a call."""
        train = self.config.train
        return BatchStream(
            self.store,
            split,
            self.inputs,
            order,
            start=start,
            prefetch=train.prefetch,
            check_chunks=train.check_chunks,
            group=group,
            transfer=self.compiled.transfer,
            pool=self.pool,
        )


def backend_of(config: JobConfig) -> Backend:
    """The backend that the config names, or the best one here for `auto`."""
    return resolve_backend(config.train.backend, as_path(config.train.cache), config.ipu)


@contextmanager
def open_job(
    config: JobConfig,
    store: Store,
    backend: Backend,
    console: Console = SILENT,
    *,
    graph: Optional[GraphSchema] = None,
) -> Iterator[Job]:
    """Build the model from the store's schema, compile it for each of its shapes, and free it at the end.

    Initial weights are a function of `config.train.rng_seed`.

    Args:
        graph: of the store's schema those types that the model knows, in its order, for weights of such a model;
            by default those that batches have.

    Raises:
        ModelError, BackendError: the model cannot be built or compiled, the backend cannot run the store's shapes, or
            answers depend on padding, which is not allowed.
        StoreError: no batch can be read to build it with.
        ConfigError: feature tables shall lie beside the model, or features come as sparse rows, and cannot.
    """
    require(config, JobConfig, "config")
    require(store, Store, "store")
    _require_one_shape(backend, store)
    torch.manual_seed(config.train.rng_seed)
    manifest = store.manifest
    first, *others = manifest.budgets
    graph = graph or manifest.reached
    if manifest.unreached:
        console.line(manifest.unreached.line)
    objective = objective_of(graph.task, config)
    inner = build_model(config.model, graph)
    extras = Declared.by(inner).extra_inputs
    resident = resident_features(store, graph, config.train, backend, with_edges="edge_attr" in extras)
    sparse = sparse_features(store, graph, config.train, backend, inner)
    room = [sparse_entries(store, sparse, budget, config.train.check_chunks) for budget in manifest.budgets]
    model = SeedModel(inner, graph, first, config.model, resident=resident, sparse_entries=room[0], objective=objective)
    siblings = [model.for_budget(budget, entries) for budget, entries in zip(others, room[1:])]
    inputs = tuple(tuple(shape.inputs) for shape in (model, *siblings))
    quarantine = Quarantine(store, config.train.on_corrupt == "skip", console)
    example = example_batch(store, inputs, quarantine)
    dependence = _prove(config.model, (model, *siblings), store, quarantine, console)
    with telling("building", model.name):
        compiled = backend.compile(model, config.train, example, siblings)
    compiled.compiling.tell = console.waiting
    for note in compiled.notes:
        console.line(f"warning: {note}")
    try:
        shapes = [spec for budget in manifest.budgets for spec in model_inputs(graph, budget, extras)]
        identity = {**identity_of(config, store, backend.name), "shape_signature": shape_signature(shapes)}
        identity["sparse_features"] = sorted(sparse)  # what "auto" came to; `device_features` may change it
        pool = BufferPool(compiled.transfer.allocate)
        yield Job(config, store, inputs, compiled, identity, quarantine, pool, graph, objective, extras, {}, dependence)
    finally:
        compiled.close()


def _prove(
    config: ModelConfig, models: Sequence[SeedModel], store: Store, quarantine: Quarantine, console: Console
) -> Optional[str]:
    """Show that answers do not depend on padding; of the built-in models the tests show it.

    Returns:
        In which way they do, where that is allowed.

    Raises:
        ModelError: they do.
    """
    if ":" not in config.name:
        return None
    model, batch = _dense_batch(models, store, quarantine)
    try:
        found = find_dependence(model, batch)
    except UnprovenError as reason:
        console.line(f"note: whether padding changes what the model says could not be tested: {reason}")
        return None
    if found is None:
        return None
    if not config.allow_padding_dependence:
        raise found.error(model.name)
    console.line(f"warning: what the model makes of real rows changes with the padding around them: {found.line}")
    return found.line


def _dense_batch(
    models: Sequence[SeedModel], store: Store, quarantine: Quarantine
) -> Tuple[SeedModel, Dict[Tuple[str, str, str], Tensor]]:
    """A batch with all that a model can take, and the one of `models`, one a shape, that takes it.

    Features that the model gets in another way are random numbers here: their tables may be too large to be read.
    """
    every = [model_inputs(model.graph, model.budget, EXTRA_INPUTS) for model in models]
    taken = {spec.place for spec in models[0].inputs}
    are_read = [[s for s in specs if s.kind not in FEATURES or s.place in taken] for specs in every]
    tensors = example_batch(store, are_read, quarantine)
    shape = find_shape(are_read, tensors)
    batch = {spec.place: tensor for spec, tensor in zip(are_read[shape], tensors)}
    generator = torch.Generator().manual_seed(0)
    for spec in (spec for spec in every[shape] if spec.place not in batch):
        numbers = torch.randn(spec.shape, generator=generator)
        batch[spec.place] = numbers if spec.dtype != CODE_DTYPE else torch.zeros(spec.shape, dtype=torch.int32)
    return models[shape], batch


def identity_of(config: JobConfig, store: Store, backend: str) -> Dict[str, Any]:
    """What makes two runs the same computation. The backend is the one that runs, never `auto`."""
    identity = {
        "store": store.fingerprint,
        "model": config.model.identity(),
        "task": config.task.model_dump(mode="json", exclude={"metric"}),
        "backend": backend,
        "train": config.train.model_dump(mode="json", exclude=FREE_TRAIN_KEYS),
    }
    return {**identity, **(backend_class(backend).identity(config) if backend in BACKENDS else {})}


@typed("compiling", BackendError)
def compile_offline(config: JobConfig, store: Store) -> Path:
    """Compile a job for hardware that is not here, with the first backend that can; returns the folder of executables.

    Raises:
        BackendError: what compiles is not installed, or refuses the model.
        ConfigError: executables are not kept.
    """
    found = (backend_class(name).offline(config, as_path(config.train.cache)) for name in BACKENDS)
    backend, folder = next(kind for kind in found if kind)
    is_available, reason = backend.is_available()
    if not is_available:
        raise BackendError("executables cannot be compiled here", actual=reason, hint=backend.way_out)
    with open_job(config, store, backend) as job:
        purposes: Tuple[Tuple[str, Purpose], ...] = (("train", "train"), ("infer", "inference"))
        for kind, purpose in purposes:
            for shape in store.manifest.shapes_for(purpose):
                job.compiled.compile_only(kind, example_batch(store, job.inputs, job.quarantine, shape))
    return folder


def _require_one_shape(backend: Backend, store: Store) -> None:
    """Raise BackendError where the backend takes one shape a split, and a split has several."""
    several = {split.name: len(split.parts) for split in store.manifest.splits if len(split.parts) > 1}
    if backend.one_shape_a_split and several:
        raise BackendError(
            f"backend '{backend.name}' takes batches of one shape from each split: a model is wrapped once",
            actual=", ".join(f"split {name} of {count} shapes" for name, count in several.items()),
            where=store.path,
            hint="Prepare the store with [budget] shapes = 1.",
        )


def example_batch(
    store: Store, inputs: Sequence[Sequence[InputSpec]], quarantine: Quarantine, shape: Optional[int] = None
) -> Sequence[Tensor]:
    """The first intact batch of a shape, or of the first shape that has one."""
    for split, part in _parts_of(store, range(len(inputs)) if shape is None else [shape]):
        batches = np.arange(part.first_batch, part.first_batch + part.num_batches)
        while not (is_out := quarantine.is_out(split.name, batches)).all():
            first = batches[~is_out][:1]
            try:
                with BatchStream(store, split.name, inputs, first) as stream:
                    return next(iter(stream))[1]
            except StoreError as error:
                quarantine.add(error)
    raise CorruptChunkError("no batch is left to build a model with", where=store.path, hint=REBUILD)


def _parts_of(store: Store, shapes: Iterable[int]) -> Iterator[Tuple[SplitInfo, Part]]:
    every = [(split, part) for split in store.manifest.splits for part in store.manifest.parts(split)]
    for shape in shapes:
        yield from (found for found in every if found[1].shape == shape)


@contextmanager
def naming(batches: str) -> Iterator[None]:
    """Say in an error of the backend's or the model's which batches it was working on."""
    try:
        yield
    except (BackendError, ModelError) as error:
        raise error.at(batches) from error
