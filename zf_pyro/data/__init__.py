"""Data sets as batches of sequences."""
