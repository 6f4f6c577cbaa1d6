"""Lower bounds on the log-likelihood of sequences, by importance sampling from the guide.

    log w_k  = log p(x, z_k) - log q(z_k | x),      z_k ~ q,  k = 1 .. K, each summed over the real steps of a sequence
    ELBO     = mean_k log w_k
    IW bound = log mean_k w_k                       Burda et al., "Importance Weighted Autoencoders", ICLR 2016

Both come from the same K weights, so that ELBO <= IW bound always, and both in expectation stay below log p(x).
gamma = 1 and alpha = beta = 0, whatever the weights of training were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from zf_pyro.data.batch import MAX_STEPS, SequenceBatch
from zf_pyro.divergences import Site, log_prob
from zf_pyro.errors import InputError
from zf_pyro.guides import Guide
from zf_pyro.model import StochasticRNN
from zf_pyro.objectives import sum_scores
from zf_pyro.paths import Form, PathDistribution
from zf_pyro.scopes import evaluating, seeded
from zf_pyro.stepwise import Stepwise
from zf_pyro.terms import AUXILIARY, BACKWARD, skip_terms

MAX_ROWS = 256
"""Particles times sequences scored at once, or one particle of a larger batch: it bounds the memory, whatever K."""


Program = Callable[..., Any]
"""A Pyro program of a batch: a `Guide`, or a function of a user's own."""


class Weights(NamedTuple):
    """log w_k, and its part log q(z_k | x) - log p(z_k), each (K, B), float64, in nats per sequence."""

    log_weights: Tensor
    log_ratios: Tensor


@dataclass(frozen=True)
class Bound:
    """Bounds over a set of sequences: means over sequences, nats per sequence, with their standard errors.

    Attributes:
        num_sequences: N.
        num_steps: real steps of all sequences together.
        elbo: mean over sequences and particles of log w.
        elbo_se: its standard error over sequences.
        iw_bound: mean over sequences of log mean_k w_k.
        iw_bound_se: its standard error over sequences.
        num_particles: K.
        kl: mean of log q(z | x) - log p(z) at the same samples, so that elbo = reconstruction - kl.
    """

    num_sequences: int
    num_steps: int
    elbo: float
    elbo_se: float
    iw_bound: float
    iw_bound_se: float
    num_particles: int
    kl: float

    def perplexity(self, bound: float) -> float:
        """exp(-bound in nats per step), for a bound in nats per sequence; infinite beyond the reals of the machine."""
        nats = -bound * self.num_sequences / self.num_steps
        return math.exp(nats) if nats < 700 else math.inf


class SequenceBounds(NamedTuple):
    """Bounds of single sequences, each (N,), in nats per sequence.

    Attributes:
        num_particles: K.
        lengths: real steps of each sequence.
        elbo: mean over particles of log w, float64.
        iw_bound: log mean_k w_k, float64.
        kl: mean over particles of log q(z | x) - log p(z), float64.
    """

    num_particles: int
    lengths: Tensor
    elbo: Tensor
    iw_bound: Tensor
    kl: Tensor

    def over_all(self) -> Bound:
        """The means over sequences, and their standard errors."""
        return Bound(
            num_sequences=len(self.elbo),
            num_steps=int(self.lengths.sum()),
            elbo=self.elbo.mean().item(),
            elbo_se=standard_error(self.elbo),
            iw_bound=self.iw_bound.mean().item(),
            iw_bound_se=standard_error(self.iw_bound),
            num_particles=self.num_particles,
            kl=self.kl.mean().item(),
        )


