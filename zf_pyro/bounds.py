"""Lower bounds on the log-likelihood of sequences, by importance sampling from the guide.

    log w_k  = log p(x, z_k) - log q(z_k | x),      z_k ~ q,  k = 1 .. K, each summed over the real steps of a sequence
    ELBO     = mean_k log w_k
    IW bound = log mean_k w_k                       Burda et al., "Importance Weighted Autoencoders", ICLR 2016

Both come from the same K weights, so that ELBO <= IW bound always, and both in expectation stay below log p(x).
gamma = 1 and alpha = beta = 0, whatever the weights of training were.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.model import StochasticRNN
from zf_pyro.paths import Form
from zf_pyro.weights import Program, sequence_weights


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

    @classmethod
    def of(cls, lengths: Tensor, log_weights: Tensor, log_ratios: Tensor) -> SequenceBounds:
        """From lengths (N,) and K weights of each sequence, (K, N); see `zf_pyro.weights`."""
        bound = log_weights.logsumexp(0) - math.log(len(log_weights))
        return cls(len(log_weights), lengths, log_weights.mean(0), bound, log_ratios.mean(0))

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


def estimate_bound(
    model: StochasticRNN,
    guide: Program,
    batches: Iterable[SequenceBatch],
    num_particles: int,
    *,
    seed: int = 0,
    form: Form = "path",
) -> Bound:
    """ELBO and importance-weighted bound over all sequences of `batches`: the means of `sequence_bounds`.

    Raises:
        InputError: `num_particles` is below 1, or there is no sequence.
    """
    return sequence_bounds(model, guide, batches, num_particles, seed=seed, form=form).over_all()


def sequence_bounds(
    model: StochasticRNN,
    guide: Program,
    batches: Iterable[SequenceBatch],
    num_particles: int,
    *,
    seed: int = 0,
    form: Form = "path",
) -> SequenceBounds:
    """ELBO and importance-weighted bound of each sequence of `batches`, in their order, from `sequence_weights`.

    Raises:
        InputError: `num_particles` is below 1, or there is no sequence.
    """
    return SequenceBounds.of(*sequence_weights(model, guide, batches, num_particles, seed=seed, form=form))


def log_likelihood(
    model: StochasticRNN,
    guide: Program,
    batch: SequenceBatch,
    num_particles: int,
    *,
    seed: int = 0,
    form: Form = "path",
) -> Tensor:
    """The importance-weighted bound on log p(x | u) of each sequence of a batch, (B,), float64, in nats, on the CPU.

    It is below log p(x | u) in expectation, and comes up to it with K.

    Raises:
        InputError: `num_particles` is below 1, or there is no sequence.
    """
    return sequence_bounds(model, guide, [batch], num_particles, seed=seed, form=form).iw_bound


def standard_error(values: Tensor) -> float:
    """Standard error of the mean of (N,) values; 0 for a single one."""
    return (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else 0.0
