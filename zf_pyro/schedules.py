"""Weights that change with the number of updates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Weight = float | Callable[[int], float]
"""A constant, or a function of the number of updates done so far."""


@dataclass(frozen=True)
class LinearSchedule:
    """From `start` to `end` in equal increments over `steps` updates, then constant."""

    start: float
    end: float
    steps: int

    def __call__(self, step: int) -> float:
        """The weight after `step` updates."""
        if step >= self.steps:
            return self.end
        return self.start + (self.end - self.start) * step / self.steps


def weight_at(weight: Weight, step: int) -> float:
    """The value of a constant or scheduled weight after `step` updates."""
    return float(weight(step) if callable(weight) else weight)