def importance_weights(
    model: StochasticRNN,
    guide: Program,
    batch: SequenceBatch,
    num_particles: int,
    max_rows: int = MAX_ROWS,
    form: Form = "path",
) -> Weights:
    """K importance weights for every sequence of a batch.

    The particles stand in a plate left of the batch, so that what needs no z is computed once; transitions and heads
    fold them into their rows. They come in chunks of at most `max_rows` rows and `MAX_STEPS` steps in all of them,
    which bounds the memory.

    A guide may be any Pyro program: it is called as ``guide(batch)`` in the step form, and as
    ``guide(batch, form="path")`` in the path form.

    Raises:
        InputError: `num_particles` is below 1.
    """
    if num_particles < 1:
        raise InputError(f"the number of particles must be at least 1, not {num_particles}")
    rows = min(max_rows, MAX_STEPS // max(1, batch.num_steps))
    chunk = max(1, rows // batch.num_sequences)
    with evaluating(model, guide), skip_terms(AUXILIARY, BACKWARD):
        program = partial(guide, encoding=guide.encode(batch)) if isinstance(guide, Guide) else guide
        chunks = [
            weigh(model, program, batch, min(chunk, num_particles - start), form)
            for start in range(0, num_particles, chunk)
        ]
    return Weights(*(torch.cat(parts) for parts in zip(*chunks, strict=True)))


def weigh(model: StochasticRNN, guide: Program, batch: SequenceBatch, num_particles: int, form: Form) -> Weights:
    """Importance weights of one chunk of particles."""
    options: dict[str, Any] = {} if form == "step" else {"form": form}
    with pyro.plate("particles", num_particles, dim=-2):
        guide_trace = poutine.trace(guide).get_trace(batch, **options)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(batch, **options)
    # All of the guide's sites: an autoguide's density is that of sites of its own. Its added terms count for nothing.
    posterior = sum_scores(guide_trace, lambda name, site: True, precise_log_prob)
    prior = sum_scores(model_trace, lambda name, site: name in guide_trace.nodes, precise_log_prob)
    likelihood = sum_scores(model_trace, lambda name, site: name not in guide_trace.nodes, precise_log_prob)
    shape = (num_particles, batch.num_sequences)
    log_ratios = (posterior - prior).expand(shape)
    return Weights((likelihood - log_ratios).expand(shape), log_ratios)


def precise_log_prob(site: Site) -> Tensor:
    """As `zf_pyro.objectives.log_prob`, the steps of a path added up in float64."""
    law, value = site["fn"], site["value"]
    if not isinstance(law, Stepwise | PathDistribution):
        return log_prob(site).double()
    return scale_and_mask(law.log_probs(value).sum(-2, dtype=torch.float64), site["scale"], site["mask"])


def estimate_bound(
    model: StochasticRNN,
    guide: Program,
    batches: Iterable[SequenceBatch],
    num_particles: int,
    *,
    seed: int = 0,
    max_rows: int = MAX_ROWS,
    form: Form = "path",
) -> Bound:
    """ELBO and importance-weighted bound over all sequences of `batches`: the means of `sequence_bounds`.

    The draws come from `seed` alone and leave the caller's random state as it was: the same batches give the same
    answer.

    Raises:
        InputError: `num_particles` is below 1, or there is no sequence.
    """
    return sequence_bounds(model, guide, batches, num_particles, seed=seed, max_rows=max_rows, form=form).over_all()


def sequence_bounds(
    model: StochasticRNN,
    guide: Program,
    batches: Iterable[SequenceBatch],
    num_particles: int,
    *,
    seed: int = 0,
    max_rows: int = MAX_ROWS,
    form: Form = "path",
) -> SequenceBounds:
    """ELBO and importance-weighted bound of each sequence of `batches`, in their order; as `estimate_bound`.

    Raises:
        InputError: `num_particles` is below 1, or there is no sequence.
    """
    found = []
    device = next(model.parameters()).device
    with seeded(device, seed):
        for batch in batches:
            weights = importance_weights(model, guide, batch.to(device), num_particles, max_rows, form)
            elbo = weights.log_weights.mean(0)
            bound = weights.log_weights.logsumexp(0) - math.log(num_particles)
            found.append((batch.lengths, elbo, bound, weights.log_ratios.mean(0)))
    if not found:
        raise InputError("there is no sequence to evaluate")
    return SequenceBounds(num_particles, *(torch.cat(parts) for parts in zip(*found, strict=True)))


def standard_error(values: Tensor) -> float:
    """Standard error of the mean of (N,) values; 0 for a single one."""
    return (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else 0.0
