"""How fast batches arrive here, and how long a step takes, on a store that is there."""

import time
from typing import Dict, NamedTuple

from heteroshards.trainer.job import Job
from heteroshards.trainer.reading.order import shuffled_order


class Pass(NamedTuple):
    """One pass over a round of split train.

    Attributes:
        num_steps: calls of a compiled step, of `group` batches each. num_batches, num_bytes: that were read for them.
        waited_s: of `seconds`, those in which the step waited for batches.
    """

    num_steps: int
    num_batches: int
    num_bytes: int
    seconds: float
    waited_s: float

    def as_values(self) -> Dict[str, float]:
        """Per second and per step."""
        return {
            "batches_per_s": self.num_batches / self.seconds,
            "megabytes_per_s": self.num_bytes / 1e6 / self.seconds,
            "ms_per_step": 1000 * self.seconds / self.num_steps,
            "waited_percent": 100 * self.waited_s / self.seconds,
        }


def time_pass(job: Job, with_step: bool) -> Pass:
    """One pass, after a first one that compiles and warms up. Weights change; nothing of them is kept.

    Args:
        with_step: train on the batches; else they are read and dropped.
    """
    _pass(job, with_step)
    return _pass(job, with_step)


def _pass(job: Job, with_step: bool) -> Pass:
    info, group = job.store.split("train"), job.compiled.step_batches
    order = shuffled_order(info, 0, job.store.manifest.chunk_batches, job.config.train.rng_seed, 0, group)
    num_steps, num_bytes, loss = 0, 0, None
    started = time.perf_counter()
    with job.stream("train", order, group=group) as stream:
        for _, tensors in stream:
            if with_step:
                _, loss = job.compiled.step(tensors)
            num_steps += 1
            num_bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        if loss is not None:
            float(loss.sum())  # what a device still computes belongs to the pass
        seconds, waited_s = time.perf_counter() - started, stream.waited_s
    return Pass(num_steps, len(order), num_bytes, seconds, waited_s)
