"""What is printed, and where."""

import io

import pytest

from schemas.errors import CheckpointError
from trainer.report import SILENT, Console, RunLog, epoch_line, read_metrics, result_line


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
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 0}\n{"epoch": 1}\n')

    def fail(*args):
        raise OSError("power cut")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl"):
        RunLog(tmp_path, 1)
    assert read_metrics(tmp_path) == [{"epoch": 0}, {"epoch": 1}]


def test_lines():
    file = io.StringIO()
    Console(file).line("hello")
    assert file.getvalue() == "hello\n"
    record = {"epoch": 4, "loss": 0.5, "steps_per_s": 10.0, "waited_percent": 3.0}
    assert epoch_line(record, 30) == "epoch   5/30  loss 0.5000  10 steps/s, 3% waiting for data"
    record.update(val_loss=0.25, val_accuracy=0.75, val_macro_f1=0.5)
    assert "accuracy 0.7500  macro-F1 0.5000" in epoch_line(record, 30)
    result = {"epochs": 5, "best_epoch": 2, "test": {"accuracy": 0.5, "macro_f1": 0.25}}
    assert result_line(result) == "5 epochs, best 3  test accuracy 0.5000 macro-F1 0.2500"
