"""Priors p(z_t | context_t) beside the diagonal Gaussian of `zf_pyro.conditionals`."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.nn.functional import hardtanh, softplus

from zf_pyro.conditionals import ClippedLeakyReLU, Conditional, Context, PerceptronConditional, perceptron


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


class GaussianMixture(PerceptronConditional):
    """A mixture of diagonal Gaussians; weights, means and log-variances from a perceptron on the fields read.

    Draws have no reparametrised gradient, so it is a prior and no posterior. The divergence from a posterior to it has
    no closed form, and is taken at the sample.

    Args:
        sizes: the fields read and their sizes.
        size: Z.
        components: how many Gaussians.
        hidden: units of the hidden layer; None for a linear map.
        clamp: means and log-variances are clamped to [-clamp, clamp].
        activation: of the hidden layer, `ClippedLeakyReLU()` by default.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        size: int,
        *,
        components: int = 10,
        hidden: int | None = None,
        clamp: float = 8.0,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__(sizes, components * (1 + 2 * size), hidden=hidden, activation=activation)
        self.components, self.clamp = components, clamp

    def law(self, parameters: Tensor) -> TorchDistribution:
        """Batch shape (..., B), event shape (Z,)."""
        scores, rest = parameters.tensor_split([self.components], -1)
        rest = hardtanh(rest, -self.clamp, self.clamp).unflatten(-1, (self.components, -1))
        mean, log_variance = rest.chunk(2, -1)
        parts = dist.Normal(mean, torch.exp(0.5 * log_variance)).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=scores), parts)
