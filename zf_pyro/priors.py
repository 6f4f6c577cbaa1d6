"""Priors p(z_t | context_t) beside the Gaussian and the mixture of `zf_pyro.conditionals`."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import nn
from torch.nn.functional import softplus

from zf_pyro.conditionals import ClippedLeakyReLU, Conditional, Context, perceptron


class StandardNormal(Conditional):
    """N(0, I), whatever the context.

    Args:
        size: Z. Of no units it is the prior of a model without a latent variable.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size), persistent=False)

    def forward(self, context: Context) -> TorchDistribution:
        """Batch shape (), event shape (Z,)."""
        mean = self.get_buffer("mean")
        return dist.Normal(mean, torch.ones_like(mean)).to_event(1)


class GatedTransition(Conditional):
    """p(z_t | z_{t-1}), a gate between a linear and a non-linear mean.

    g = sigmoid(MLP(z)),  h = MLP(z),  mean = (1 - g) (W z + w) + g h,  variance = softplus(V a(h) + v) + exp(-clamp)

    W starts as the identity. Krishnan, Shalit, Sontag, "Structured Inference Networks for Nonlinear State Space
    Models", AAAI 2017; there a is max(0, h), and the variance has no floor.

    Args:
        size: Z.
        hidden: units of the two hidden layers.
        clamp: the floor under the log-variance is minus this.
        activation: a, also of the hidden layers, `ClippedLeakyReLU()` by default.
    """

    def __init__(self, size: int, hidden: int, *, clamp: float = 8.0, activation: nn.Module | None = None) -> None:
        super().__init__("latent")
        self.gate = perceptron(size, size, hidden, activation)
        self.proposal = perceptron(size, size, hidden, activation)
        self.activation = activation or ClippedLeakyReLU()
        self.linear = nn.Linear(size, size)
        self.variance = nn.Linear(size, size)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.floor = math.exp(-clamp)

    def forward(self, context: Context) -> TorchDistribution:
        """Batch shape (..., B), event shape (Z,)."""
        latent = self.gather(context)
        proposal = self.proposal(latent)
        mean = torch.lerp(self.linear(latent), proposal, self.gate(latent).sigmoid())
        variance = softplus(self.variance(self.activation(proposal))) + self.floor
        return dist.Normal(mean, variance.sqrt()).to_event(1)
