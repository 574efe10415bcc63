"""Runs that are stopped at a step of their own choice, and what runs leave behind, for tests."""

import os
import signal
from pathlib import Path
from typing import Any, Dict, List

import torch
from torch import Tensor

from heteroshards.trainer.backends import Backend
from heteroshards.trainer.runs.names import BEST
from heteroshards.trainer.runs.report import read_metrics


def stop_at(backend: Backend, at: int, number: int = signal.SIGINT) -> Backend:
    """The backend, whose models send a signal (by default that of Ctrl-C) to this process during step number `at`."""
    compile_model = backend.compile

    def stopping(*args: Any) -> Any:
        compiled, steps = compile_model(*args), iter(range(1_000_000))
        step = compiled.step

        def stopped(batch: Any) -> Any:
            if next(steps) == at:
                os.kill(os.getpid(), number)
            return step(batch)

        compiled.step = stopped
        return compiled

    backend.compile = stopping
    return backend


def losses(run: Path) -> List[float]:
    return [record["loss"] for record in read_metrics(run)]


def weights(run: Path, name: str = BEST) -> Dict[str, Tensor]:
    return torch.load(run / name, weights_only=True)["model"]


def equal(one: Dict[str, Tensor], other: Dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)
