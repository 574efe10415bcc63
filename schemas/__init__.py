"""The contract between the pipeline (graph in, store out) and the trainer (store in, model out)."""

FORMAT_VERSION = 5
