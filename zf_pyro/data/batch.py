"""The one form in which sequences reach a model: time first, padded, with a mask."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class SequenceBatch:
    """B sequences of at most T steps.

    Step t is conditioned on ``inputs[t - 1]`` (u_t, which is x_{t-1}; u_1 is the start) and scores ``targets[t - 1]``
    (x_t). Padding holds a legal value (zero), never NaN, and ``mask`` is False there.

    Attributes:
        inputs: (T, B) integers or (T, B, D) reals. The model's step form reads row 0 alone, the encoder none of them.
        targets: of the same shape as ``inputs``, or None where the model is to generate.
        mask: (T, B) booleans, True at real steps, which come first in every sequence.
        first_input_is_data: whether u_1 was observed (a frame) or is a convention (a start symbol); only an observed
            one is scored by the backward language model.
    """

    inputs: Tensor
    targets: Tensor | None
    mask: Tensor
    first_input_is_data: bool = False

    @property
    def num_steps(self) -> int:
        """T, the number of steps of the longest sequence, padding included."""
        return self.mask.shape[0]

    @property
    def num_sequences(self) -> int:
        """B."""
        return self.mask.shape[1]

    @property
    def lengths(self) -> Tensor:
        """(B,) integers: the real steps of each sequence."""
        return self.mask.sum(0)

    def to(self, device: torch.device | str) -> SequenceBatch:
        """The same batch on another device."""
        targets = None if self.targets is None else self.targets.to(device)
        return replace(self, inputs=self.inputs.to(device), targets=targets, mask=self.mask.to(device))

    def repeat_particles(self, num_particles: int) -> SequenceBatch:
        """K copies of every sequence, as a batch of K B sequences: particle k of sequence b is number k B + b.

        A score of each sequence, (..., K B), is (..., K, B) after ``unflatten(-1, (K, B))``.
        """

        def repeat(values: Tensor) -> Tensor:
            return values.repeat(1, num_particles, *[1] * (values.dim() - 2))

        targets = None if self.targets is None else repeat(self.targets)
        return replace(self, inputs=repeat(self.inputs), targets=targets, mask=repeat(self.mask))

    @classmethod
    def start(cls, first_input: Tensor, num_steps: int) -> SequenceBatch:
        """A batch without targets, from which the model generates.

        Args:
            first_input: (B,) or (B, D), the u_1 of every sequence.
            num_steps: T, the number of steps to generate.
        """
        mask = torch.ones(num_steps, first_input.shape[0], dtype=torch.bool, device=first_input.device)
        return cls(first_input.unsqueeze(0), None, mask)
