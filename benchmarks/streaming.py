"""How fast batches arrive, and whether their arrival slows the step down.

    python -m benchmarks.streaming configs/imdb.toml

Every labelled node is a training seed. Compared on one store, page cache warm:
- batches/s of the trainer's stream alone, features gathered (those that are mostly zeros also as sparse rows) or
  (`ids only`) not;
- the floor: reading the same chunk files and decoding them, one after another in a loop, nothing else;
- `zarr.open(...)[path][k]` for every tensor of every batch;
- bytes/s of gathering features, beside copying as many bytes;
- the step of a model on one resident batch, beside the step fed by the stream, with `--threads` threads of torch (with
  as many as there are cores none is left for the stream); with `--device-features always`, too, features are gathered
  by the step, and with `--sparse-features never` all of them are dense.
"""

import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import click
import numpy as np

from benchmarks.measure import in_turns, show, table
from heteroshards.schemas import layout
from heteroshards.schemas.config import JobConfig, load_config
from heteroshards.schemas.inputs import InputSpec, model_inputs
from heteroshards.schemas.store.memory import aligned_empty
from heteroshards.trainer import open_store
from heteroshards.trainer.features import sparse_entries, sparse_types
from heteroshards.trainer.reading.buffers import BufferPool
from heteroshards.trainer.reading.order import shuffled_order
from heteroshards.trainer.reading.shards import ShardReader, input_source
from heteroshards.trainer.reading.store import Store
from heteroshards.trainer.reading.stream import BatchStream

warnings.filterwarnings("ignore", message="`torch.jit.script")


def everything_a_seed(config: Path, batch_size: int | None, folder: str, rounds: int = 1) -> JobConfig:
    """The job with all labelled nodes as training seeds and its stores and caches in `folder`."""
    whole = {"train": 1.0, "val": 0.0, "test": 0.0}
    places = {"store.root": folder, "train.cache": f"{folder}/cache", "train.root": f"{folder}/runs"}
    overrides = {"dataset.random_split": whole, "dataset.masks": None, "sampling.rounds": rounds, **places}
    return load_config(config, {**overrides, "sampling.batch_size": batch_size})


class Streams:
    """Ways to go through all rounds of split train."""

    def __init__(self, store: Store, inputs: list[InputSpec]) -> None:
        self.store, self.inputs = store, inputs
        graph, budget = store.manifest.reached, store.manifest.budgets[0]
        types = sparse_types(store, graph, True) if store.manifest.features == "table" else []
        entries = sparse_entries(store, types, budget, True)
        self.sparse_inputs = model_inputs(graph, budget, sparse_entries=entries)
        self.info = store.split("train")
        rounds = [shuffled_order(self.info, r, store.manifest.chunk_batches, 0, r) for r in range(self.info.num_rounds)]
        self.order = np.concatenate(rounds)
        specs = [store.reader(input_source(store, "train", spec).path).spec for spec in inputs]  # as stored
        self.specs = list({spec.path: spec for spec in specs}.values())
        self.pool = BufferPool()  # as the streams of a job have it, one epoch after another
        self.buffers = [aligned_empty(spec.chunk_bytes) for spec in self.specs]

    def stream(self, inputs: list[InputSpec]) -> None:
        with BatchStream(self.store, "train", [inputs], self.order, pool=self.pool) as stream:
            for _, tensors in stream:
                assert len(tensors) == len(inputs)

    def floor(self) -> None:
        """Read and decode every chunk file once, into buffers that are used again."""
        import numcodecs

        decoders = {"blosc-lz4": numcodecs.Blosc().decode, "zstd": numcodecs.Zstd().decode}
        root, zarr_format = Path(self.store.path), self.store.manifest.zarr_format
        for chunk in range(self.specs[0].num_chunks):
            for spec, buffer in zip(self.specs, self.buffers, strict=True):
                name = layout.chunk_name(zarr_format, chunk, len(spec.shape))
                data = (root / spec.path / name).read_bytes()
                if spec.codec in decoders:
                    decoders[spec.codec](data, out=buffer)

    def through_zarr(self, num_batches: int) -> None:
        import zarr

        group = zarr.open_group(self.store.path, mode="r")
        arrays = [group[spec.path] for spec in self.specs]
        for batch in self.order[:num_batches]:
            for array in arrays:
                array[int(batch)]

    def gather(self) -> tuple[Callable[[], object], Callable[[], object], int]:
        """Gathering one shard's features, copying as many bytes, and how many they are."""
        gathered = [spec for spec in self.inputs if input_source(self.store, "train", spec).table]
        reader = ShardReader(self.store, "train", gathered, BufferPool())  # a stream's buffers are used again, too
        arrays = reader.read(0)
        rows = np.arange(min(self.info.num_batches, self.store.manifest.chunk_batches))
        num_bytes = reader.gathered_bytes * len(rows)
        source, target = aligned_empty(num_bytes), aligned_empty(num_bytes)
        source[:] = 1
        return partial(reader.batches, arrays, rows), partial(np.copyto, target, source), num_bytes


