"""How long each phase of `prepare` takes here, in a store that is thrown away."""

import itertools
import tempfile
import time
from pathlib import Path

from heteroshards.pipeline.preparation.planning import plan_store, request_of
from heteroshards.pipeline.preparation.road import Preparation
from heteroshards.pipeline.reporting import silent
from heteroshards.pipeline.sources.load import load_dataset
from heteroshards.pipeline.writing.place import writing
from heteroshards.schemas.config import JobConfig


def time_phases(config: JobConfig, workers: int) -> tuple[int, dict[str, float]]:
    """Seeds of all rounds together, and seconds of each phase.

    Counting is done twice, and the second time counts: the first may compile kernels.

    Raises:
        DatasetError, GraphError, ConfigError, BudgetError, StoreError: as `prepare`.
    """
    import torch_geometric.data  # noqa: F401  # or it would count as loading

    marks = [("", time.perf_counter())]

    def mark(phase: str) -> None:
        marks.append((phase, time.perf_counter()))

    with tempfile.TemporaryDirectory(prefix="heteroshards-bench-") as folder:
        source = load_dataset(config.dataset, job=config)
        mark("load")
        request = request_of(source, config, Path(folder) / "store")
        mark("check and hash")
        plan_store(request, workers)
        mark("")
        planned = plan_store(request, workers)
        mark("group and count")
        with writing(request.path, silent):
            preparation = Preparation(planned, request.path)
            preparation.init()
            preparation.write(list(preparation.partitions), silent)
            preparation.finalise()
        mark("sample, pad and write")
    num_seeds = sum(split.num_seeds * split.num_rounds for split in planned.manifest.splits)
    seconds = {phase: end - start for (_, start), (phase, end) in itertools.pairwise(marks) if phase}
    return num_seeds, seconds
