"""What a run has learnt, as one page for a browser."""
