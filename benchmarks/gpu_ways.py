"""Ways to train one model on one store, as `benchmarks.gpu` compares them. Each makes some steps a call."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.card import Card
from benchmarks.step import WITH_SAMPLER, Edges, Loaded, Plain, Sample, Sampled
from heteroshards.pipeline.sources.source import SourceGraph
from heteroshards.schemas.config import JobConfig, TrainConfig
from heteroshards.trainer.backends import Backend, CompiledModel
from heteroshards.trainer.backends.eager import EagerBackend, TorchModel
from heteroshards.trainer.job import open_job
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.reading.order import shuffled_order
from heteroshards.trainer.reading.store import Store

LOADER_WORKERS = 4

Run = Callable[[], tuple[int, float]]  # makes steps; how many, and seconds waited for data


class Rate(NamedTuple):
    """`waiting` is the share of the time that went by waiting for data."""

    steps_per_s: float
    waiting: float
    peak_mib: float


def rate_of(card: Card, run: Run, seconds: float) -> Rate:
    """Of whole calls of `run`, after one that compiles, captures and fills caches, for about `seconds`."""
    run()
    card.wait()
    num_steps, waited_s, started = 0, 0.0, time.perf_counter()
    while num_steps == 0 or time.perf_counter() - started < seconds:
        steps, waited = run()
        num_steps, waited_s = num_steps + steps, waited_s + waited
        card.wait()
    taken_s = time.perf_counter() - started
    return Rate(num_steps / taken_s, waited_s / taken_s, card.peak_mib())


def job_with(job: JobConfig, model: str, device_features: str = "auto", dropout: float | None = None) -> JobConfig:
    """The job with another model and place of features."""
    of_model = {"name": model} if dropout is None else {"name": model, "dropout": dropout}
    changed = {
        "model": job.model.model_copy(update=of_model),
        "train": job.train.model_copy(update={"device_features": device_features}),
    }
    return job.model_copy(update=changed)


@contextmanager
def ours(card: Card, job: JobConfig, store: Store, backend: Backend) -> Iterator[dict[str, Run]]:
    """Steps of the trainer: on one resident batch, and on its own stream of all batches, a round a call."""
    info = store.split("train")
    with open_job(job, store, backend) as opened:
        order = shuffled_order(info, 0, store.manifest.chunk_batches, 0, 0)[: card.effort.batches]
        with opened.stream("train", order[:1]) as stream:
            resident = next(iter(stream))[1]

        def on_one() -> tuple[int, float]:
            for _ in range(card.effort.steps):
                opened.compiled.step(resident)
            return card.effort.steps, 0.0

        def on_stream() -> tuple[int, float]:
            with opened.stream("train", order) as stream:
                for _, tensors in stream:
                    opened.compiled.step(tensors)
                card.wait()
                return len(order), stream.waited_s

        yield {"resident": on_one, "stream": on_stream}


def plain_pyg(card: Card, job: JobConfig, source: SourceGraph, num_batches: int) -> Run:
    """A call is an epoch of the same model in plain PyG, eager, on the card."""
    num_batches = min(num_batches, card.effort.batches)
    if WITH_SAMPLER:
        batches = Loaded(job, source, num_workers=LOADER_WORKERS, pin_memory=True, persistent_workers=True)
    else:
        batches = Kept(card, Sampled(job, source), num_batches)
    plain = Plain(job.model.name, job, source, num_batches, batches=batches, device=card.device)

    def epoch() -> tuple[int, float]:
        return num_batches, plain.epoch(0).data_s

    return epoch


class Kept:
    """The first batches of `sampled`, again and again, in page-locked memory."""

    def __init__(self, card: Card, sampled: Sampled, num_batches: int) -> None:
        kept = (sample for _, sample in zip(range(num_batches), sampled, strict=False))
        self.samples = [_pinned(card, sample) for sample in kept]

    def __iter__(self) -> Iterator[Sample]:
        return cycle(self.samples)


def _pinned(card: Card, sample: Sample) -> Sample:
    pin = card.pin
    x_dict = {name: pin(x) for name, x in sample.x_dict.items()}
    n_id_dict = {name: pin(ids) for name, ids in sample.n_id_dict.items()}
    edges: Edges = {kind: pin(index) for kind, index in sample.edge_index_dict.items()}
    return Sample(x_dict, n_id_dict, edges, pin(sample.y))


class SelfCapturing(Backend):
    """Our padded step, forward and backward pass compiled by `torch.compile` with graphs of its own."""

    name = "reduce-overhead"

    def __init__(self, card: Card) -> None:
        self._card = card

    def is_available(self) -> tuple[bool, str]:
        return True, ""

    def compile(
        self, model: SeedModel, train: TrainConfig, example: Sequence[Tensor], siblings: Sequence[SeedModel] = ()
    ) -> CompiledModel:
        return _SelfCapturing(self._card, model, train, example, siblings)


class _SelfCapturing(TorchModel):
    def __init__(
        self,
        card: Card,
        model: SeedModel,
        train: TrainConfig,
        example: Sequence[Tensor],
        siblings: Sequence[SeedModel],
    ) -> None:
        super().__init__(model, train, example, siblings, card.device)
        self.transfer = card.graphs.transfer()
        self._compiled = [torch.compile(shape, dynamic=False, **card.compiler) for shape in self._models]

    def forward(self, kind: str, shape: int, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        torch.compiler.cudagraph_mark_step_begin()
        return self._compiled[shape](*batch)


def first_losses(card: Card, job: JobConfig, store: Store) -> float:
    """The greatest relative difference between the losses of the card and those of eager PyTorch on the CPU."""
    losses = []
    for backend in (EagerBackend(), card.backend()):
        with open_job(job, store, backend) as opened:
            order = shuffled_order(store.split("train"), 0, store.manifest.chunk_batches, 0, 0)[: card.effort.losses]
            with opened.stream("train", order) as stream:
                taken = [opened.compiled.step(tensors)[1] for _, tensors in stream]
            losses.append(torch.stack([loss.cpu() for loss in taken]))
    return float(((losses[1] - losses[0]).abs() / losses[0].abs()).max())
