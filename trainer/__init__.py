"""Store in, trained model out."""
