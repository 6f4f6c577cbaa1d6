"""Posteriors that start from the prior of the step, which a guide puts into the context for them."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Independent, Normal

from zf_pyro.conditionals import Conditional, Context, DiagonalGaussian


def required(prior: TorchDistribution | None) -> Any:
    """The prior itself.

    Raises:
        ValueError: there is none, as outside of a guide.
    """
    if prior is None:
        raise ValueError("this posterior starts from the prior, and the context holds none; it is for a guide")
    return prior


class ResidualGaussian(DiagonalGaussian):
    """N(m + r, diag(exp v)): m is the prior's mean, r and v come from a perceptron on the fields read.

    Args as of `DiagonalGaussian`. Fraccaro, Sonderby, Paquet, Winther, "Sequential Neural Models with Stochastic
    Layers", NIPS 2016.

    Raises:
        ValueError: the prior is no diagonal Gaussian (when called).
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.reads = (*self.reads, "prior")

    def law_beside(self, parameters: Tensor, prior: TorchDistribution | None) -> TorchDistribution:
        """Batch shape (..., B), event shape (Z,)."""
        start, residual = required(prior), self.law(parameters).base_dist
        if not (isinstance(start, Independent) and isinstance(start.base_dist, Normal)):
            raise ValueError(f"a residual posterior adds to a Gaussian prior's mean, not to a {type(start).__name__}'s")
        return dist.Normal(start.base_dist.loc + residual.loc, residual.scale).to_event(1)


class PriorPosterior(Conditional):
    """The prior itself: a guide that learns nothing.

    Raises:
        ValueError: the context holds no prior (when called).
    """

    def __init__(self) -> None:
        super().__init__("prior")

    def forward(self, context: Context) -> TorchDistribution:
        """p(z_t | context_t)."""
        return required(context.prior)
