"""How much a latent path says of which sequence it came from: bounds on the mutual information I(x; z_1 .. z_t).

x is one of M sequences and z ~ q(z | x). With c_nm(t) = log q(z_1 .. z_t | x_m) of the path that was drawn for x_n,

    lower(t) = mean_n [ c_nn(t) - log 1/M     sum_m      exp c_nm(t) ]  <=  I(x; z_1 .. z_t),    and  <=  log M
    upper(t) = mean_n [ c_nn(t) - log 1/(M-1) sum_{m!=n} exp c_nm(t) ]  >=  I(x; z_1 .. z_t)

both in expectation over sequences of a population and draws of z. Poole, Ozair, van den Oord, Alemi, Tucker, "On
Variational Bounds of Mutual Information", ICML 2019; the first is also the index-code mutual information of the M
sequences themselves: Hoffman, Johnson, "ELBO surgery", 2016. x stands for all that the guide reads, u_1 included.

This information is not all use. A law whose context holds x_1 .. x_{t-1} tells sequences apart even where posterior and
prior are the same. What z_t adds is bounded by the divergence: over the same population

    mean KL_t = I(z_t; x | z_1 .. z_{t-1}, x_1 .. x_{t-1}) + mean KL( q(z_t | z_1 .. z_{t-1}, x_1 .. x_{t-1}) || p_t )

where the last q is the guide's law averaged over all sequences with the same past. It is the decomposition of Hoffman
and Johnson, given the past. So KL_t is an upper bound on what z_t adds; how far above is not known but at t = 1, since
pasts do not come twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zf_pyro.conditionals import Context
from zf_pyro.data.batch import MAX_STEPS, SequenceBatch
from zf_pyro.guides import Guide
from zf_pyro.model import StochasticRNN
from zf_pyro.paths import PathDistribution
from zf_pyro.scopes import evaluating, seeded
from zf_pyro.weights import MAX_ROWS

SEQUENCES = 64
"""M at most: the cost grows with its square."""

STEPS = 100
"""Of the paths at most."""


class Information(NamedTuple):
    """Bounds on I(x; z_1 .. z_t), t = 1 .. T, each (T,), float64, in nats; `error` is the standard error of `lower`."""

    num_sequences: int
    lower: Tensor
    upper: Tensor
    error: Tensor


def chosen_for(lengths: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, int]:
    """M of the chosen sequences, the first that are at least as long as half of them, and T, which they all have."""
    middle = np.sort(lengths[chosen])[len(chosen) // 2]
    long = chosen[lengths[chosen] >= middle][:SEQUENCES]
    return long, min(int(lengths[long].min()), STEPS)


def information(
    model: StochasticRNN, guide: Guide, batch: SequenceBatch, num_steps: int, *, seed: int = 0
) -> Information | None:
    """Bounds by the sequences of a batch, each of at least T steps, and one path of each.

    Args:
        model: the generative program.
        guide: whose laws are known.
        batch: M sequences.
        num_steps: T.
        seed: of the paths; the caller's random state stays as it was.

    Returns:
        None where there are fewer than two sequences.
    """
    if batch.num_sequences < 2:
        return None
    device = next(model.parameters()).device
    with seeded(device, seed), evaluating(model, guide):
        scores = cross_scores(model, guide, batch.to(device), num_steps)
    return bounds_of(scores.cumsum(0))


def cross_scores(model: StochasticRNN, guide: Guide, batch: SequenceBatch, num_steps: int) -> Tensor:
    """Log q(z_t | z_1 .. z_{t-1}, x_m) of the path drawn for x_n, (T, M, M), float64; n first."""
    encoding = guide.encode(batch)  # by the whole sequences
    targets = None if batch.targets is None else batch.targets[:num_steps]
    short = SequenceBatch(batch.inputs[:num_steps], targets, batch.mask[:num_steps], batch.first_input_is_data)
    beyond = Context(encoding=None if encoding is None else encoding[:num_steps])

    def law() -> PathDistribution:
        return PathDistribution(model.path_states(short), guide.posterior, short.mask, beyond)

    drawn = law().sample()  # (M, T, Z)
    size = max(1, min(MAX_ROWS, MAX_STEPS // num_steps) // batch.num_sequences)
    rows = [score_under_all(law(), part) for part in drawn.split(size)]
    return torch.cat(rows, 1).cpu()


def score_under_all(law: PathDistribution, paths: Tensor) -> Tensor:
    """The scores of K paths (K, T, Z) under the law of each of M sequences, (T, K, M), float64."""
    value = paths.unsqueeze(1).expand(-1, law.real.shape[1], -1, -1)  # (K, M, T, Z)
    scores = law.log_probs(value).double()  # (K, T, M)
    return scores.transpose(0, 1)


def bounds_of(scores: Tensor) -> Information:
    """The bounds from c_nm(t), (T, M, M), n before m."""
    count = scores.shape[-1]
    own = scores.diagonal(dim1=-2, dim2=-1)
    others = scores.masked_fill(torch.eye(count, dtype=torch.bool), -math.inf)
    lower = own - (scores.logsumexp(-1) - math.log(count))
    upper = own - (others.logsumexp(-1) - math.log(count - 1))
    return Information(count, lower.mean(-1), upper.mean(-1), lower.std(-1) / math.sqrt(count))


def told_steps(num_steps: int) -> Sequence[int]:
    """Some of the steps 1 .. T for a table: 1, 2, 4, 8, .. and T."""
    return sorted({1 << power for power in range(num_steps.bit_length())} | {num_steps})
