"""One training step of the path form in every precision."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from zf_pyro.benchmark.contenders import InForm, training_step
from zf_pyro.benchmark.sizes import Size, build, random_batch
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.precision import MatmulPrecision, Precision, matmul_precision, products_in

PRECISIONS: dict[str, tuple[Precision, MatmulPrecision]] = {
    "float32": ("float32", "highest"),
    "float32, high": ("float32", "high"),
    "bfloat16": ("bfloat16", "highest"),
}
"""Those of products, and of the products of float32 matrices, by the name that a table has for them."""


def precision_steps(size: Size, device: torch.device) -> dict[str, Callable[[], None]]:
    """A training step in each precision, on one random batch."""
    model, guide = build(size)
    model, guide = model.to(device), guide.to(device)
    batch = random_batch(size).to(device)
    programs = {
        name: (InForm(model, guide, "path", condition=partial(products_in, low, device)), how)
        for name, (low, how) in PRECISIONS.items()
    }
    return {name: precision_step(program, batch, how) for name, (program, how) in programs.items()}


def precision_step(program: InForm, batch: SequenceBatch, how: MatmulPrecision) -> Callable[[], None]:
    """A training step whose products of float32 matrices are as exact as `how` says."""
    step = training_step(program, batch)

    def exact() -> None:
        with matmul_precision(how):
            step()

    return exact
