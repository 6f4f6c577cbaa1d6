"""Laws that coupling layers make of a diagonal Gaussian; of closed form both ways, so that any value is scored."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.transforms import Permute, conditional_affine_coupling
from torch import Tensor, nn
from torch.nn.functional import hardtanh

from zf_pyro.conditionals import PerceptronConditional
from zf_pyro.noise import Standard, reparametrised
from zf_pyro.stepwise import stack_laws


class Flow(dist.TransformedDistribution):
    """Affine coupling layers on a diagonal Gaussian, the units reversed between two of them.

    Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", ICLR 2017.

    Args:
        base: batch shape (..., B), event shape (Z,).
        couplings: the layers.
        condition: what the layers read besides z, (..., B, size).
    """

    def __init__(self, base: TorchDistribution, couplings: nn.ModuleList, condition: Tensor) -> None:
        self.couplings, self.condition = couplings, condition
        reverse = Permute(torch.arange(base.event_shape[0] - 1, -1, -1, device=condition.device))
        layers = [coupling.condition(condition) for coupling in list(couplings)]  # type: ignore[operator]
        super().__init__(base, list(chain.from_iterable((layer, reverse) for layer in layers))[:-1])

    def expand(self, batch_shape: Any, _instance: Any = None) -> Flow:
        """The same law for a larger batch."""
        condition = self.condition.expand(*batch_shape, self.condition.shape[-1])
        return Flow(self.base_dist.expand(torch.Size(batch_shape)), self.couplings, condition)


@reparametrised.register
def _flow(law: Flow, standard: Standard) -> Tensor:
    value = reparametrised(law.base_dist, standard)
    for transform in law.transforms:
        value = transform(value)
    return value


@stack_laws.register
def _flows(first: Flow, laws: list[Any], dim: int = -2) -> TorchDistribution | None:
    base = stack_laws(first.base_dist, [law.base_dist for law in laws], dim)
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
        activation: of the perceptron's hidden layer, `ClippedLeakyReLU()` by default.

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
        self.couplings = nn.ModuleList(conditional_affine_coupling(size, size, [hidden]) for _ in range(layers))

    def law(self, parameters: Tensor) -> TorchDistribution:
        """Batch shape (..., B), event shape (Z,)."""
        mean, log_variance, condition = parameters.chunk(3, -1)
        mean, log_variance = (hardtanh(each, -self.clamp, self.clamp) for each in (mean, log_variance))
        base = dist.Normal(mean, torch.exp(0.5 * log_variance)).to_event(1)
        return Flow(base, self.couplings, condition)
