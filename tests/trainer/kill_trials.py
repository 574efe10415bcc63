"""Kill `python -m trainer train` with SIGKILL at random moments, again and again, until it has ended.

    python -m tests.trainer.kill_trials CONFIG FOLDER KILLS SEED

Imports once and forks a process for each command. Prints JSON, for tests/trainer/test_kills.py.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import click  # noqa: F401, what the forked commands import is imported here
import pyarrow.parquet  # noqa: F401
import torch
import torch.utils.tensorboard
import zarr  # noqa: F401

import heteroshards.trainer.training  # noqa: F401
from heteroshards.trainer.cli import main as train_command


def forked(config: str, run: Path) -> int:
    """Start the command in a process of its own; its id."""
    pid = os.fork()
    if pid:
        return pid
    torch.set_num_threads(1)
    with open(run.with_suffix(".log"), "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        train_command(["train", "--config", config, "--run", str(run)], standalone_mode=False)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def stood(run: Path) -> Dict[str, Any]:
    """Where a killed run was: epochs recorded, and whether a checkpoint was being written."""
    metrics = run / "metrics.jsonl"
    return {
        "epochs": metrics.read_text().count("\n") if metrics.exists() else 0,
        "was_writing": sorted(path.name.split(".")[1] for path in run.glob(".*.tmp")),
    }


def killed(config: str, run: Path, num_kills: int, rng: random.Random) -> List[Dict[str, Any]]:
    """Kill and repeat the command, the k-th time after k epochs: at some moment, or every other time while a checkpoint
    is being written. Then let it end."""
    kills: List[Dict[str, Any]] = []
    while len(kills) < num_kills:
        pid = forked(config, run)
        at_checkpoint = len(kills) % 2
        while stood(run)["epochs"] < len(kills) or (at_checkpoint and not list(run.glob(".*.pt.*.tmp"))):
            if os.waitpid(pid, os.WNOHANG)[0]:
                return kills  # it has ended before
            time.sleep(0.0005)
        if not at_checkpoint:
            time.sleep(rng.uniform(0, 0.05 if kills else 0.3))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        kills.append(stood(run))
    os.waitpid(forked(config, run), 0)
    return kills


def main(config: str, folder: Path, num_kills: int, seed: int) -> None:
    os.waitpid(forked(config, folder / "whole"), 0)
    print(json.dumps(killed(config, folder / "cut", num_kills, random.Random(seed))))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
