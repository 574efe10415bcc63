"""What a person sees while it runs, and what stays behind: metrics.jsonl and TensorBoard."""

import itertools
import json
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, Iterator, List, Mapping, Optional, TextIO, Type

from heteroshards.schemas.errors import CheckpointError
from heteroshards.trainer.runs.files import write_text, writing
from heteroshards.trainer.tasks.metrics import SHOWN

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


class Bar:
    """Counts nothing; what stands in for a progress bar where none is shown."""

    def update(self, steps: int) -> None:
        """`steps` more are done."""


class Console:
    """Lines for a person, and progress bars where that person has a terminal.

    Args:
        stream: where lines go; None is silent.
    """

    def __init__(self, stream: Optional[TextIO] = None) -> None:
        self._stream = stream

    def line(self, text: str) -> None:
        if self._stream is not None:
            print(text, file=self._stream, flush=True)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Say that something long goes on, for how long already, and at its end how long it took.

        On a terminal in a line that counts the seconds, elsewhere in lines that come ever more rarely.
        """
        if self._stream is None:
            yield
            return
        ticker = Ticker(self._stream, what)
        try:
            yield
        except BaseException:
            ticker.stop()
            raise
        ticker.stop()
        self.line(f"{what} took {ticker.seconds:.1f} s")

    @contextmanager
    def bar(self, label: str, length: int) -> Iterator[Any]:
        """A progress bar over `length` steps that vanishes at its end."""
        if self._stream is None or not self._stream.isatty():
            yield Bar()
            return
        import click

        with click.progressbar(length=length, label=label, file=self._stream, width=30) as bar:
            yield bar
        self._stream.write("\x1b[1A\x1b[2K")


class Ticker:
    """Tells from a thread of its own, until `stop`, how many seconds something has taken."""

    def __init__(self, stream: TextIO, what: str) -> None:
        self._stream, self._what = stream, what
        self._is_live = stream.isatty()
        self._started = time.perf_counter()
        self._is_over = threading.Event()
        self.say(0)
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def say(self, seconds: int) -> None:
        """What goes on, and since when."""
        text = f"{self._what}: {seconds} s" if seconds or self._is_live else f"{self._what} ..."
        self._stream.write(f"{ERASED}{text}" if self._is_live else f"{text}\n")
        self._stream.flush()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()
        if self._is_live:
            self._stream.write(ERASED)

    def _run(self) -> None:
        for due in moments(self._is_live):
            if self._is_over.wait(max(0.0, due - self.seconds)):
                return
            self.say(due)


ERASED = "\r\x1b[2K"


def moments(is_live: bool) -> Iterator[int]:
    """Seconds after which waiting is told: each one where a line can be overwritten, else 10, 20, 40, 60, 120, ..."""
    return itertools.count(1) if is_live else itertools.chain((10, 20, 40), itertools.count(60, 60))


SILENT = Console()


def terminal() -> Console:
    """Lines to stderr, so that stdout is left to results."""
    return Console(sys.stderr)


def epoch_line(record: Mapping[str, Any], num_epochs: int, best_epoch: int = 0) -> str:
    """One line of an epoch's metrics; it is marked where it is the best so far by its validation."""
    parts = [f"epoch {record['epoch']:>3}/{num_epochs}", f"loss {record['loss']:.4f}"]
    if "val_loss" in record:
        parts.append(f"val loss {record['val_loss']:.4f}")
        parts += _metrics(record, "val_")
        parts[-1] += " (best)" if record["epoch"] == best_epoch else ""
    speed = [f"{record['steps_per_s']:.0f} steps/s"] if "steps_per_s" in record else []
    parts.append(", ".join([*speed, f"{record['waited_percent']:.0f}% waiting for data"]))
    compile_s = record.get("compile_s", 0) + record.get("val_compile_s", 0)
    if compile_s:
        parts.append(f"{compile_s:.1f} s compiling")
    return "  ".join(parts)


def result_line(result: Mapping[str, Any]) -> str:
    """One line of a finished run's scores."""
    parts = [f"{result['epochs']} epochs, best {result['best_epoch']} by {result['monitor']}"]
    for split in ("val", "test"):
        if split in result:
            found = result[split]
            loss = found["loss"]  # every task has one, so a record without is malformed: a KeyError
            parts.append(f"{split} {' '.join(_metrics(found)) or f'loss {loss:.4f}'}")
    return "  ".join(parts)


def _metrics(found: Mapping[str, Any], prefix: str = "") -> List[str]:
    """What is shown of a record's scores: those of `SHOWN` that have a value, of each target."""
    shown = []
    for key, value in found.items():
        target, _, name = key[len(prefix) :].rpartition(".") if key.startswith(prefix) else ("", "", "")
        if name in SHOWN and value is not None:
            shown.append(f"{target and target + ' '}{SHOWN[name]} {value:.4f}")
    return shown


class RunLog:
    """Appends one record per epoch to `metrics.jsonl` and to TensorBoard. Use it in a `with` statement.

    Args:
        num_done: epochs that are done; records of later ones, left by an interrupted run, are dropped.
    """

    def __init__(self, run_dir: Path, num_done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = run_dir / METRICS
        kept = [record for record in read_metrics(run_dir) if record["epoch"] <= num_done]
        write_text(self._path, "".join(json.dumps(record) + "\n" for record in kept))
        with writing(run_dir / TENSORBOARD):
            self._board = SummaryWriter(str(run_dir / TENSORBOARD), purge_step=num_done + 1)

    def write(self, record: Dict[str, Any]) -> None:
        with writing(self._path), open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        with writing(self._path.with_name(TENSORBOARD)):
            for key, value in record.items():
                if key not in ("epoch", "round") and isinstance(value, (int, float)):
                    kind, _, name = key.partition("_") if key.startswith("val_") else ("train", "", key)
                    self._board.add_scalar(f"{kind}/{name}", value, record["epoch"])

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        with suppress(OSError, RuntimeError) if error else writing(self._path.with_name(TENSORBOARD)):
            self._board.close()


def read_metrics(run_dir: Path) -> List[Dict[str, Any]]:
    """The records of a run so far; a last line that was cut off is left out.

    Raises:
        CheckpointError: the file cannot be read, or another line is malformed.
    """
    path = run_dir / METRICS
    if not path.exists():
        return []
    records = []
    try:
        *lines, _ = path.read_text(encoding="utf-8").split("\n")
        for number, line in enumerate(lines):
            records.append(json.loads(line))
            if not isinstance(records[-1]["epoch"], int):
                raise ValueError(f"line {number + 1} has no epoch")
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "Remove the file: the run goes on without its earlier records."
        raise CheckpointError("the metrics cannot be read", actual=repr(error), where=str(path), hint=hint) from error
    return records
