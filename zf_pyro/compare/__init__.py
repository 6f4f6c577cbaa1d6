"""Finished runs side by side: their test under one protocol, the differences between them, and a report."""
