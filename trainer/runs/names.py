"""The files of a run's folder."""

BEST, LAST = "best.pt", "last.pt"  # checkpoints
RESULT = "result.json"
RUN = "run.json"
