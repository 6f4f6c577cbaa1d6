"""Particle filters with a guide as proposal, and the bound that they give.

At every step t each of the K particles of a sequence draws z_t ~ q(z_t | context_t, e_t), its increment

    log v_t = log p(x_t | feature_t) + log p(z_t | context_t) - log q(z_t | context_t, e_t)

is added to its log-weight, and where the weights have become uneven, ESS = (sum_k w_k)^2 / sum_k w_k^2 < threshold K,
the particles of that sequence are drawn anew by their weights, which are then 1. A segment lasts until the next such
resampling, or to the sequence's end:

    log Z = sum over segments of log mean_k prod_{t in segment} v_t

E[Z] = p(x), so E[log Z] <= log p(x). Without a resampling log Z is the importance-weighted bound. Maddison et al.,
"Filtering Variational Objectives", NIPS 2017; Le et al., "Auto-Encoding Sequential Monte Carlo", ICLR 2018; Naesseth
et al., "Variational Sequential Monte Carlo", AISTATS 2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from zf_pyro.chunks import in_chunks
from zf_pyro.conditionals import Conditional, Context
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.errors import check
from zf_pyro.guides import Guide
from zf_pyro.model import StochasticRNN
from zf_pyro.noise import Standard, reparametrised
from zf_pyro.paths import PathDistribution
from zf_pyro.recursion import StepLaws
from zf_pyro.resampling import ancestors, effective_sizes, rearranged
from zf_pyro.scopes import evaluating
from zf_pyro.weights import MAX_ROWS, require_particles

THRESHOLD = 0.5
"""Particles are drawn anew below this share of effective ones."""


class Moment(NamedTuple):
    """What a step of a filter leaves, each particle as it was drawn, before any resampling.

    Attributes:
        context: the fields known before z_t.
        laws: of z_t, by the conditional that each is of.
        latent: z_t, (K, B, Z).
        feature: what the emission reads.
        increments: log v_t, (K, B), float64, zero at padded steps; without gradient.
        effective: the effective sample size after the step, (B,), between 1 and K.
        resampled: whether the particles of a sequence were then drawn anew, (B,) booleans.
    """

    context: Context
    laws: Mapping[Conditional, TorchDistribution]
    latent: Tensor
    feature: Tensor
    increments: Tensor
    effective: Tensor
    resampled: Tensor


class ParticleFilter:
    """A particle filter over the sequences of a batch.

    Which particles live on is decided without gradient, and has none.

    Args:
        law: of the latent paths under the guide.
        num_particles: K.
        threshold: particles are drawn anew where fewer than this share of them is effective; 0 never does.
        gamma: weight of log q - log p in the increments; 1 makes Z an estimate of the likelihood.
        standard: where normal numbers come from.
        uniforms: for each step the number in [0, 1) by which a sequence is resampled, (T, B), float64; by default they
            are drawn where they are needed.
    """

    def __init__(
        self,
        law: PathDistribution,
        num_particles: int,
        *,
        threshold: float = THRESHOLD,
        gamma: float = 1.0,
        standard: Standard = torch.randn_like,
        uniforms: Tensor | None = None,
    ) -> None:
        self.states, self.posterior, self.beyond, self.real = law.states, law.conditional, law.beyond, law.real
        self.threshold, self.gamma, self.standard, self.uniforms = threshold, gamma, standard, uniforms
        self.shape = torch.Size((num_particles, law.real.shape[-1]))

    def run(self) -> Iterator[Moment]:
        """The steps, one after the other."""
        states, transition = self.states, self.states.transition
        laws_of = StepLaws(states.stretch, self.posterior, self.beyond, self.shape, with_prior=True)
        state = states.start(self.shape)
        log_weights = torch.zeros(self.shape, dtype=torch.float64, device=self.real.device)
        for t, prepared in enumerate(transition.over_steps(states.embedded, states.known)):
            context = transition.predict(state, prepared)
            laws = laws_of(context)
            latent = reparametrised(laws[self.posterior], self.standard)
            state, feature = transition.update(state, context, latent)
            with torch.no_grad():
                increments = self.increments(t, laws, latent, context._replace(feature=feature))
                log_weights = log_weights + increments
                effective = effective_sizes(log_weights)
                resampled = self.due(t, effective)
            if resampled.any():
                uniforms = torch.rand_like(effective) if self.uniforms is None else self.uniforms[t]
                state = rearranged(state, ancestors(log_weights, resampled, uniforms))
                log_weights = log_weights.masked_fill(resampled, 0.0)
            yield Moment(context, laws, latent, feature, increments, effective, resampled)

    def increments(
        self, t: int, laws: Mapping[Conditional, TorchDistribution], latent: Tensor, context: Context
    ) -> Tensor:
        """Log v of step t + 1, (K, B), float64, zero at padded steps."""
        emission, targets = self.states.model.emission, self.states.batch.targets
        assert targets is not None
        scores = in_chunks(emission, emission.own_fields(context)).log_prob(targets[t]).double()
        if self.gamma:
            prior, posterior = (laws[each].log_prob(latent).double() for each in (self.states.prior, self.posterior))
            scores = scores - self.gamma * (posterior - prior)
        return scores.expand(self.shape).masked_fill(~self.real[t], 0.0)

    def due(self, t: int, effective: Tensor) -> Tensor:
        """Whether the particles of a sequence are drawn anew after step t + 1: it goes on, and too few have weight."""
        if t + 1 == len(self.real):
            return torch.zeros_like(self.real[t])
        return self.real[t + 1] & (effective < self.threshold * self.shape[0])


def log_estimate(increments: Tensor, resampled: Tensor) -> Tensor:
    """Log Z of each sequence, (B,), in nats.

    Args:
        increments: log v, (K, T, B), zero at padded steps.
        resampled: whether the particles were drawn anew after a step, (T, B) booleans.
    """
    segments = resampled.cumsum(0) - resampled.long()  # (T, B): resamplings before the step
    sums = torch.zeros_like(increments).scatter_add(-2, segments.expand_as(increments), increments)
    return (sums.logsumexp(0) - math.log(len(increments))).sum(0)  # segments that are not there add 0


class Filtered(NamedTuple):
    """What a particle filter says of the sequences of a batch.

    Attributes:
        log_likelihood: log Z, (B,), float64, in nats per sequence.
        effective_sizes: after each step and before any resampling, (T, B), between 1 and K; of padded steps as it was
            at the sequence's end.
        resampled: whether the particles were drawn anew after a step, (T, B) booleans.
    """

    log_likelihood: Tensor
    effective_sizes: Tensor
    resampled: Tensor

    @classmethod
    def of(cls, particles: ParticleFilter) -> Filtered:
        """What a filter says when it has run."""
        kept = ((each.increments, each.effective, each.resampled) for each in particles.run())
        increments, effective, resampled = (torch.stack(each, -2) for each in zip(*kept, strict=True))
        return cls(log_estimate(increments, resampled), effective, resampled)


def filter_particles(
    model: StochasticRNN,
    guide: Guide,
    batch: SequenceBatch,
    num_particles: int,
    *,
    threshold: float = THRESHOLD,
    max_rows: int = MAX_ROWS,
    standard: Standard = torch.randn_like,
) -> Filtered:
    """Estimate the likelihood of every sequence of a batch by K particles.

    All K particles of a sequence must be there at once; the sequences come in chunks of at most `max_rows` rows
    (particles times sequences, one sequence at least). Only the current step's state is held, so the memory
    does not grow with particles times steps but for their weights.

    Args:
        model: the generative program.
        guide: the proposal, made for this model.
        batch: sequences with targets.
        num_particles: K.
        threshold: particles are drawn anew where fewer than this share of them is effective; 0 never does.
        max_rows: bound on the rows of a chunk.
        standard: where normal numbers come from.

    Raises:
        InputError: `num_particles` is below 1, or the guide is no `Guide` of this model.
        ValueError: the batch has no targets.
    """
    require_particles(num_particles)
    require_guide(model, guide)
    count = max(1, max_rows // num_particles)
    parts = []
    with evaluating(model, guide):
        for start in range(0, batch.num_sequences, count):
            law = guide.path_law(batch.part(start, start + count))
            parts.append(Filtered.of(ParticleFilter(law, num_particles, threshold=threshold, standard=standard)))
    return Filtered(*(torch.cat(part, -1) for part in zip(*parts, strict=True)))


def require_guide(model: Any, guide: Any) -> None:
    """Refuse a proposal that a filter cannot run a step at a time.

    Raises:
        InputError: so it is.
    """
    step_wise = isinstance(guide, Guide) and guide.model is model
    check(step_wise, "a particle filter draws a step at a time, and needs for it a zf_pyro.Guide made for this model")
