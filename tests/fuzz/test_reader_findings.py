"""That the fuzz of the reader would notice. A file of its own, for another worker: both take long, and come last."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_finding_is_reported_and_fails():
    """With a reader that tells of damage in an error of no type of ours, the exit code is 1."""
    code = (
        "import sys, heteroshards.schemas.errors as e; e.CorruptChunkError.of = lambda *_: KeyError('damage'); "
        "import tests.fuzz.reader as r; sys.argv = ['r', '--cases', '20', '--seed', '0']; sys.exit(r.main())"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 1, shown.stdout + shown.stderr
    assert "untyped" in shown.stdout and "KeyError: 'damage'" in shown.stderr
