"""Time cut into segments, each run again when its gradient is taken, so that memory holds the inside of one at a time.

What passes from one segment to the next, and what all heads read, is kept: O(T) numbers, but few a step. Chen, Xu,
Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from zf_pyro.noise import Standard
from zf_pyro.precision import recomputation

Result = TypeVar("Result")

_count: ContextVar[int] = ContextVar("segments", default=1)


@contextmanager
def in_segments(count: int) -> Iterator[None]:
    """Inside, losses in the path form are computed in `count` segments of time, or as many as there are steps.

    Values and gradients are the same; a step takes about a third longer. Without gradients nothing is cut.

    Raises:
        ValueError: count is below 1.
    """
    if count < 1:
        raise ValueError(f"there must be at least one segment, not {count}")
    token = _count.set(count)
    try:
        yield
    finally:
        _count.reset(token)


def segment_count() -> int:
    """How many segments are asked for; 1 where no gradient is wanted."""
    return _count.get() if torch.is_grad_enabled() else 1


def segment_lengths(steps: int) -> list[int]:
    """The steps of each segment, in order."""
    count = max(1, min(segment_count(), steps))
    return [steps // count + (number < steps % count) for number in range(count)]


def run_again(function: Callable[..., Result], *args: object) -> Result:
    """What a function gives; it is called once more, under the same conditions, when its gradient is taken."""
    conditions = copy_context()

    def run(*args: object) -> Result:
        return conditions.copy().run(function, *args)

    return checkpoint(run, *args, use_reentrant=False, context_fn=recomputation)


class Replayed:
    """The numbers that `standard` gives, the same ones after every `rewind`."""

    def __init__(self, standard: Standard) -> None:
        self.standard, self.position = standard, 0
        self.numbers: list[Tensor] = []

    def rewind(self) -> None:
        """Begin anew."""
        self.position = 0

    def __call__(self, like: Tensor) -> Tensor:
        """The numbers of the next step."""
        if self.position == len(self.numbers):
            self.numbers.append(self.standard(like))
        self.position += 1
        return self.numbers[self.position - 1]
