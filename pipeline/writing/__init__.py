"""From padded batches to a store: manifest, partitions, chunks, and the folder they appear in."""
