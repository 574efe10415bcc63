"""What is printed, and where."""

import io
import itertools
import re

import pytest

from heteroshards.schemas.errors import CheckpointError
from heteroshards.trainer.runs.report import (
    ERASED,
    SILENT,
    Console,
    RunLog,
    Ticker,
    epoch_line,
    moments,
    read_metrics,
    result_line,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def count(console: Console) -> None:
    with console.bar("epoch", 2) as bar:
        bar.update(1)
        bar.update(1)


def test_bars_are_for_terminals():
    file, terminal = io.StringIO(), Terminal()
    count(Console(file))
    count(Console(terminal))
    count(SILENT)
    assert file.getvalue() == ""
    assert "100%" in terminal.getvalue()


def test_the_log_is_rewritten_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')

    def fail(*args):
        raise OSError("power cut")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl"):
        RunLog(tmp_path, 1)
    assert read_metrics(tmp_path) == [{"epoch": 1}, {"epoch": 2}]


def test_lines():
    file = io.StringIO()
    Console(file).line("hello")
    assert file.getvalue() == "hello\n"
    record = {"epoch": 5, "loss": 0.5, "steps_per_s": 10.0, "waited_percent": 3.0, "compile_s": 0.0}
    assert epoch_line(record, 30) == "epoch   5/30  loss 0.5000  10 steps/s, 3% waiting for data"
    record.update(val_loss=0.25, val_accuracy=0.75, val_macro_f1=0.5)
    assert "accuracy 0.7500  macro-F1 0.5000  10" in epoch_line(record, 30, best_epoch=4)
    assert "macro-F1 0.5000 (best)  10" in epoch_line(record, 30, best_epoch=5)
    scores = {"loss": 1.0, "accuracy": 0.5, "macro_f1": 0.25}
    result = {"epochs": 5, "best_epoch": 3, "monitor": "loss", "test": scores}
    assert result_line(result) == "5 epochs, best 3 by loss  test accuracy 0.5000 macro-F1 0.2500"


def test_an_epoch_that_compiled_says_so_and_does_not_pass_it_off_as_slow_steps():
    record = {"epoch": 1, "loss": 0.5, "waited_percent": 3.0, "compile_s": 20.0, "val_compile_s": 1.25}
    assert epoch_line(record, 30) == "epoch   1/30  loss 0.5000  3% waiting for data  21.2 s compiling"
    assert "9 steps/s, 3% waiting for data  21.2 s compiling" in epoch_line({**record, "steps_per_s": 9.0}, 30)


def test_waiting_is_told_with_its_seconds():
    file, terminal = io.StringIO(), Terminal()
    for stream in (file, terminal, None):
        with Console(stream).waiting("compiling the training step"):
            pass
    begun, done = file.getvalue().splitlines()
    assert begun == "compiling the training step ..."
    assert re.fullmatch(r"compiling the training step took \d+\.\d s", done)
    assert f"{ERASED}compiling the training step: 0 s{ERASED}compiling the training step took" in terminal.getvalue()


def test_waiting_that_fails_leaves_the_last_word_to_the_error():
    terminal = Terminal()
    with pytest.raises(KeyboardInterrupt), Console(terminal).waiting("compiling"):
        raise KeyboardInterrupt
    assert terminal.getvalue().endswith(ERASED)


def test_a_terminal_counts_each_second_and_a_file_ever_more_rarely():
    assert list(itertools.islice(moments(True), 3)) == [1, 2, 3]
    assert list(itertools.islice(moments(False), 6)) == [10, 20, 40, 60, 120, 180]


def test_long_waiting_is_told_while_it_lasts(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr("heteroshards.trainer.runs.report.moments", lambda is_live: iter([0]))
    ticker = Ticker(file, "compiling")
    ticker._thread.join()
    ticker.stop()
    assert file.getvalue() == "compiling ...\ncompiling ...\n"
