"""The KL term of an objective, a step at a time: floors under it, and which of the two laws it pulls on.

free bits   sum_t max(KL_t, floor). Kingma et al., "Improved Variational Inference with Inverse Autoregressive Flow",
            NIPS 2016; there for groups of units, here for steps.
balancing   w KL(q || p) with q held fixed, and (1 - w) KL(q || p) with p held fixed: the prior is pulled to the
            posterior w / (1 - w) times as hard as the posterior to the prior. Hafner et al., "Mastering Atari with
            Discrete World Models", ICLR 2021; here times 2, so that w = 1/2 is KL.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from zf_pyro.noise import NORMALS
from zf_pyro.paths import PathDistribution
from zf_pyro.stepwise import masked_sum

Site = dict[str, Any]


@singledispatch
def held(law: Any) -> Any:
    """The same law, no gradient flowing into its parameters.

    Raises:
        NotImplementedError: the family is not registered.
    """
    raise NotImplementedError(f"KL balancing needs Gaussian laws, and here is a {type(law).__name__}")


@held.register
def _normal(law: Normal) -> Any:
    if type(law) not in NORMALS:
        raise NotImplementedError(f"KL balancing needs Gaussian laws, and here is a {type(law).__name__}")
    return dist.Normal(law.loc.detach(), law.scale.detach())


@held.register
def _independent(law: Independent) -> Any:
    return held(law.base_dist).to_event(law.reinterpreted_batch_ndims)


class Divergences(NamedTuple):
    """The sum of KL_t, and of what an objective weighs in its place, in nats."""

    kl: Tensor
    penalty: Tensor


class Divergence:
    """KL(q || p) of a latent site, summed over its batch.

    Args:
        floor: free bits, in nats a step and sequence; 0 for none.
        balance: the prior gets 2 * balance of its gradient and the posterior 2 * (1 - balance) of its own; 0.5 leaves
            both as they are.

    Raises:
        ValueError: floor is negative, or balance is not between 0 and 1.
    """

    def __init__(self, floor: float = 0.0, balance: float = 0.5) -> None:
        if not floor >= 0:
            raise ValueError(f"free bits must not be negative, and are {floor}")
        if not 0 < balance < 1:
            raise ValueError(f"the balance of the KL term must be between 0 and 1, not {balance}")
        self.floor, self.balance = floor, balance

    def of_site(self, guide_site: Site, model_site: Site) -> Divergences:
        """Of a latent site of either form, summed over sequences and steps, in nats.

        Raises:
            NotImplementedError: the posterior is not reparametrised, or balancing meets a law that is no Gaussian.
        """
        q, p, value = guide_site["fn"], model_site["fn"], guide_site["value"]
        if not q.has_rsample:
            name = guide_site["name"]
            raise NotImplementedError(f"ZForcingELBO needs reparametrised latent variables, and {name!r} is not")
        if isinstance(q, PathDistribution) and isinstance(p, PathDistribution):
            steps, priors = q.given(value), p.given(value)
            kl = self.of_laws(steps.law, priors.law, steps.swap(value))
            both = [masked_sum(each, steps.real) for each in (kl, self.floored(kl))]
        else:
            kl = self.of_laws(q, p, value)
            both = [kl, self.floored(kl)]
        return Divergences(*(scale_and_mask(each, guide_site["scale"], guide_site["mask"]).sum() for each in both))

    def floored(self, kl: Tensor) -> Tensor:
        """KL_t, or the floor where it is greater."""
        return kl.clamp(min=self.floor) if self.floor else kl

    def of_laws(self, q: Any, p: Any, value: Tensor) -> Tensor:
        """Of the laws of a step or of all steps, of their batch shape: in closed form, else log q - log p at a draw."""
        try:
            kl = kl_divergence(q, p)
        except NotImplementedError:
            kl = q.log_prob(value) - p.log_prob(value)
        if not torch.is_tensor(kl):  # Pyro answers 0. where a site is masked out as a whole
            kl = torch.zeros(())
        if self.balance != 0.5:
            still_q, still_p = held(q), held(p)
            pulled = self.balance * kl_divergence(still_q, p) + (1 - self.balance) * kl_divergence(q, still_p)
            kl = kl.detach() + 2 * (pulled - pulled.detach())
        return kl
