"""A small dose of `python -m tests.fuzz.reader`, in a process of its own: a decoder that crashes must not take all."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_random_damage_ends_in_typed_errors_or_in_the_tensors_that_were_written():
    command = [sys.executable, "-m", "tests.fuzz.reader", "--cases", "60", "--seed", "0"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "60 cases, seed 0, 0 findings" in shown.stdout
    for outcome in ("store: CorruptMetadataError", "store: ManifestError", "checkpoint: CheckpointError"):
        assert outcome in shown.stdout
