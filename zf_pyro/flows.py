"""Laws that coupling layers make of a diagonal Gaussian; of closed form both ways, so that any value is scored.

Nothing is cached in a layer: what a law has computed goes when the law does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn
from torch.nn.functional import hardtanh

from zf_pyro.conditionals import PerceptronConditional, beside, perceptron
from zf_pyro.noise import Standard, reparametrised
from zf_pyro.stepwise import stack_laws


class AffineCoupling(nn.Module):
    """y = [x_1, exp(s) x_2 + m], s and m from a perceptron on x_1 and a condition; |s| < 3.

    Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", ICLR 2017.

    Args:
        size: of x; x_1 is the smaller half.
        condition: units of the condition.
        hidden: units of the perceptron's hidden layer.
        activation: of that layer, `ClippedLeakyReLU()` by default.
    """

    BOUND = 3.0

    def __init__(self, size: int, condition: int, hidden: int, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.sizes = [size // 2, size - size // 2]
        self.network = perceptron(self.sizes[0] + condition, 2 * self.sizes[1], hidden, activation)

    def moves(self, kept: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """M and s, each (..., size of x_2), from x_1 and the condition."""
        shift, score = self.network(beside([kept, condition])).chunk(2, -1)
        return shift, self.BOUND * torch.tanh(score / self.BOUND)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """The y of an x, (..., size)."""
        kept, moved = x.split(self.sizes, -1)
        shift, log_scale = self.moves(kept, condition)
        return beside([kept, torch.addcmul(shift, moved, log_scale.exp())])

    def inverse(self, y: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """The x of a y, (..., size), and the log-determinant of y's derivative by x, (...)."""
        kept, moved = y.split(self.sizes, -1)
        shift, log_scale = self.moves(kept, condition)
        return beside([kept, (moved - shift) * (-log_scale).exp()]), log_scale.sum(-1)


class Flow(TorchDistribution):
    """Affine coupling layers on a diagonal Gaussian, the units reversed between two of them.

    Args:
        base: batch shape (..., B), event shape (Z,).
        couplings: the layers, each an `AffineCoupling`.
        condition: what the layers read besides z, (..., B, size).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch's own form
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, base: TorchDistribution, couplings: nn.ModuleList, condition: Tensor) -> None:
        self.base, self.couplings, self.condition = base, couplings, condition
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def layers(self) -> list[Any]:
        """The coupling layers."""
        return list(self.couplings)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Flow:
        """The same law for a larger batch."""
        condition = self.condition.expand(*batch_shape, self.condition.shape[-1])
        return Flow(self.base.expand(torch.Size(batch_shape)), self.couplings, condition)

    def pushed(self, z: Tensor) -> Tensor:
        """What the layers make of a draw of the base, (..., Z)."""
        for number, layer in enumerate(self.layers):
            z = layer(z.flip(-1) if number else z, self.condition)
        return z

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, (sample_shape + batch_shape + (Z,))."""
        return self.pushed(self.base.rsample(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-density, of the batch shape, in nats."""
        total: Tensor | float = 0.0
        for number, layer in reversed(list(enumerate(self.layers))):
            value, log_determinant = layer.inverse(value, self.condition)
            value = value.flip(-1) if number else value
            total = total + log_determinant
        return self.base.log_prob(value) - total


@reparametrised.register
def _flow(law: Flow, standard: Standard) -> Tensor:
    return law.pushed(reparametrised(law.base, standard))


@stack_laws.register
def _flows(first: Flow, laws: list[Any], dim: int = -2) -> TorchDistribution | None:
    base = stack_laws(first.base, [law.base for law in laws], dim)
    condition = torch.stack([law.condition for law in laws], dim - 1)
    return None if base is None else Flow(base, first.couplings, condition)


class CouplingFlow(PerceptronConditional):
    """A Gaussian and what the coupling layers read, both from a perceptron on the fields read; a prior or a posterior.

    Args:
        sizes: the fields read and their sizes.
        size: Z, at least 2.
        layers: the number of coupling layers.
        hidden: units of the perceptron's hidden layer and of the coupling layers'.
        clamp: mean and log-variance of the Gaussian are clamped to [-clamp, clamp].
        activation: of the hidden layers, `ClippedLeakyReLU()` by default.

    Raises:
        ValueError: size is below 2: a coupling layer moves one part of z by what the other is.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        size: int,
        *,
        layers: int = 4,
        hidden: int = 100,
        clamp: float = 8.0,
        activation: nn.Module | None = None,
    ) -> None:
        if size < 2:
            raise ValueError(f"coupling layers need a latent variable of at least 2 units, not {size}")
        super().__init__(sizes, 3 * size, hidden=hidden, activation=activation)
        self.clamp = clamp
        self.couplings = nn.ModuleList(AffineCoupling(size, size, hidden, activation) for _ in range(layers))

    def law(self, parameters: Tensor) -> TorchDistribution:
        """Batch shape (..., B), event shape (Z,)."""
        mean, log_variance, condition = parameters.chunk(3, -1)
        mean, log_variance = (hardtanh(each, -self.clamp, self.clamp) for each in (mean, log_variance))
        base = dist.Normal(mean, torch.exp(0.5 * log_variance)).to_event(1)
        return Flow(base, self.couplings, condition)
