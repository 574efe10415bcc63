"""A run's folder: log, checkpoints, and what interrupts it."""
