"""Mixtures of logistic laws whose mass is gathered at the points of a lattice.

    P(x) = sum_k pi_k [ F((x + w/2 - m_k) / s_k) - F((x - w/2 - m_k) / s_k) ],       F(a) = 1 / (1 + exp(-a))

w is the distance of neighbouring points. The lowest point has all mass below it too, and the highest all above: the
masses add up to one. Salimans et al., "PixelCNN++", ICLR 2017.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.nn.functional import logsigmoid

LEAST_SCALE = -4.0
"""Least sensible log(s / w): a logistic law at a point has all but exp(-27) of its mass there."""

GREATEST_SCALE = 40.0
"""Greatest sensible log(s / w): far wider than any lattice, and a mass inside is still no zero in single precision."""


class DiscretisedLogistics(TorchDistribution):
    """D independent numbers on lattices, each of a mixture of its own: batch shape (..., B), event shape (D,).

    Args:
        scores: the log-weights of the K components up to a constant, (..., B, D, K).
        means: m, likewise.
        log_scales: log s, likewise.
        lowest: the first point of each lattice, (D,) or (1,).
        width: w, likewise.
        levels: how many points each lattice has.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch's own form
    support = constraints.independent(constraints.real, 1)

    def __init__(
        self, scores: Tensor, means: Tensor, log_scales: Tensor, lowest: Tensor, width: Tensor, levels: int
    ) -> None:
        self.scores, self.means, self.log_scales = scores, means, log_scales
        self.lowest, self.width, self.levels = lowest, width, levels
        super().__init__(means.shape[:-2], means.shape[-2:-1], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretisedLogistics:
        """The same law for a larger batch."""
        scores, means, log_scales = (
            each.expand(*batch_shape, *each.shape[-2:]) for each in (self.scores, self.means, self.log_scales)
        )
        return DiscretisedLogistics(scores, means, log_scales, self.lowest, self.width, self.levels)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log P of points of the lattices (..., B, D), summed over D, (..., B), in nats."""
        masses = self.log_masses(value.unsqueeze(-1), self.lowest.unsqueeze(-1), self.width.unsqueeze(-1))
        return (self.scores.log_softmax(-1) + masses).logsumexp(-1).sum(-1)

    def log_masses(self, value: Tensor, lowest: Tensor, width: Tensor) -> Tensor:
        """The logarithm of what stands in brackets, (..., B, D, K).

        Written as F(a) F(-b) (1 - exp(b - a)), a and b the two arguments, nothing cancels, however small it is.
        """
        sharpness = torch.exp(-self.log_scales)
        centred = value - self.means
        below = logsigmoid((centred + width / 2) * sharpness)
        above = logsigmoid((width / 2 - centred) * sharpness)
        inside = below + above + torch.log(-torch.expm1(-width * sharpness))
        highest = lowest + (self.levels - 1) * width
        masses = torch.where(value < lowest + width / 2, below, inside)
        return torch.where(value > highest - width / 2, above, masses)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Points of the lattices, (sample_shape + batch_shape + (D,))."""
        with torch.no_grad():
            chosen = dist.Categorical(logits=self.scores).sample(torch.Size(sample_shape)).unsqueeze(-1)
            means, log_scales = (
                each.expand(*chosen.shape[:-1], each.shape[-1]).gather(-1, chosen).squeeze(-1)
                for each in (self.means, self.log_scales)
            )
            return self.nearest(means + log_scales.exp() * torch.logit(torch.rand_like(means), eps=1e-7))

    @property
    def mean(self) -> Tensor:
        """The mean of the mixture before it is gathered at the points, (..., B, D)."""
        return (self.scores.softmax(-1) * self.means).sum(-1)

    def nearest(self, values: Tensor) -> Tensor:
        """The points of the lattices nearest to some values, (..., D)."""
        place = ((values - self.lowest) / self.width).round().clamp(0, self.levels - 1)
        return self.lowest + place * self.width
