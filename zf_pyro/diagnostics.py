"""What log-weights say of the estimates that are made from them."""

from __future__ import annotations

import math

import numpy as np
import torch
from pyro.ops.stats import fit_generalized_pareto
from torch import Tensor

CURVE = (1, 5, 25, 100, 500, 1000)
"""Numbers of particles at which the importance-weighted bound is reported."""

LEAST_PARTICLES = 100
"""Below this the tail of the weights has too few of them to tell its shape."""

UNTRUSTWORTHY = 0.7
"""A shape of the tail above which an estimate by so many weights is not to be trusted."""

LEAST_TAIL = 5
"""Weights above the tail's beginning without which no shape is fitted."""

NEGLIGIBLE = -600.0
"""Log of the share of the largest weight below which one counts for none: a fit overflows below it."""

EQUAL = 1e-6
"""Logs of weights that are no further apart differ by rounding."""

BOOTSTRAPS = 1_000


def curve(log_weights: Tensor) -> dict[int, Tensor]:
    """The importance-weighted bound by K' particles, for each K' of `CURVE` that is at most K, and for K itself.

    Of K' < K the mean over all disjoint groups of K' particles, which has less noise than the first group alone.

    Args:
        log_weights: log w, (K, N).

    Returns:
        (N,) for each K', in nats per sequence.
    """
    most = len(log_weights)
    return {k: bound_by(log_weights, k) for k in sorted({k for k in CURVE if k < most} | {most})}


def bound_by(log_weights: Tensor, num_particles: int) -> Tensor:
    """Log mean_k w_k of disjoint groups of K' particles, averaged over the groups, (N,)."""
    groups = log_weights[: len(log_weights) // num_particles * num_particles].unflatten(0, (-1, num_particles))
    return (groups.logsumexp(1) - math.log(num_particles)).mean(0)


def effective_sample_sizes(log_weights: Tensor) -> Tensor:
    """(sum_k w_k)^2 / sum_k w_k^2 of each sequence, (N,), between 1 and K."""
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()


def pareto_shapes(log_weights: Tensor) -> Tensor:
    """The shape k-hat of a generalised Pareto law fitted to the largest weights of each sequence, (N,), float64.

    Above 1/2 the weights have no variance, and above 0.7 as many as are practical do not average out. Where the largest
    weights are all equal it is minus infinity; where fewer than `LEAST_TAIL` of them count beside the largest,
    infinity. Vehtari, Simpson, Gelman, Yao, Gabry, "Pareto Smoothed Importance Sampling", JMLR 2024.

    Raises:
        ValueError: there are fewer than `LEAST_PARTICLES` weights.
    """
    count = len(log_weights)
    if count < LEAST_PARTICLES:
        raise ValueError(f"the tail of {count} weights is too short; take {LEAST_PARTICLES} or more")
    tail = math.ceil(min(count / 5, 3 * math.sqrt(count)))
    largest = log_weights.double().topk(tail + 1, 0).values
    return torch.tensor([shape_of_tail(each) for each in (largest - largest[0]).T], dtype=torch.float64)


def shape_of_tail(relative: Tensor) -> float:
    """The shape of a tail from the logs of its weights and of where it begins, (M + 1,), descending from 0."""
    if relative[-1] > -EQUAL:
        return -math.inf
    exceedances = relative.exp() - relative[-1].clamp(min=NEGLIGIBLE).exp()
    exceedances = exceedances[exceedances > 0]
    return fit_generalized_pareto(exceedances)[0] if len(exceedances) >= LEAST_TAIL else math.inf


def bootstrap_errors(scores: Tensor, lengths: Tensor, seed: int = 0) -> tuple[float, float]:
    """Standard errors, by drawing sequences anew, of the mean score a sequence and of the score a step.

    Args:
        scores: of each sequence, (N,), in nats.
        lengths: its steps, (N,).
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    values, steps = scores.double().numpy(), lengths.double().numpy()
    shares = np.full(len(values), 1 / len(values))
    draws = (generator.multinomial(len(values), shares) for _ in range(BOOTSTRAPS))  # all at once would be 1,000 N
    sums, lengths_drawn = np.array([(counts @ values, counts @ steps) for counts in draws]).T
    return float((sums / len(values)).std()), float((sums / lengths_drawn).std())
