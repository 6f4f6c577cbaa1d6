"""What a person at the terminal sees while a run is at work."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from tqdm import tqdm


def progress(*arguments: Any, **options: Any) -> tqdm:
    """A progress bar on standard error, renewed twice a second, or twice a minute where that is no terminal."""
    interval = 0.5 if sys.stderr.isatty() else 30.0
    return tqdm(*arguments, mininterval=interval, maxinterval=interval, dynamic_ncols=True, **options)


class RunningMeans:
    """Metrics per step of the sequences, averaged over about the last 50 updates.

    Args:
        names: of the metrics to follow; one that a record lacks stays as it was, 0 at first.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.sums = dict.fromkeys(names, (0.0, 0.0))

    def add(self, record: Mapping[str, float], length: float) -> None:
        """Take in a record of nats per sequence, of sequences of `length` steps."""
        for name, (total, steps) in self.sums.items():
            if math.isfinite(record.get(name, math.nan)):
                self.sums[name] = (0.98 * total + record[name], 0.98 * steps + length)

    def __getitem__(self, name: str) -> float:
        """The mean of one metric, nats per step."""
        total, steps = self.sums[name]
        return total / steps if steps else 0.0
