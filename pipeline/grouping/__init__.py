"""Which seeds share a batch."""
