"""How much of a latent variable is in use: the divergence of posterior from prior, unit by unit.

    KL_i = mean over the real steps of KL( q(z_ti | context_t, e_t) || p(z_ti | context_t) ),    z_1 .. z_{t-1} ~ q

A unit is active where KL_i is above 0.01 nats a step. Burda et al. ("Importance Weighted Autoencoders", ICLR 2016) ask
instead whether the mean of the posterior varies with the data by more than 0.01. That suits a fixed prior. Under a
learned one the two means vary together wherever the context does, and a unit that says nothing about x beyond its
context, KL_i = 0, would count as active.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.divergences import Site
from zf_pyro.guides import Guide
from zf_pyro.model import StochasticRNN
from zf_pyro.noise import NORMALS
from zf_pyro.paths import PathDistribution
from zf_pyro.scopes import evaluating, seeded
from zf_pyro.terms import AUXILIARY, BACKWARD, skip_terms

ACTIVE = 0.01
"""Nats a step above which a unit of z is active."""


def active_units(divergences: Tensor | None) -> int | None:
    """How many units are active.

    Args:
        divergences: KL_i of each unit, (Z,), in nats a step; None where it is not known.

    Returns:
        None where it is not known, or no number.
    """
    if divergences is None or not divergences.isfinite().all():
        return None
    return int((divergences > ACTIVE).sum())


def unit_divergences(
    model: StochasticRNN, guide: Any, batches: Iterable[SequenceBatch], *, seed: int = 0
) -> Tensor | None:
    """KL_i of every unit of z_t, (Z,), float64, in nats a step, in the path form at one path a sequence.

    The paths come from `seed` alone and leave the caller's random state as it was.

    Returns:
        None where the programs are not `StochasticRNN` and `Guide` themselves, or posterior or prior is no diagonal
        Gaussian: only of these does the divergence fall into known shares of the units.
    """
    if type(guide) is not Guide or type(model) is not StochasticRNN:
        return None
    device = next(model.parameters()).device
    sums: list[Tensor] = []
    num_steps = 0
    with seeded(device, seed), evaluating(model, guide), skip_terms(AUXILIARY, BACKWARD):
        for each in batches:
            batch = each.to(device)
            guide_trace: Any = poutine.trace(guide).get_trace(batch, form="path")
            model_trace: Any = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(batch, form="path")
            found = step_divergences(guide_trace.nodes["z"], model_trace.nodes["z"])
            if found is None:
                return None
            sums.append(found.double().masked_fill(~batch.mask.unsqueeze(-1), 0.0).sum((0, 1)))
            num_steps += int(batch.mask.sum())
    return torch.stack(sums).sum(0).cpu() / num_steps if sums else None


def step_divergences(guide_site: Site, model_site: Site) -> Tensor | None:
    """KL(q_ti || p_ti) along the path that a guide drew, (T, B, Z), in nats; None where it is not known by units."""
    q, p, path = guide_site["fn"], model_site["fn"], guide_site["value"]
    if not (isinstance(q, PathDistribution) and isinstance(p, PathDistribution)):
        return None
    laws = [law.given(path).law for law in (q, p)]
    if not all(isinstance(law, Independent) and type(law.base_dist) in NORMALS for law in laws):
        return None
    return kl_divergence(*(law.base_dist for law in laws))