def rates(streams: Streams, repeats: int) -> list[list[str]]:
    total, few = len(streams.order), min(len(streams.order), 40)
    graph, budget = streams.store.manifest.reached, streams.store.manifest.budgets[0]
    ids_only = list(model_inputs(graph, budget, features_by_id=True))
    runs = {
        "stream": lambda: streams.stream(streams.inputs),
        "stream, sparse features": lambda: streams.stream(streams.sparse_inputs),
        "stream, ids only": lambda: streams.stream(ids_only),
        "floor": streams.floor,
        "zarr": lambda: streams.through_zarr(few),
    }
    seconds = in_turns(runs, repeats)
    rate = {name: (few if name == "zarr" else total) / taken for name, taken in seconds.items()}
    rows = [
        [name, f"{value:,.0f}", f"{value / rate['floor']:.2f}", f"{value / rate['zarr']:.1f}"]
        for name, value in rate.items()
    ]
    gather, copy, num_bytes = streams.gather()
    moved = in_turns({"gather": gather, "copy": copy}, 3 * repeats)
    share = moved["copy"] / moved["gather"]
    rows.append(["gathering features", f"{num_bytes / moved['gather'] / 1e9:.1f} GB/s", f"{share:.2f} of copying", ""])
    return rows


def steps(job: JobConfig, store: Store, model: str, backend: str, device: str, sparse: str, repeats: int) -> list[str]:
    """Seconds per step on one resident batch and under the stream, and the share spent waiting."""
    from heteroshards.trainer.job import backend_of, open_job

    values = job.model_dump(exclude_unset=True)
    values["model"] = {**values.get("model", {}), "name": model}
    values["train"] = {**values.get("train", {}), "backend": backend, "device_features": device}
    values["train"]["sparse_features"] = sparse
    job = JobConfig.model_validate(values)
    order = shuffled_order(store.split("train"), 0, store.manifest.chunk_batches, 0, 0)
    waited: list[float] = []
    with open_job(job, store, backend_of(job)) as opened:
        with opened.stream("train", order[:1]) as stream:
            resident = next(iter(stream))[1]

        def on_one() -> None:
            for _ in order:
                loss = opened.compiled.step(resident)[1]
            float(loss)  # waits for a GPU

        def on_stream() -> None:
            with opened.stream("train", order) as stream:
                for _, tensors in stream:
                    loss = opened.compiled.step(tensors)[1]
                float(loss)
            waited.append(stream.waited_s)

        seconds = in_turns({"resident": on_one, "stream": on_stream}, repeats)
    per_step = {name: 1000 * taken / len(order) for name, taken in seconds.items()}
    slower = per_step["stream"] / per_step["resident"] - 1
    wait = float(np.median(waited[1:])) / seconds["stream"]
    return [
        model,
        backend,
        device,
        sparse,
        f"{per_step['resident']:.2f}",
        f"{per_step['stream']:.2f}",
        f"{slower:+.1%}",
        f"{wait:.1%}",
    ]


@click.command(help=__doc__)
@click.argument("config", type=click.Path(path_type=Path, exists=True))
@click.option("--batch-size", type=int, help="Instead of the config's.")
@click.option("--rounds", default=1, show_default=True, help="Rounds in the store, streamed in one go.")
@click.option("--model", "models", multiple=True, default=("to_hetero",), show_default=True)
@click.option("--backend", "backends", multiple=True, default=("eager", "inductor"), show_default=True)
@click.option("--device-features", "features", multiple=True, default=("never",), show_default=True)
@click.option("--sparse-features", "sparse", multiple=True, default=("auto", "never"), show_default=True)
@click.option("--threads", type=int, help="Threads of torch; its default by default.")
@click.option("--repeats", default=5, show_default=True)
@click.option("--write", is_flag=True, help="Add the tables to benchmarks/RESULTS.md.")
def main(
    config: Path,
    batch_size: int | None,
    rounds: int,
    models: tuple[str, ...],
    backends: tuple[str, ...],
    features: tuple[str, ...],
    sparse: tuple[str, ...],
    threads: int | None,
    repeats: int,
    write: bool,
) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)
    from heteroshards.pipeline.preparation.run import prepare_source
    from heteroshards.pipeline.sources import load_dataset

    with tempfile.TemporaryDirectory() as folder:
        job = everything_a_seed(config, batch_size, folder, rounds)
        store = open_store(prepare_source(load_dataset(job.dataset), job).path)
        streams = Streams(store, list(model_inputs(store.manifest.reached, store.manifest.budgets[0])))
        first = table(["way", "batches/s", "of the floor", "times zarr"], rates(streams, repeats))
        cases = product(models, backends, features, sparse)
        found = [steps(job, store, *case, repeats) for case in cases]
        header = ["model", "backend", "device_features", "sparse_features", "resident, ms/step", "stream, ms/step"]
        header += ["slower by", "waiting"]
        show(f"Streaming, {job.name}", f"{first}\n\n{table(header, found)}", write)


if __name__ == "__main__":
    main()
