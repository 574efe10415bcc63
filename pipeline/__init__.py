"""Graph in, store out."""
