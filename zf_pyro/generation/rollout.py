"""The generative recursion, a step at a time, for several hypotheses of each sequence.

z_t ~ p(z_t | context_t), or given        x_t's law = p(x_t | feature_t), from which `decoding` and `beam` choose

It is the step form of `zf_pyro.model` without its sites: what is to be decided at a step may depend on all hypotheses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from zf_pyro.errors import InputError
from zf_pyro.model import StochasticRNN
from zf_pyro.noise import reparametrised
from zf_pyro.resampling import rearranged
from zf_pyro.transitions.base import expand_state

Latent = Literal["draw", "mean"]
"""What z_t is where none is given: a draw from the prior, or its mean."""


class Followed:
    """Values that are given for the first steps of some sequences, and followed as far as they reach.

    Args:
        parts: of each of B sequences the values of its first steps, (n, ...), none of them for n = 0.
        like: whose device and type of real numbers the values are to have.
    """

    def __init__(self, parts: Sequence[Tensor], like: Tensor) -> None:
        padded = pad_sequence(list(parts)).to(like.device)  # (T, B, ...)
        self.values = padded.to(like.dtype) if padded.is_floating_point() else padded
        self.lengths = torch.tensor([len(part) for part in parts], device=like.device)

    def reach(self, t: int) -> Tensor:
        """Whether step t + 1 of each sequence is given, (B,) booleans."""
        return self.lengths > t

    def over(self, t: int, otherwise: Tensor) -> Tensor:
        """Step t + 1, (..., B, *size): what is given, in the place of what it is otherwise."""
        reached = self.reach(t)
        if not reached.any():
            return otherwise
        return torch.where(reached.reshape(-1, *[1] * (self.values.dim() - 2)), self.values[t], otherwise)


class Rollout:
    """The state of every hypothesis of every sequence, moved on a step at a time.

    Several hypotheses of a sequence share the noise of z: z_t is the same function of the past for all of them, where
    its law is made from normal numbers.

    Args:
        model: the generative program.
        shape: (B,), or (W, B) for W hypotheses of each sequence.
        latents: the paths that are given.
        latent: what z_t is beyond them.
    """

    def __init__(self, model: StochasticRNN, shape: torch.Size, latents: Followed, latent: Latent = "draw") -> None:
        self.model, self.shape, self.latents, self.latent = model, shape, latents, latent
        self.state = expand_state(model.transition.initial(shape[-1]), shape)
        self.done = 0

    def step(self, u: Tensor) -> TorchDistribution:
        """The law of x_t, of batch shape (..., B), given u_t, (..., B) or (..., B, D); z_t is drawn on the way."""
        model, transition = self.model, self.model.transition
        context = transition.predict(self.state, transition.prepare(model.embedding(u)))
        z = self.latents.over(self.done, self.from_prior(expanded(model.prior(context), self.shape)))
        self.state, feature = transition.update(self.state, context, z)
        self.done += 1
        return expanded(model.emission(context._replace(feature=feature)), self.shape)

    def from_prior(self, law: TorchDistribution) -> Tensor:
        """z_t, (..., B, Z), where none is given.

        Raises:
            InputError: its mean is asked for, and the law has none.
        """
        if self.latent == "mean":
            return mean_of(law, "the prior")
        if len(self.shape) == 1:
            return law()
        return reparametrised(law, lambda like: torch.randn_like(like[:1]).expand_as(like))

    def keep(self, chosen: Tensor) -> None:
        """Give each hypothesis the state of another of its sequence, (W, B)."""
        self.state = rearranged(self.state, chosen)


def expanded(law: TorchDistribution, shape: torch.Size) -> TorchDistribution:
    """A law with that batch shape."""
    return law if law.batch_shape == shape else law.expand(shape)


def mean_of(law: TorchDistribution, whose: str) -> Tensor:
    """The mean of a law.

    Raises:
        InputError: it is not known in closed form.
    """
    try:
        return law.mean
    except (NotImplementedError, AttributeError) as error:
        raise InputError(f"the law of {whose}, {type(law).__name__}, does not know its mean; draw from it") from error
