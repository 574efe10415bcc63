"""Kill `prepare` with SIGKILL at random moments, and go on: `python -m tests.pipeline.kill_trials FOLDER TRIALS`.

Imports and compiles once, then forks a process per trial. Prints JSON, for tests/pipeline/test_faults.py.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from heteroshards import pipeline
from heteroshards.pipeline.writing import partitions
from tests.pipeline.build import job
from tests.pipeline.stores import files_of
from tests.strategies import random_graph


def small_job(root: Path) -> tuple[Any, Any]:
    """A graph and a config whose store has one split, some 20 partitions and some hundred files."""
    data = random_graph(np.random.default_rng(0), {"a": 40, "b": 9}, {("b", "to", "a"): 60}, "a", {"a": 2})
    data["a"].train_mask[:] = True
    dataset, sampling = {"masks": {"train": "train_mask"}}, {"batch_size": 2, "rounds": 1, "fanout": [2]}
    return data, job(data, root, dataset=dataset, sampling=sampling, store={"chunk_batches": 1, "codec": "none"})


def forked(store: Path) -> int:
    """Start a prepare of `store` in a process of its own; its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        pipeline.prepare(*small_job(store.parent), store=store)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def written(work: Path) -> dict[str, int]:
    """Chunk files of finished partitions, with the time at which each was written."""
    times = {}
    for record in work.glob("partitions/*.json"):
        for path, chunks in json.loads(record.read_text()).items():
            for file in (work / "store" / path).glob("[0-9]*"):
                if file.name.partition(".")[0] in chunks:
                    times[str(file.relative_to(work / "store"))] = file.stat().st_mtime_ns
    return times


def trial(store: Path, whole: dict[str, str], seconds: float) -> dict[str, Any]:
    """Kill a prepare after some seconds, repeat it to the end, and say what was left and what came of it."""
    pid = forked(store)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    work = store.with_name(store.name + ".partial")
    was_visible, finished = store.exists(), written(work)
    is_whole = was_visible and files_of(store) == whole
    _, resumed = os.waitpid(forked(store), 0)
    return {
        "was_killed": os.WIFSIGNALED(status),
        "num_finished": len(finished),
        "num_rewritten": sum((store / name).stat().st_mtime_ns != then for name, then in finished.items()),
        "shows_only_whole_stores": is_whole or not was_visible,
        "is_same": resumed == 0 and files_of(store) == whole,
        "left": sorted(path.name for path in store.parent.iterdir() if path.name != store.name),
    }


def at_once(store: Path, whole: dict[str, str]) -> bool:
    """Whether two prepares of one store at the same time both end well, with one store."""
    pids = [forked(store), forked(store)]
    return [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0] and files_of(store) == whole


def random_trials(folder: Path, whole: dict[str, str], took: float, num_trials: int) -> list[dict[str, Any]]:
    """Trials at moments up to the `took` seconds that a prepare takes. The machine's pace changes: a prepare that
    ended before its moment takes less, and one that was killed may take a little more."""
    trials, moments = [], random.Random(0)
    for number in range(num_trials):
        seconds = moments.uniform(0.0, took)
        trials.append(trial(folder / str(number) / "store", whole, seconds))
        took = 1.02 * took if trials[-1]["was_killed"] else seconds
    return trials


def main(folder: Path, num_trials: int) -> None:
    partitions.SHARDS_PER_PARTITION = 1
    whole = files_of(pipeline.prepare(*small_job(folder / "whole"), store=folder / "whole" / "store"))
    started = time.monotonic()
    os.waitpid(forked(folder / "timed" / "store"), 0)
    took = time.monotonic() - started
    trials = random_trials(folder, whole, took, num_trials)
    print(json.dumps({"trials": trials, "at_once": at_once(folder / "two" / "store", whole)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
