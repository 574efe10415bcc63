"""From a store to tensors: files, chunks, shards, and the order in which they come."""
