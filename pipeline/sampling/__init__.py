"""From seeds to padded batches: neighbor sampling, the whole graph as one batch, and their kernels."""
