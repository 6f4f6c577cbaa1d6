"""The KL term of an objective: as it is, with a floor under each step, or pulling more on one of the two laws.

free bits   sum_t max(KL_t, floor). Kingma et al., "Improved Variational Inference with Inverse Autoregressive Flow",
            NIPS 2016; there the mean over a batch of groups of units, here each step of each sequence.
balancing   the gradient of 2 w KL(q || p) with q held fixed and of 2 (1 - w) KL(q || p) with p held fixed; the value
            stays KL(q || p). Hafner et al., "Mastering Atari with Discrete World Models", ICLR 2021; there without
            the 2.
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
from zf_pyro.paths import PathDistribution, scores_along
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
        balance: the parameters of the prior's law get 2 * balance of their gradient, those of the posterior's law
            2 * (1 - balance) of theirs; 0.5 leaves both as they are.

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
            NotImplementedError: the posterior is not reparametrised; or free bits or a balance are asked for, and the
                divergence is not known in closed form.
        """
        require_reparametrised(guide_site)
        if self.floor == 0 and self.balance == 0.5:
            kl = kl_sum(guide_site, model_site)
            return Divergences(kl, kl)
        q, p, real = guide_site["fn"], model_site["fn"], None
        if isinstance(q, PathDistribution) and isinstance(p, PathDistribution):
            kl, real = scores_along([q, p], guide_site["value"], lambda laws, _: self.balanced(*laws)), q.real
        else:
            kl = self.balanced(q, p)
        if not torch.is_tensor(kl):
            return Divergences(torch.zeros(()), torch.zeros(()))
        parts = [kl, kl.clamp(min=self.floor)]
        parts = parts if real is None else [masked_sum(part, real) for part in parts]
        return Divergences(*(scale_and_mask(part, guide_site["scale"], guide_site["mask"]).sum() for part in parts))

    def balanced(self, q: Any, p: Any) -> Any:
        """KL(q || p), with the gradient that the balance asks for."""
        kl = kl_divergence(q, p)
        if self.balance == 0.5 or not torch.is_tensor(kl):
            return kl
        still_q, still_p = held(q), held(p)
        pulled = self.balance * kl_divergence(still_q, p) + (1 - self.balance) * kl_divergence(q, still_p)
        return kl.detach() + 2 * (pulled - pulled.detach())


def require_reparametrised(site: Site) -> None:
    """Refuse a latent site whose draws have no gradient.

    Raises:
        NotImplementedError: so it is.
    """
    if not site["fn"].has_rsample:
        raise NotImplementedError(f"Z-Forcing needs reparametrised latent variables, and {site['name']!r} is not")


def kl_sum(guide_site: Site, model_site: Site) -> Tensor:
    """KL(q || p) of one site summed over the batch: in closed form, else at the sample."""
    try:
        kl = kl_divergence(guide_site["fn"], model_site["fn"])
    except NotImplementedError:
        return log_prob(guide_site).sum() - log_prob(model_site).sum()
    if not torch.is_tensor(kl):  # Pyro's answer, 0., where a site is masked out as a whole
        return torch.tensor(float(kl))
    return scale_and_mask(kl, guide_site["scale"], guide_site["mask"]).sum()


def log_prob(site: Site) -> Tensor:
    """The log-probability of a site's value over its batch, scaled, and zero where it is masked out."""
    return scale_and_mask(site["fn"].log_prob(site["value"]), site["scale"], site["mask"])
