"""The training objective.

    Z-Forcing = E_q sum_t [ log p(x_t | h_t) - gamma KL_t
                            + alpha log p(b_t | z_t) + beta log p(u_t | b_t) ]
    KL_t      = KL( q(z_t | context_t, b_t) || p(z_t | context_t) )

KL_t stands inside the expectation: it depends on z_1 .. z_{t-1} through the context. alpha = beta = 0 and gamma = 1
give the evidence lower bound. Goyal et al., "Z-Forcing", NIPS 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO
from pyro.infer.util import is_validation_enabled
from pyro.poutine.util import prune_subsample_sites
from pyro.util import check_model_guide_match, warn_if_nan
from torch import Tensor

from zf_pyro.divergences import Divergence, Site, log_prob
from zf_pyro.schedules import Weight, weight_at
from zf_pyro.terms import AUXILIARY, BACKWARD, skip_terms


class Terms(NamedTuple):
    """The parts of the objective before weighting, in nats, summed over sequences and averaged over particles.

    Attributes:
        reconstruction: sum log p(x_t | h_t).
        kl: sum KL_t; None where gamma is 0.
        auxiliary: sum log p(b_t | z_t); None where alpha is 0 or the guide has no such term.
        backward: sum log p(u_t | b_t); None where beta is 0 or the guide has no such term.
        penalty: what gamma weighs in place of the sum of KL_t, under free bits; None without.
    """

    reconstruction: Tensor
    kl: Tensor | None
    auxiliary: Tensor | None
    backward: Tensor | None
    penalty: Tensor | None = None

    def detached(self) -> Terms:
        """The same numbers without their graph."""
        return Terms._make(None if term is None else term.detach() for term in self)


class Weights(NamedTuple):
    """The weights of the terms at an update."""

    alpha: float
    beta: float
    gamma: float

    def skipping(self) -> AbstractContextManager[None]:
        """Inside, guides leave out the terms of weight 0."""
        return skip_terms(*(name for name, weight in ((AUXILIARY, self.alpha), (BACKWARD, self.beta)) if weight == 0))

    def added(self, auxiliary: Tensor | None, backward: Tensor | None) -> Tensor | float:
        """The weighted sum of the two added terms."""
        require_term(auxiliary, self.alpha, "alpha", AUXILIARY)
        require_term(backward, self.beta, "beta", BACKWARD)
        total: Tensor | float = 0.0
        for weight, term in ((self.alpha, auxiliary), (self.beta, backward)):
            if term is not None:
                total = total + weight * term
        return total


class ZForcingELBO(ELBO):
    """Minus the Z-Forcing objective, summed over sequences and divided by `count`.

    KL_t is analytic where PyTorch or Pyro knows it, else log q - log p at the sample. Every latent site must be
    reparametrised. A term whose weight is 0 is not computed at all.

    Use it as any Pyro objective, ``SVI(model, guide, optimiser, ZForcingELBO())``, or as a module,
    ``ZForcingELBO()(model, guide)(batch)``.

    Args:
        alpha: weight of the auxiliary term; a number or a schedule. log p(b_t | z_t) sums over the units of b_t, so
            alpha is a weight per unit of b_t, not per nat of data.
        beta: weight of the backward language model.
        gamma: weight of the KL term.
        count: what the sum is divided by. 1 leaves the sum over sequences, as Pyro's own objectives do; the number of
            sequences of a batch over all processes makes it a mean.
        free_bits: floor under KL_t, nats a step.
        kl_balance: above 1/2 the KL term pulls more on the prior, below on the posterior; see `Divergence`.
        num_particles: samples of z to average over.
        vectorize_particles: draw them in one pass, in a plate left of the batch.

    Attributes:
        step: updates done so far, which schedules are read at. `loss_and_grads`, hence ``SVI.step``, counts it up; a
            loop of one's own sets it.
        last_terms: the `Terms` of the latest evaluation, detached, for logs.

    Raises:
        NotImplementedError: a latent site of the guide is not reparametrised (when evaluated).
        ValueError: alpha or beta is not 0 and the guide has no such term (when evaluated), or count is not positive.
    """

    def __init__(
        self,
        alpha: Weight = 0.0,
        beta: Weight = 0.0,
        gamma: Weight = 1.0,
        *,
        count: int = 1,
        free_bits: float = 0.0,
        kl_balance: float = 0.5,
        num_particles: int = 1,
        vectorize_particles: bool = False,
    ) -> None:
        super().__init__(num_particles=num_particles, vectorize_particles=vectorize_particles)
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count}")
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.count = count
        self.divergence = Divergence(free_bits, kl_balance)
        self.step = 0
        self.last_terms: Terms | None = None

    def differentiable_loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor:
        """The loss as a scalar tensor, to be differentiated."""
        weights = self.weights()
        divergence = self.divergence if weights.gamma else None
        with weights.skipping():
            traces = self._get_traces(model, guide, args, kwargs)
            particles = [collect_terms(model_trace, guide_trace, divergence) for model_trace, guide_trace in traces]
            terms = mean_of_particles(particles, self.num_particles)
        objective = terms.reconstruction + weights.added(terms.auxiliary, terms.backward)
        penalty = terms.kl if terms.penalty is None else terms.penalty
        self.last_terms = terms.detached()
        return -(objective if penalty is None else objective - weights.gamma * penalty) / self.count

    def weights(self) -> Weights:
        """The weights at the current step."""
        return Weights(*(weight_at(weight, self.step) for weight in (self.alpha, self.beta, self.gamma)))

    def loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> float:
        """The loss as a number, without gradients."""
        with torch.no_grad():
            loss = self.differentiable_loss(model, guide, *args, **kwargs)
        warn_if_nan(loss, "loss")
        return loss.item()

    def loss_and_grads(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> float:
        """Accumulate gradients, count the step, and return the loss as a number. What ``SVI.step`` calls."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        self.step += 1
        warn_if_nan(loss, "loss")
        return loss.item()

    def _get_trace(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> tuple[Any, Any]:
        """A guide's trace and the model's replay of it, no log-probability computed yet."""
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
        if is_validation_enabled():
            check_model_guide_match(model_trace, guide_trace, self.max_plate_nesting)
        return prune_subsample_sites(model_trace), prune_subsample_sites(guide_trace)


def require_term(term: Tensor | None, weight: float, weight_name: str, name: str) -> None:
    """A weight without a term to weigh is a mistake, not a zero."""
    if weight and term is None:
        raise ValueError(
            f"{weight_name} is {weight:g}, but the guide has no {name} term; give it one, or {weight_name}=0"
        )


def collect_terms(model_trace: Any, guide_trace: Any, divergence: Divergence | None) -> Terms:
    """The terms of one pair of traces; those of the divergence only where one is given."""
    reconstruction = torch.zeros(())
    kl = penalty = torch.zeros(()) if divergence else None
    for name, site in stochastic_sites(model_trace):
        if site["is_observed"]:
            reconstruction = reconstruction + log_prob(site).sum()
        elif divergence and kl is not None and penalty is not None:
            of_site = divergence.of_site(guide_trace.nodes[name], site)
            kl, penalty = kl + of_site.kl, penalty + of_site.penalty
    for name, site in stochastic_sites(guide_trace):
        if name not in model_trace.nodes and "term" not in site["infer"] and kl is not None and penalty is not None:
            score = log_prob(site).sum()
            kl, penalty = kl + score, penalty + score
    return Terms(reconstruction, kl, *added_terms(guide_trace), penalty if divergence and divergence.floor else None)


def added_terms(guide_trace: Any) -> tuple[Tensor | None, Tensor | None]:
    """The auxiliary and the backward term of a trace, summed over sequences and particles."""
    added: dict[str, Tensor] = {}
    for _, site in stochastic_sites(guide_trace):
        if "term" in site["infer"]:
            # The backward term needs no z, so its value may lack the particles' dimension, which the site has.
            value = site["value"].expand(site["fn"].batch_shape)
            added[site["infer"]["term"]] = scale_and_mask(value, site["scale"], site["mask"]).sum()
    return added.get(AUXILIARY), added.get(BACKWARD)


def stochastic_sites(trace: Any) -> Iterator[tuple[str, Site]]:
    """The sample sites of a trace, with their names."""
    return ((name, site) for name, site in trace.nodes.items() if site["type"] == "sample")


def sum_scores(trace: Any, counted: Callable[[str, Site], bool], score: Callable[[Site], Tensor] = log_prob) -> Tensor:
    """The scores of the counted sites of a trace added up, (..., B), or () where there is none."""
    total = torch.zeros((), dtype=torch.float64)
    for name, site in stochastic_sites(trace):
        if counted(name, site):
            total = total + score(site)
    return total


def mean_of_particles(particles: list[Terms], num_particles: int) -> Terms:
    """Add up the traces' terms and divide by the particles (of which a vectorised trace holds all)."""
    return Terms._make(
        None if parts[0] is None else sum(parts) / num_particles for parts in zip(*particles, strict=True)
    )
