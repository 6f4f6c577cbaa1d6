"""Reparametrised draws from standard normal numbers that are drawn beforehand, or that two programs are to share."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

NORMALS = (Normal, dist.Normal)
"""The normal law itself; a subclass may have a density of its own."""

Standard = Callable[[Tensor], Tensor]
"""Gives standard normal numbers of a tensor's shape, type and device."""


@singledispatch
def reparametrised(law: Distribution, standard: Standard) -> Tensor:
    """A draw from `law`, (batch shape + event shape), as a differentiable function of standard normal numbers.

    Laws of other families than the registered ones are drawn from by their own `rsample`, or `sample` where they have
    none, and `standard` is not asked. A family joins by ``reparametrised.register``.
    """
    return law.rsample() if law.has_rsample else law.sample()


@reparametrised.register
def _normal(law: Normal, standard: Standard) -> Tensor:
    return torch.addcmul(law.loc, law.scale, standard(law.loc)) if type(law) in NORMALS else law.rsample()


@reparametrised.register(Independent)
@reparametrised.register(MaskedDistribution)
def _of_base(law: Any, standard: Standard) -> Tensor:
    return reparametrised(law.base_dist, standard)


class Beforehand:
    """Standard normal numbers for a number of steps of equal shape, all drawn when the first are asked for."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        self.numbers: Any = None

    def __call__(self, like: Tensor) -> Tensor:
        """The numbers of the next step."""
        if self.numbers is None:
            self.numbers = iter(torch.randn(self.num_steps, *like.shape, dtype=like.dtype, device=like.device).unbind())
        return next(self.numbers)


def uses_standard_normal(law: Any) -> bool:
    """Whether `reparametrised` draws from `law` through standard normal numbers."""
    while isinstance(law, Independent | MaskedDistribution):
        law = law.base_dist
    if isinstance(law, Normal):
        return type(law) in NORMALS
    return reparametrised.dispatch(type(law)) is not reparametrised.dispatch(Distribution)


class given_noise(Messenger):
    """Inside, latent variables are drawn as functions of given standard normal numbers, a step after the other.

    The step form and the path form of the same programs then draw the same z_1..z_T, particle by particle. Sites whose
    law is not made from normal numbers are drawn as ever. It stands outside of all plates.

    Args:
        standard: gives the numbers of the next step.
    """

    def __init__(self, standard: Standard) -> None:
        super().__init__()
        self.standard = standard

    def _pyro_sample(self, msg: Any) -> None:
        if not (msg["done"] or msg["is_observed"]) and uses_standard_normal(msg["fn"]):
            msg["value"] = reparametrised(msg["fn"], self.standard)
            msg["done"] = True


class noise(given_noise):
    """`given_noise` from one stream of numbers.

    Args:
        seed: of the stream, which begins anew at every entry.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(self.next_numbers)
        self.seed = seed
        self.generators: dict[torch.device, torch.Generator] = {}

    def __enter__(self) -> noise:
        self.generators.clear()
        return super().__enter__()

    def next_numbers(self, like: Tensor) -> Tensor:
        """The next numbers of the stream, shaped as `like`."""
        if like.device not in self.generators:
            self.generators[like.device] = torch.Generator(like.device).manual_seed(self.seed)
        generator = self.generators[like.device]
        return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
