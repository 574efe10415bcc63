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


def test_a_finding_is_reported_and_fails():
    """With a reader that trusts chunks, wrong tensors come out, and the exit code is 1."""
    code = (
        "import sys, schemas.integrity as i, trainer.chunks as c; c.check_chunk = lambda *_: None; "
        "import tests.fuzz.reader as r; sys.argv = ['r', '--cases', '60', '--seed', '0']; sys.exit(r.main())"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 1, shown.stdout + shown.stderr
    assert "wrong tensors" in shown.stderr
