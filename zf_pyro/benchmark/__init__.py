"""How long a training step takes, and importance weights, beside programs that do the same in other ways."""
