"""How much of a latent variable is in use: the divergence of posterior from prior, unit by unit.

    KL_i = mean over the real steps of KL( q(z_ti | context_t, e_t) || p(z_ti | context_t) ),    z_1 .. z_{t-1} ~ q

A unit is active where KL_i is above 0.01 nats a step. Burda et al. ("Importance Weighted Autoencoders", ICLR 2016) ask
instead whether the mean of the posterior varies with the data by more than 0.01. That suits a fixed prior. Under a
learned one the two means vary together wherever the context does, and a unit that says nothing about x beyond its
context, KL_i = 0, would count as active.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Independent, kl_divergence
from torch.nn.functional import pad

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.divergences import Site
from zf_pyro.guides import Guide
from zf_pyro.model import StochasticRNN
from zf_pyro.noise import NORMALS
from zf_pyro.paths import PathDistribution
from zf_pyro.processes import gathered, is_divided, summed, that_of_first, world_size
from zf_pyro.scopes import evaluating, seeded
from zf_pyro.streams import Streams, process_seed, stream_seed
from zf_pyro.terms import AUXILIARY, BACKWARD, skip_terms
from zf_pyro.tiles import singles

ACTIVE = 0.01
"""Nats a step above which a unit of z is active."""

StepTerms = Callable[[Site, Site], Tensor | None]
"""From the latent site of a guide and that of its model to a term of each step and unit, (T, B, D)."""


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
    model: StochasticRNN, guide: Any, batches: Iterable[SequenceBatch], *, seed: int = 0, total: int | None = None
) -> Tensor | None:
    """KL_i of every unit of z_t, (Z,), float64, in nats a step, in the path form at one path a sequence.

    The paths come from `seed` and the sequences alone and leave the caller's random state as it was.

    Args:
        model: the generative program.
        guide: the inference program.
        batches: the sequences, or where several processes are at work (`zf_pyro.processes`) this one's share.
        seed: of the paths.
        total: sequences of all processes; None for those of `batches`, which are then all.

    Returns:
        None where the programs are not `StochasticRNN` and `Guide` themselves, or posterior or prior is no diagonal
        Gaussian: only of these does the divergence fall into known shares of the units.
    """
    found = step_sums(model, guide, batches, step_divergences, seed=seed)
    if found is not None and total is not None:
        found = found.of_all(total)
    return None if found is None else found.by_unit


def is_known(model: Any, guide: Any) -> bool:
    """Whether model and guide are the programs of this package themselves, whose sites and states are known."""
    return type(guide) is Guide and type(model) is StochasticRNN


class StepSums(NamedTuple):
    """What was found at steps 1 .. T, added up over sequences.

    Attributes:
        sums: (T, D), float64.
        counts: (T,), the sequences that have so many steps.
    """

    sums: Tensor
    counts: Tensor

    @property
    def by_unit(self) -> Tensor:
        """The mean over all real steps, (D,)."""
        return self.sums.sum(0) / self.counts.sum()

    @property
    def by_step(self) -> Tensor:
        """The mean over the sequences that have the step, (T,), all units together."""
        return self.sums.sum(1) / self.counts

    def until(self, steps: int) -> StepSums:
        """The same for more steps, of which there is nothing."""
        missing = steps - len(self.counts)
        return StepSums(pad(self.sums, (0, 0, 0, missing)), pad(self.counts, (0, missing)))

    def plus(self, other: StepSums) -> StepSums:
        """These and those of other sequences."""
        steps = max(len(self.counts), len(other.counts))
        mine, others = self.until(steps), other.until(steps)
        return StepSums(mine.sums + others.sums, mine.counts + others.counts)

    def of_all(self, total: int) -> StepSums:
        """Those of N sequences, of which every process has its share."""
        if not is_divided(total):
            return StepSums(*map(that_of_first, self))
        steps = gathered(torch.tensor([len(self.counts)]), world_size()).max()
        return StepSums(*map(summed, self.until(int(steps))))


def step_sums(
    model: StochasticRNN, guide: Any, batches: Iterable[SequenceBatch], terms: StepTerms, *, seed: int = 0
) -> StepSums | None:
    """The sums over sequences of some terms of the steps, in the path form at one path a sequence.

    The paths come from `seed` and the sequences alone and leave the caller's random state as it was.

    Returns:
        None where the programs are not known (`is_known`), the terms are not, or there is no batch.
    """
    if not is_known(model, guide):
        return None
    device = next(model.parameters()).device
    total = None
    with seeded(device, process_seed(seed)), evaluating(model, guide), skip_terms(AUXILIARY, BACKWARD):
        for each in batches:
            batch = each.to(device)
            seeds = [stream_seed(seed, single.key) for single in singles([each])]
            with Streams(seeds, each.lengths.tolist(), each.num_steps, device):
                guide_trace: Any = poutine.trace(guide).get_trace(batch, form="path")
            model_trace: Any = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(batch, form="path")
            found = terms(guide_trace.nodes["z"], model_trace.nodes["z"])
            if found is None:
                return None
            sums = found.double().masked_fill(~batch.mask.unsqueeze(-1), 0.0).sum(1)
            these = StepSums(sums.cpu(), batch.mask.sum(1).cpu())
            total = these if total is None else total.plus(these)
    return total


def step_divergences(guide_site: Site, model_site: Site) -> Tensor | None:
    """KL(q_ti || p_ti) along the path that a guide drew, (T, B, Z), in nats; None where it is not known by units."""
    q, p, path = guide_site["fn"], model_site["fn"], guide_site["value"]
    if not (isinstance(q, PathDistribution) and isinstance(p, PathDistribution)):
        return None
    laws = [law.given(path).law for law in (q, p)]
    if not all(isinstance(law, Independent) and type(law.base_dist) in NORMALS for law in laws):
        return None
    return kl_divergence(*(law.base_dist for law in laws))


def step_ratios(guide_site: Site, model_site: Site) -> Tensor:
    """Log q_t - log p_t along the path that a guide drew, (T, B, 1), in nats: KL_t in expectation, of any laws."""
    path = guide_site["value"]
    return (guide_site["fn"].log_probs(path) - model_site["fn"].log_probs(path)).unsqueeze(-1)
