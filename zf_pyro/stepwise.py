"""The laws of many steps as one law of sequences, time in the event shape."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence, register_kl

from zf_pyro.noise import NORMALS


class Stepwise(TorchDistribution):
    """Laws of T steps, independent given what each was made from, as one law of sequences.

    Batch shape (..., B), event shape (T, *event); padded steps are not scored.

    Args:
        law: of batch shape (..., T, B).
        real: (T, B), True at real steps, False at padded ones.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch's own form

    def __init__(self, law: TorchDistribution, real: Tensor) -> None:
        self.law, self.real = law, real
        *particles, steps, sequences = law.batch_shape
        super().__init__(
            torch.Size((*particles, sequences)), torch.Size((steps, *law.event_shape)), validate_args=False
        )

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the laws of the steps have it."""
        return self.law.has_rsample

    @property
    def support(self) -> Any:
        """Sequences of what the laws of the steps allow."""
        return constraints.independent(self.law.support, 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Stepwise:
        """The same law for several particles."""
        *particles, sequences = batch_shape
        return Stepwise(self.law.expand(torch.Size((*particles, self.event_shape[0], sequences))), self.real)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, (sample_shape + batch_shape + event_shape)."""
        return self.swap(self.law.rsample(torch.Size(sample_shape)))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws without gradient, (sample_shape + batch_shape + event_shape)."""
        return self.swap(self.law.sample(torch.Size(sample_shape)))

    def swap(self, value: Tensor) -> Tensor:
        """Exchange time and batch in a value of this law."""
        time = -1 - len(self.law.event_shape)
        return value.transpose(time, time - 1)

    def log_probs(self, value: Tensor) -> Tensor:
        """The log-probability of each step, zero at padded ones, (..., T, B), in nats."""
        return self.law.log_prob(self.swap(value)).masked_fill(~self.real, 0.0)

    def log_prob(self, value: Tensor) -> Tensor:
        """The sum over the real steps, (..., B), in nats."""
        return self.log_probs(value).sum(-2)


@register_kl(Stepwise, Stepwise)
def kl_stepwise(q: Stepwise, p: Stepwise) -> Tensor:
    """sum_t KL(q_t || p_t) over the real steps, (..., B), in nats.

    Raises:
        NotImplementedError: there is no closed form for the laws of a step.
    """
    return masked_sum(kl_divergence(q.law, p.law), q.real)


def masked_sum(scores: Tensor, mask: Tensor) -> Tensor:
    """Sum scores (..., T, B) over the real steps of mask (T, B)."""
    return scores.masked_fill(~mask, 0.0).sum(-2)


@singledispatch
def stack_laws(first: Any, laws: list[Any], dim: int = -2) -> TorchDistribution | None:
    """The laws of T steps, each of batch shape (..., B), as one of batch shape (..., T, B).

    None for a family that is not registered: the conditional is then run again, on all steps at once.

    Args:
        first: one of them, by whose type the family is known.
        laws: the laws of the steps.
        dim: where the steps go among the dimensions of the parameters.
    """
    return None


@stack_laws.register
def _normals(first: Normal, laws: list[Any], dim: int = -2) -> TorchDistribution | None:
    if any(type(law) not in NORMALS for law in laws):
        return None
    return dist.Normal(torch.stack([law.loc for law in laws], dim), torch.stack([law.scale for law in laws], dim))


@stack_laws.register
def _independents(first: Independent, laws: list[Any], dim: int = -2) -> TorchDistribution | None:
    rightmost = first.reinterpreted_batch_ndims
    base = stack_laws(first.base_dist, [law.base_dist for law in laws], dim - rightmost)
    return None if base is None else base.to_event(rightmost)
