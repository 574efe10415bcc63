"""Who runs partitions."""
