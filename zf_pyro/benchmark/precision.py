"""One training step of the path form in every precision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zf_pyro.benchmark.contenders import InForm, training_step
from zf_pyro.benchmark.sizes import Size, build, random_batch
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.guides import Guide
from zf_pyro.model import StochasticRNN
from zf_pyro.precision import MatmulPrecision, Precision, matmul_precision, products_in

PRECISIONS: dict[str, tuple[Precision, MatmulPrecision]] = {
    "float32": ("float32", "highest"),
    "float32, high": ("float32", "high"),
    "bfloat16": ("bfloat16", "highest"),
}
"""Those of products, and of the products of float32 matrices, by the name that a table has for them."""


class InPrecision(InForm):
    """The library's own loss in the path form, in a precision."""

    def __init__(self, model: StochasticRNN, guide: Guide, precision: Precision) -> None:
        super().__init__(model, guide, "path")
        self.precision = precision

    def forward(self, batch: SequenceBatch) -> Tensor:
        """The loss, summed over sequences."""
        with products_in(self.precision, batch.mask.device):
            return super().forward(batch)


def precision_steps(size: Size, device: torch.device) -> dict[str, Callable[[], None]]:
    """A training step in each precision, on one random batch."""
    model, guide = build(size)
    model, guide = model.to(device), guide.to(device)
    batch = random_batch(size).to(device)
    return {name: precision_step(InPrecision(model, guide, low), batch, how) for name, (low, how) in PRECISIONS.items()}


def precision_step(program: InPrecision, batch: SequenceBatch, how: MatmulPrecision) -> Callable[[], None]:
    """A training step whose products of float32 matrices are as exact as `how` says."""
    step = training_step(program, batch)

    def exact() -> None:
        with matmul_precision(how):
            step()

    return exact
