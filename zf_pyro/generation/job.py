"""All that a decoding rests on: the model, the decoder, and what is given of each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zf_pyro.data.corpus import Observation
from zf_pyro.data.text import START
from zf_pyro.errors import check
from zf_pyro.generation.decoder import Decoder
from zf_pyro.generation.rollout import Followed, Latent, Rollout
from zf_pyro.model import StochasticRNN

MOST_NUMBERS = 2**28
"""Held at a time: a gigabyte of single precision, of which there are a few copies."""


@dataclass(frozen=True)
class Job:
    """What is to be decoded.

    Raises:
        InputError: it is more than memory may hold.

    Attributes:
        model: the generative program.
        observation: what stands at a step.
        decoder: how x_t is chosen.
        num_steps: T.
        number: B.
        latents: z_1 .. z_n of each sequence.
        prefix: x_1 .. x_m of each.
        inputs: u_1 .. u_k of each.
        latent: what z_t is beyond what is given.
    """

    model: StochasticRNN
    observation: Observation
    decoder: Decoder
    num_steps: int
    number: int
    latents: Followed
    prefix: Followed
    inputs: Followed
    latent: Latent

    def __post_init__(self) -> None:
        rows = self.number * (self.decoder.width if self.decoder.kind in ("best", "beam") else 1)
        size = self.observation.size
        require_room(rows * max(size, self.num_steps * (1 if self.of_words else size)))

    @classmethod
    def of(
        cls,
        model: StochasticRNN,
        observation: Observation,
        decoder: Decoder,
        num_steps: int,
        number: int,
        latents: Sequence[Tensor] | None,
        prefix: Sequence[Tensor] | None,
        inputs: Sequence[Tensor] | None,
        latent: Latent,
    ) -> Job:
        """A job from what is given, where it is; see `zf_pyro.generation.decoding.decode`."""
        like = next(model.parameters())
        nothing = [torch.zeros(0)] * number
        paths, before, u = (Followed(part or nothing, like) for part in (latents, prefix, inputs))
        return cls(model, observation, decoder, num_steps, number, paths, before, u, latent)

    @property
    def device(self) -> torch.device:
        """Of the model."""
        return next(self.model.parameters()).device

    @property
    def of_words(self) -> bool:
        """Whether sequences are text, which ends."""
        return self.observation.law == "categorical"

    def rollout(self, shape: torch.Size) -> Rollout:
        """The recursion of some hypotheses, (B,) or (W, B)."""
        return Rollout(self.model, shape, self.latents, self.latent)

    def start(self, shape: torch.Size) -> Tensor:
        """u_1 where none is given, (..., B) or (..., B, D)."""
        first = first_inputs(self.observation, self.number, next(self.model.parameters()))
        return first.expand(*shape, *first.shape[1:])

    def barred(self, t: int) -> Tensor:
        """The words left out of step t + 1, (V,) booleans; of other data nothing."""
        if not self.of_words:
            return torch.zeros(1, dtype=torch.bool, device=self.device)
        return self.decoder.barred(t, self.observation.size, self.device)


def require_room(numbers: int) -> None:
    """Refuse, before the memory runs out, to hold so many numbers at a time.

    Raises:
        InputError: there are more than `MOST_NUMBERS`.
    """
    what = f"{numbers:,} numbers would be held at a time, and {MOST_NUMBERS:,} may be"
    check(numbers <= MOST_NUMBERS, f"{what}; ask for fewer sequences, steps or draws, or a smaller width")


def first_inputs(observation: Observation, number: int, like: Tensor) -> Tensor:
    """u_1 where none is given: <s>, (B,), or zero, (B, D)."""
    if observation.law == "categorical":
        return torch.full((number,), START, device=like.device)
    return like.new_zeros(number, observation.size)
