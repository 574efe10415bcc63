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
    """With a reader that tells of damage in an error of no type of ours, the exit code is 1."""
    code = (
        "import sys, heteroshards.schemas.errors as e; e.CorruptChunkError.of = lambda *_: KeyError('damage'); "
        "import tests.fuzz.reader as r; sys.argv = ['r', '--cases', '60', '--seed', '0']; sys.exit(r.main())"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 1, shown.stdout + shown.stderr
    assert "untyped" in shown.stdout and "KeyError: 'damage'" in shown.stderr
